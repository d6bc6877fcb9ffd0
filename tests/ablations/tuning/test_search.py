"""Searches are data: read strictly, and legal for the configuration they search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ablations.experiment.plan import Corpus
from ablations.experiment.selection import select
from ablations.experiment.suite import named_files
from ablations.tuning.search import Range, load_search, nested, of_variant, require_inside, tidy, without
from ablations.tuning.tune import require_legal, settings_of
from awd.errors import ConfigError

CASES = "  a: {{low: 1, high: 2}}\ncases: [{{where: {{{field}: adam}}, space: {{{of}: {{low: 3, high: 4}}}}}}]"


def write(path: Path, space: str, rest: str = "") -> Path:
    path.write_text(f"name: own\ntitle: own\n{rest}\nspace:\n{space}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("name", sorted(named_files("searches")))
@pytest.mark.parametrize("profile", ["demo", "paper", "small"])
def test_what_comes_with_the_package_is_legal_and_takes_no_regularizer_away(name: str, profile: str) -> None:
    search = load_search(name)
    selection = select("table5", profile).only("full")
    (spec,) = selection.plan([Corpus("ptb", "ptb", "")], [search.training_seed])
    require_legal(spec, search)
    for field, values in search.space.items():
        if field.startswith("regularization."):
            assert min(values.choices or (values.low,)) > 0, field
    assert search.training_seed not in selection.profile.seeds


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("  a: {low: 1}", "it must have either low and high, or choices"),
        ("  a: {low: 1, high: 2, choices: [1]}", "it must have either low and high, or choices"),
        ("  a: {low: 2, high: 2}", "it must have low below high"),
        ("  a: {low: 0.0, high: 2.0, log: true}", "it must have low above 0 and no step where log is true"),
        ("  a: {low: 0.5, high: 2.0, hihg: 3}", "unknown key"),
        ("  {}", "space"),
        ("  a: {low: 1, high: 2}\nstart: [{b: 1}]", "start: unknown field 'b'"),
        ("  a: {low: 1, high: 2}\nstart: [{a: 3}]", "start: a: 3 is not in the space"),
        ("  a: {choices: [1, 2]}\nstart: [{a: 3}]", "start: a: 3 is not in the space"),
        (CASES.format(field="optimizer.metod", of="a"), "cases: where: unknown field 'optimizer.metod'; did you mean"),
        (CASES.format(field="optimizer.method", of="b"), "cases: space: unknown field 'b'"),
    ],
)
def test_faults_are_named(tmp_path: Path, space: str, said: str) -> None:
    path = write(tmp_path / "own.yaml", space)
    with pytest.raises(ConfigError) as caught:
        load_search(str(path))
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_an_unknown_search_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"unknown search 'strenghts'; did you mean 'strengths'\?"):
        load_search("strenghts")


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ("  regularization.weight_drop: {low: 0.1, high: 0.2}", "regularization.weight_drop"),
        ("  regularization.weight_dropout: {low: 0.1, high: 1.5}", "regularization.weight_dropout"),
        ("  training.batch_size: {low: 0.5, high: 20}", "training.batch_size"),
    ],
)
def test_a_space_beyond_what_a_field_may_be_is_refused(tmp_path: Path, space: str, said: str) -> None:
    search = load_search(str(write(tmp_path / "own.yaml", space)))
    (spec,) = select("table5", "demo").only("full").plan([Corpus("ptb", "ptb", "")], [1])
    with pytest.raises(ConfigError, match=f"search own: space.*{said}"):
        require_legal(spec, search)


def test_whole_bounds_with_a_whole_step_give_whole_numbers(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    search = load_search(str(write(tmp_path / "own.yaml", "  model.hidden_size: {low: 100, high: 400, step: 50}")))
    (spec,) = select("table5", "demo").only("full").plan([Corpus("ptb", "ptb", "")], [1])
    require_legal(spec, search)
    study = optuna.create_study()
    for _ in range(5):
        size = search.space["model.hidden_size"].suggest(study.ask(), "model.hidden_size")
        assert isinstance(size, int)
        assert size in range(100, 401, 50)
    halves = load_search(str(write(tmp_path / "own.yaml", "  model.hidden_size: {low: 100, high: 400, step: 0.5}")))
    with pytest.raises(ConfigError, match=r"search own: space.*model\.hidden_size"):
        require_legal(spec, halves)


def test_settings_are_read_from_a_configuration_and_put_back_into_one() -> None:
    search = load_search("strengths")
    (spec,) = select("table5", "paper").only("full").plan([Corpus("ptb", "ptb", "")], [1])
    settings = settings_of(spec, search)
    assert settings["regularization.weight_dropout"] == 0.5
    assert settings["training.batch_size"] == 40
    assert nested(settings)["regularization"]["weight_dropout"] == 0.5
    assert nested({"a.b": 1, "a.c": 2, "d.e": 3}) == {"a": {"b": 1, "c": 2}, "d": {"e": 3}}


def test_values_lose_what_steps_leave() -> None:
    assert [tidy(value) for value in (0.1 + 0.05, 3, "sgd", None, 1.2e-6)] == [0.15, 3, "sgd", None, 1.2e-6]


def test_inside_is_between_bounds_or_among_choices() -> None:
    search = replace(load_search("strengths"), space={"a": Range(low=0.1, high=0.2), "b": Range(choices=(None, "x"))})
    require_inside(search, {"a": 0.1, "b": None}, "here")
    require_inside(search, {"a": 0.2, "b": "x"}, "here")
    for wrong in ({"a": 0.21}, {"a": "x"}, {"b": "y"}):
        with pytest.raises(ConfigError, match="here: start"):
            require_inside(search, wrong, "here")


def test_what_a_row_sets_itself_is_left_out_of_its_search():
    search = load_search("strengths")
    less = without(search, ["regularization.weight_dropout", "finetuning.epochs"], "variant a")
    assert search.space.keys() - less.space.keys() == {"regularization.weight_dropout"}
    assert all("regularization.weight_dropout" not in settings for settings in less.start)
    assert len(less.start) == len(search.start)
    with pytest.raises(ConfigError, match="search strengths: variant b decides every field of it"):
        without(search, search.space, "variant b")


@pytest.mark.parametrize("profile", ["demo", "paper", "small", "smoke"])
def test_every_optimizer_has_a_range_of_rates_around_its_own(profile: str) -> None:
    search, selection = load_search("rates"), select("optimizers", profile)
    ranges = {}
    for spec in selection.plan([Corpus("ptb", "ptb", "")], [search.training_seed]):
        overrides = selection.suite.variant(spec.variant).overrides
        own = of_variant(search, spec.config, overrides, spec.variant)
        require_legal(spec, own)
        require_inside(own, settings_of(spec, own), spec.variant)
        assert own.space.keys() == {"optimizer.learning_rate"}
        ranges[spec.config.optimizer.method] = own.space["optimizer.learning_rate"].ends()
    assert len(ranges) == 5
    assert {ends for method, ends in ranges.items() if method != "adam"} == {(1.0, 100.0)}
    assert ranges["adam"][1] < 1
