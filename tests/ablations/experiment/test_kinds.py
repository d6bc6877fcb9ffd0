"""Kinds of suites: each is read as plain variants, and what cannot be meant is refused by file, key and value."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.experiment.hypotheses import load_hypotheses
from ablations.experiment.kinds import Buildup, Curve, Pairs, Step, Sweep
from ablations.experiment.plan import Corpus, RunSpec, make_plan, resolve, unique_runs
from ablations.experiment.profile import load_profile
from ablations.experiment.suite import Suite, load_suite, named_files
from awd.errors import ConfigError
from tests.ablations.conftest import CommandLine

SMOKE = load_profile("smoke")
REMOVALS = """
variants:
  - {name: no-a, label: – a, overrides: {regularization: {weight_dropout: 0.0}}}
  - {name: no-b, label: – b, overrides: {regularization: {weight_decay: 0.0}}}
  - {name: no-c, label: – c, overrides: {windows: {variable: false}}}
"""


def read(folder: Path, text: str) -> Suite:
    path = folder / "suite.yaml"
    path.write_text(f"name: mine\ntitle: Mine\n{text}", encoding="utf-8")
    return load_suite(str(path))


def plan(suite: Suite, *settings: str) -> dict[str, RunSpec]:
    specs = make_plan(suite, SMOKE, [Corpus("python-docs", "python-docs", "c0ffee")], seeds=[1])
    return {spec.variant: spec for spec in specs}


def overrides(suite: Suite) -> dict[str, dict[str, object]]:
    return {variant.name: variant.overrides for variant in suite.variants}


def test_a_buildup_adds_the_parts_in_order_and_each_alone(tmp_path: Path) -> None:
    suite = read(tmp_path, f"kind: buildup\nrows: [no-b, no-a, no-c]\n{REMOVALS}")
    a, b, c = ({"weight_dropout": 0.0}, {"weight_decay": 0.0}, {"windows": {"variable": False}})
    assert overrides(suite) == {
        "nothing": {"regularization": b | a} | c,
        "+b": {"regularization": a} | c,
        "+a": c,
        "+c": {},
        "only-a": {"regularization": b} | c,
        "only-c": {"regularization": b | a},
    }
    assert [variant.label for variant in suite.variants][1:5] == ["+ b", "+ a", "+ c", "a alone"]
    assert suite.baseline == "nothing"
    assert suite.layout == Buildup((Step("b", "+b", "+b"), Step("a", "+a", "only-a"), Step("c", "+c", "only-c")))


def test_pairs_are_every_two_removed_together_or_those_listed(tmp_path: Path) -> None:
    suite = read(tmp_path, f"kind: pairs\n{REMOVALS}")
    names = ["full", "no-a", "no-b", "no-c", "no-a+no-b", "no-a+no-c", "no-b+no-c"]
    assert [variant.name for variant in suite.variants] == names
    assert overrides(suite)["no-a+no-b"] == {"regularization": {"weight_dropout": 0.0, "weight_decay": 0.0}}
    assert suite.layout == Pairs(dict(zip([tuple(name.split("+")) for name in names[4:]], names[4:], strict=True)))
    listed = read(tmp_path, f"kind: pairs\npairs: [[no-c, no-a]]\n{REMOVALS}")
    assert [variant.name for variant in listed.variants] == ["full", "no-a", "no-c", "no-c+no-a"]


def test_a_sweep_takes_values_and_multiples_of_the_profiles_for_every_row(tmp_path: Path) -> None:
    text = "kind: sweep\nof: table5\nrows: [no-weight-drop]\nsweep:\n"
    suite = read(tmp_path, text + "  model.hidden_size: [20, {times: 0.6}]\n  training.epochs: [2]\n")
    found = {name: spec.config for name, spec in plan(suite).items()}
    assert list(found) == [
        "full",
        "no-weight-drop",
        "hidden_size=20",
        "hidden_size=0.6x",
        "no-weight-drop@hidden_size=20",
        "no-weight-drop@hidden_size=0.6x",
        "training.epochs=2",  # fine-tuning has epochs, too
        "no-weight-drop@training.epochs=2",
    ]
    assert [found[name].model.hidden_size for name in list(found)[2:6]] == [20, 7, 20, 7]  # 12 in the profile
    assert found["no-weight-drop@hidden_size=20"].regularization.weight_dropout == 0
    assert isinstance(suite.layout, Sweep)
    assert suite.layout.curves[1] == Curve("model.hidden_size", "no-weight-drop", tuple(list(found)[4:6]))


def test_a_multiple_is_of_the_value_in_force_or_of_another_field_and_can_be_bounded(tmp_path: Path) -> None:
    values = "{times: 1.5, at_most: 0.7}, {times: 2, at_most: 0.7}"
    suite = read(tmp_path, f"kind: sweep\nsweep: {{regularization.weight_dropout: [{values}]}}")
    strengths = [
        resolve(SMOKE, suite, "python-docs", variant, {"regularization": {"weight_dropout": given}})
        for given in (0.4, 0.1)
        for variant in suite.variants[1:]
    ]
    found = [config.regularization.weight_dropout for config in strengths]
    assert found == pytest.approx([0.6, 0.7, 0.15, 0.2])
    start = plan(load_suite("optimizers"))
    assert [start[f"asgd-{share}"].config.optimizer.average_from_epoch for share in ("quarter", "half")] == [1, 2]


def test_choices_are_as_written(tmp_path: Path) -> None:
    suite = read(tmp_path, f"kind: choices\nbaseline: no-b\n{REMOVALS}")
    assert ([variant.name for variant in suite.variants], suite.baseline) == (["no-a", "no-b", "no-c"], "no-b")


def test_one_configuration_under_several_names_is_one_run_whatever_the_suite() -> None:
    table5, pairs, buildup, strengths = (plan(load_suite(n)) for n in ("table5", "pairs", "buildup", "strengths"))
    assert pairs["no-ntasgd"].run_id == pairs["no-finetuning+no-ntasgd"].run_id == table5["no-ntasgd"].run_id
    full = table5["full"].run_id
    assert full == pairs["full"].run_id == buildup["+finetuning"].run_id == strengths["full"].run_id
    assert strengths["weight_dropout=0"].run_id == table5["no-weight-drop"].run_id
    assert len(unique_runs(list(pairs.values()))) == len(pairs) - 1
    assert plan(load_suite("optimizers"))["nt-asgd"].run_id == table5["no-finetuning"].run_id


@pytest.mark.parametrize("name", sorted(named_files("suites")))
def test_every_suite_that_comes_with_the_package_can_be_planned(name: str) -> None:
    suite = load_suite(name)
    assert set(plan(suite)) == {variant.name for variant in suite.variants}
    load_hypotheses(suite, name, None)


def test_strengths_are_in_bounds_in_every_profile() -> None:
    suite = load_suite("strengths")
    for profile in ("demo", "small", "long", "paper"):
        for variant in suite.variants:
            resolve(load_profile(profile), suite, "ptb", variant, {})


SWEEP = "kind: sweep\nsweep: "
FAULTS = {
    "a kind that is none": ("kind: build-up", "kind: unknown kind 'build-up'; did you mean 'buildup'? (allowed: rem"),
    "a kind that is no text": ("kind: [pairs]", "kind: unknown kind \"['pairs']\"; did you mean 'pairs'?"),
    "a field that is none": (
        SWEEP + "{model.hiden_size: [2]}",
        "sweep: unknown field 'model.hiden_size'; did you mean 'model.hidden_size'? (allowed: model.embedding_size",
    ),
    "a section": (SWEEP + "{model: [2]}", "sweep: unknown field 'model' (allowed: mod"),
    "a value out of range": (
        SWEEP + "{regularization.input_dropout: [0.5, 1.5]}",
        "sweep: regularization.input_dropout: 1.5 is not possible: it should be less than or equal to 0.99998",
    ),
    "a value of another type": (SWEEP + "{model.hidden_size: [wide]}", "sweep: model.hidden_size: 'wide' is not a wh"),
    "no values": (SWEEP + "{model.hidden_size: []}", "sweep.model.hidden_size: [] is empty: at least 1 is needed"),
    "nothing swept": (SWEEP + "{}", "sweep: {} is empty: at least 1 is needed"),
    "a value twice": (SWEEP + "{model.hidden_size: [4, 8, 4]}", "sweep: model.hidden_size: 4 stands twice"),
    "a factor below nothing": (SWEEP + "{model.hidden_size: [{times: -1}]}", "sweep: model.hidden_size: times: -1 is "),
    "a factor of nothing known": (
        SWEEP + "{model.hidden_size: [{times: 1, of: model.size}]}",
        "sweep: model.hidden_size: of: unknown field 'model.size'",
    ),
    "a sweep of what a row changes": (
        SWEEP + "{regularization.weight_dropout: [0.5]}\nof: table5\nrows: [no-weight-drop]",
        "sweep: weight_dropout=0.5: regularization.weight_dropout: 0.5 here, another value in no-weight-drop: the two",
    ),
    "a pair with itself": (f"kind: pairs\npairs: [[no-a, no-a]]\n{REMOVALS}", "pairs: ['no-a', 'no-a'] is a pair with"),
    "a pair twice": (f"kind: pairs\npairs: [[no-a, no-b], [no-b, no-a]]\n{REMOVALS}", "pairs: no-a and no-b stands tw"),
    "a pair of three": (f"kind: pairs\npairs: [[no-a, no-b, no-c]]\n{REMOVALS}", "pairs.entry 1: "),
    "no pairs": (f"kind: pairs\npairs: []\n{REMOVALS}", "pairs: [] is empty: at least 1 is needed"),
    "an unknown variant": (
        f"kind: pairs\npairs: [[no-a, no-d]]\n{REMOVALS}",
        "pairs: unknown variant 'no-d'; did you mean 'no-c'? (allowed: no-a, no-b, no-c)",
    ),
    "an unknown row": (f"kind: buildup\nrows: [no-a, nope]\n{REMOVALS}", "rows: unknown variant 'nope'"),
    "a row twice": (f"kind: buildup\nrows: [no-a, no-b, no-a]\n{REMOVALS}", "rows: no-a stands twice"),
    "one part": (f"kind: buildup\nrows: [no-a]\n{REMOVALS}", "rows: ['no-a']: two or more are needed"),
    "one row": (f"kind: pairs\nrows: [no-a]\n{REMOVALS}", "rows: ['no-a']: two or more are needed"),
    "no variants": ("kind: pairs\nvariants: []", "variants: [] is empty: at least 1 is needed"),
    "of nothing": ("kind: pairs", "of: name a suite here, or write variants; one of the two"),
    "of two things": (
        f"kind: pairs\nof: table5\n{REMOVALS}",
        "of: name a suite here, or write variants; one of the two",
    ),
    "of an unknown suite": ("kind: pairs\nof: table6", "of: unknown suite 'table6'; did you mean 'table5'?"),
    "a key of another kind": ("kind: pairs\nof: table5\nsweep: {}", "sweep: unknown key 'sweep'"),
    "removals that cannot go together": (
        "kind: pairs\nvariants:\n"
        "  - {name: a, label: a, overrides: {model: {hidden_size: 2}}}\n"
        "  - {name: b, label: b, overrides: {model: {hidden_size: 3}}}\n",
        "b: model.hidden_size: 3 here, another value in a: the two cannot go together",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_meant_is_refused_by_file_key_and_value(tmp_path: Path, name: str) -> None:
    text, expected = FAULTS[name]
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{tmp_path / 'suite.yaml'}: {expected}")


def test_a_suite_made_of_one_that_is_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"buildup.yaml: baseline: this key is required"):
        read(tmp_path, "kind: pairs\nof: buildup")


@pytest.mark.parametrize(
    ("value", "settings", "expected"),
    [
        ("{times: 3}", {}, "regularization.weight_dropout: 1.5 is not possible"),
        ("{times: 1, of: corpus.valid_tokens}", {}, "times: 1 times corpus.valid_tokens, which is null: not a number"),
    ],
)
def test_a_multiple_that_comes_to_nothing_possible_names_suite_and_variant(
    tmp_path: Path, value: str, settings: dict[str, object], expected: str
) -> None:
    suite = read(tmp_path, f"{SWEEP}{{regularization.weight_dropout: [{value}]}}")
    with pytest.raises(ConfigError) as caught:
        resolve(SMOKE, suite, "python-docs", suite.variants[1], settings)
    assert str(caught.value).startswith(f"suite mine: variant {suite.variants[1].name}: ")
    assert expected in str(caught.value)


def test_a_bad_kind_ends_the_command_line_with_one_message(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("name: s\ntitle: t\nkind: pears\nof: table5\n", encoding="utf-8")
    done = cli("--all", "--dry-run", "--suite", "s.yaml", "--profile", "smoke")
    assert done.returncode == 2
    assert "s.yaml: kind: unknown kind 'pears'; did you mean 'pairs'?" in done.stderr
    assert "Traceback" not in done.stderr
