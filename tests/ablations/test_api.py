"""`import ablations`: the suite from Python and from notebooks."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import matplotlib
import pandas as pd
import pytest

import ablations
from ablations.cli.options import ConfigurationOptions, TrainingOptions
from ablations.experiment.plan import RunSpec
from ablations.reporting.kinds import ALL_FIGURES
from ablations.storage.store import Store
from awd.errors import InputError
from tests.ablations.conftest import ROOT, CommandLine, environment, record

DOCUMENTED = {
    "ablations": ablations,
    **{name: getattr(ablations, name) for name in ablations.__all__ if name != "figures"},
    **{f"figures.{name}": getattr(ablations.figures, name) for name in ablations.figures.__all__},
}
# of the small profile's choice of three
SETTINGS = {"training.epochs": 2, "finetuning.epochs": 1}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_function_has_an_example_that_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    monkeypatch.chdir(tmp_path)
    (examples,) = doctest.DocTestFinder(recurse=False).find(DOCUMENTED[name], name, module=False, globs={})
    assert examples.examples
    told: list[str] = []
    assert not doctest.DocTestRunner().run(examples, out=told.append).failed, "".join(told)


def test_a_run_from_python_is_the_run_of_the_command_line(
    cli: CommandLine, profile: Path, corpus: Path, tmp_path: Path
) -> None:
    data = ablations.run(
        profile=str(profile),
        datasets=str(corpus),
        variants=["full", "no-ar-tar"],
        seeds=[2],
        settings=SETTINGS,
        results=tmp_path / "results",
        backend="sequential",
        audit=False,
        quiet=True,
    )
    assert data.runs[["variant", "seed", "status"]].values.tolist() == [["full", 2, "done"], ["no-ar-tar", 2, "done"]]
    assert data.differences[["variant", "split", "pairs"]].values.tolist() == [
        ["no-ar-tar", "valid", 1],
        ["no-ar-tar", "test", 1],
    ]
    assert data.epochs.groupby("variant")["epoch"].count().min() >= 2
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    same = ["--profile", profile, "--dataset", corpus, "--variants", "full,no-ar-tar", "--seeds", "2,", *settings]
    status = cli("status", *same, "--results", tmp_path / "results")
    assert (status.returncode, "2 of 2 done" in status.stdout or "2 done" in status.stdout) == (0, True), status.stdout


def test_a_notebook_gets_lines_and_nothing_that_commands_a_terminal(
    profile: Path, corpus: Path, tmp_path: Path
) -> None:
    # no guard for __main__: a cell has none, and workers are started from it
    cell = f"""
import ablations
given = dict(profile={str(profile)!r}, datasets={str(corpus)!r}, variants="full", audit=False)
data = ablations.run(**given, jobs=1)
print(data.runs["status"].to_list())
"""
    done = subprocess.run(
        [sys.executable, "-c", cell],
        cwd=tmp_path,
        env=environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
    )
    assert done.stdout == "['done']\n", done.stderr
    assert "[1/1] own-text full seed 1: valid" in done.stderr
    assert "\x1b" not in done.stderr


def test_what_cannot_be_says_what_the_command_line_says(cli: CommandLine, tmp_path: Path) -> None:
    wrong: dict[str, Any]
    for wrong, options in (
        ({"profile": "smal"}, ["--profile", "smal"]),
        ({"settings": {"model.width": 3}}, ["--set", "model.width=3"]),
    ):
        with pytest.raises(InputError) as raised:
            ablations.load(tmp_path, **wrong)
        assert cli("compare", *options).stderr == f"error: {raised.value}\n"
    with pytest.raises(InputError, match=f"^{tmp_path}: no finished run of suite table5, profile demo on python-docs"):
        ablations.load(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"engine": "fst"}, "unknown engine 'fst'; did you mean 'fast'?"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"backend": "slurm"}, "unknown backend 'slurm'"),
        ({"jobs": 0}, "jobs 0: expected 1 or more"),
        ({"seeds": [-1]}, "--seeds '-1,': expected a count"),
        ({"gpus": [0, 0]}, "each once"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_trained(
    wrong: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        ablations.run(profile="smoke", variants="full", results=tmp_path / "results", **wrong)
    assert not list(tmp_path.iterdir())


def test_a_figure_with_nothing_to_show_says_why(
    plan: list[RunSpec], profile: Path, corpus: Path, tmp_path: Path
) -> None:
    record(Store(tmp_path / "results"), plan[0], "done", valid_ppl=9.0, test_ppl=8.5)
    data = ablations.load(tmp_path / "results", profile=str(profile), datasets=str(corpus))
    with pytest.raises(InputError, match="nothing to show: no row has a run of the same seed as the full model"):
        ablations.figures.differences(data)


@pytest.mark.parametrize(
    ("name", "kind"), [("staircase", "buildup"), ("interactions", "pairs"), ("responses", "sweep")]
)
def test_a_figure_of_another_kind_of_suite_is_refused(name: str, kind: str) -> None:
    table5 = ablations.load(ROOT / "results" / "reference")
    with pytest.raises(InputError, match=f"this figure is of suites of kind {kind}; table5 is of kind removal"):
        getattr(ablations.figures, name)(table5)


def test_the_figures_of_all_kinds_can_be_had_by_name() -> None:
    assert set(ALL_FIGURES) | {"ladder"} == set(ablations.figures.__all__)


def test_figures_leave_the_users_own_style_alone() -> None:
    before = dict(matplotlib.rcParams)
    figure = ablations.figures.differences(ablations.load(ROOT / "results" / "reference"), width=5)
    assert figure.get_figwidth() == 5
    assert dict(matplotlib.rcParams) == before


def test_differences_are_those_of_the_report() -> None:
    data = ablations.load(ROOT / "results" / "reference", profile="small", datasets="ptb")
    tidy = data.differences.query("split == 'valid'").set_index("variant")
    frame = data.frame[data.frame["variant"].ne("full")].set_index("variant")
    for name in ("log_difference", "log_low", "log_high"):
        pd.testing.assert_series_equal(tidy[name], frame[f"valid_{name}"], check_names=False)


def test_importing_it_is_light() -> None:
    heavy = "{'torch', 'pandas', 'matplotlib', 'scipy', 'rich'}"
    code = f"import sys, ablations; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("option", ["engine", "precision", "backend"])
def test_what_the_command_line_takes_is_taken_from_python_too(option: str) -> None:
    known = {**get_type_hints(ConfigurationOptions), **get_type_hints(TrainingOptions)}[option]
    for value in get_args(known):
        with pytest.raises(InputError, match="jobs 0"):  # the check that comes next
            ablations.run(profile="smoke", jobs=0, **{option: value})
