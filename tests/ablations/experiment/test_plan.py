"""A plan is data: which runs, with which configuration, under which identity."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from ablations.experiment.plan import Corpus, make_plan, parse_settings, resolve, unique_runs
from ablations.experiment.profile import load_profile
from ablations.experiment.suite import load_published, load_suite
from awd.config import Config, config_to_dict
from awd.errors import ConfigError

SUITE = load_suite("table5")
PAPER = load_profile("paper")
PTB = Corpus("ptb", "ptb", "digest-of-ptb")
WT2 = Corpus("wikitext-2", "wikitext-2", "digest-of-wt2")


def differences(first: dict, second: dict, prefix: str = "") -> set[str]:
    """Dotted names of the fields in which two configurations differ."""
    found: set[str] = set()
    for key in first:
        if isinstance(first[key], dict):
            found |= differences(first[key], second[key], f"{prefix}{key}.")
        elif first[key] != second[key]:
            found.add(f"{prefix}{key}")
    return found


@pytest.mark.parametrize(
    ("variant", "fields"),
    [
        ("full", set()),
        ("no-finetuning", {"finetuning.epochs"}),
        ("no-ntasgd", {"optimizer.method", "finetuning.epochs"}),
        ("no-variable-length", {"windows.variable"}),
        ("no-embedding-dropout", {"regularization.embedding_dropout"}),
        ("no-weight-decay", {"regularization.weight_decay"}),
        ("no-ar-tar", {"regularization.activation_penalty", "regularization.temporal_activation_penalty"}),
        ("full-size-embedding", {"model.embedding_size"}),
        ("no-weight-drop", {"regularization.weight_dropout"}),
    ],
)
@pytest.mark.parametrize("name", ["paper", "paper-short", "small", "demo", "smoke"])
def test_a_variant_takes_away_one_thing_and_retunes_nothing(name: str, variant: str, fields: set[str]) -> None:
    profile = load_profile(name)
    dataset = profile.datasets[0]
    full = resolve(profile, SUITE, dataset, SUITE.variant("full"), {})
    other = resolve(profile, SUITE, dataset, SUITE.variant(variant), {})
    assert differences(config_to_dict(full), config_to_dict(other)) == fields


def test_the_paper_profile_is_the_papers_protocol() -> None:
    ptb = resolve(PAPER, SUITE, "ptb", SUITE.variant("full"), {})
    assert ptb == Config()  # whose defaults tests/awd/test_config.py holds against the paper
    wt2 = resolve(PAPER, SUITE, "wikitext-2", SUITE.variant("full"), {})
    assert differences(config_to_dict(ptb), config_to_dict(wt2)) == {
        "regularization.input_dropout",
        "training.batch_size",
        "finetuning.epochs",
    }
    assert (wt2.regularization.input_dropout, wt2.training.batch_size, wt2.finetuning.epochs) == (0.65, 80, 750)


def test_a_folder_called_ptb_is_not_penn_treebank() -> None:
    wt2 = resolve(PAPER, SUITE, "my/wikitext-2", SUITE.variant("full"), {})
    assert wt2.regularization.input_dropout == 0.4


def test_the_published_table_has_36_numbers_and_its_take_home() -> None:
    published = load_published(SUITE, "table5")
    assert published is not None
    assert set(published.rows) == {variant.name for variant in SUITE.variants}
    numbers = [number for row in published.rows.values() for cell in row.values() for number in (cell.valid, cell.test)]
    assert len(numbers) == 36
    for dataset, split in itertools.product(("ptb", "wikitext-2"), ("valid", "test")):
        column = {name: getattr(row[dataset], split) for name, row in published.rows.items()}
        assert min(column, key=column.__getitem__) == "full"
        assert max(column, key=column.__getitem__) == "no-weight-drop"
    assert sum(numbers) == pytest.approx(2404.9)


def test_a_plan_is_every_variant_on_every_corpus_with_every_seed() -> None:
    plan = make_plan(SUITE, PAPER, [PTB, WT2], seeds=[1, 2])
    assert len({spec.run_id for spec in plan}) == len(plan) == 9 * 2 * 2
    assert [spec.variant for spec in plan[:9]] == [variant.name for variant in SUITE.variants]
    assert {spec.seed for spec in plan[:9]} == {1}, "a sweep cut short leaves whole tables"


def test_an_identity_is_what_determines_the_result_and_nothing_else() -> None:
    spec = make_plan(SUITE, PAPER, [PTB])[0]
    for field, value in {
        "seed": 2,
        "corpus_sha256": "other",
        "engine": "fast",
        "precision": "bf16",
        "config": dataclasses.replace(spec.config, finetuning=dataclasses.replace(spec.config.finetuning, epochs=1)),
    }.items():
        assert dataclasses.replace(spec, **{field: value}).run_id != spec.run_id, field
    for field in ("suite", "profile", "dataset", "source", "variant", "label"):
        assert dataclasses.replace(spec, **{field: "renamed"}).run_id == spec.run_id, field


def test_the_identity_stays_the_same_between_processes_and_releases() -> None:
    """Changed on purpose only, together with RESULT_FORMAT: every stored result is found by it."""
    assert make_plan(SUITE, PAPER, [PTB])[0].run_id == "b5feb1e06ca8ab3c8032"


def test_two_variants_that_resolve_alike_are_one_run() -> None:
    settings = {"finetuning": {"epochs": 0}}
    plan = make_plan(SUITE, PAPER, [PTB], variants=["full", "no-finetuning", "no-ar-tar"], settings=settings)
    assert plan[0].run_id == plan[1].run_id
    assert [spec.variant for spec in unique_runs(plan)] == ["full", "no-ar-tar"]


def test_settings_are_nested_and_typed() -> None:
    settings = parse_settings(
        ["model.hidden_size=600", "optimizer.learning_rate=1e1", "windows.variable=false", "model.embedding_size=null"]
    )
    assert settings == {
        "model": {"hidden_size": 600, "embedding_size": None},
        "optimizer": {"learning_rate": 10.0},
        "windows": {"variable": False},
    }


@pytest.mark.parametrize("order", [1, -1])
def test_settings_add_up_in_any_order(order: int) -> None:
    settings = parse_settings(["model.hidden_size=40", "model={num_layers: 2}", "model.hidden_size=40"][::order])
    assert settings == {"model": {"hidden_size": 40, "num_layers": 2}}


@pytest.mark.parametrize(
    "assignments",
    [
        ["model.hidden_size=40", "model.hidden_size=41"],
        ["model.hidden_size=40", "model={hidden_size: 41}"],
        ["model.hidden_size=40", "model=null"],
        ["model=null", "model.hidden_size=40"],
        ["model=&a {model: *a}", "model=&a {model: *a}"],
    ],
)
def test_settings_that_undo_each_other_are_refused(assignments: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"--set '.*': .*(was given another value before|holds itself)"):
        parse_settings(assignments)


def test_a_variant_goes_before_the_settings() -> None:
    settings = {"regularization": {"weight_dropout": 0.2}}
    plan = make_plan(SUITE, PAPER, [PTB], settings=settings)
    strengths = {spec.variant: spec.config.regularization.weight_dropout for spec in plan}
    assert strengths.pop("no-weight-drop") == 0
    assert set(strengths.values()) == {0.2}


@pytest.mark.parametrize("assignment", ["model.hidden_size", "=3", ".=3", "model..x=3"])
def test_a_malformed_setting_is_refused(assignment: str) -> None:
    with pytest.raises(ConfigError, match="key=value"):
        parse_settings([assignment])
