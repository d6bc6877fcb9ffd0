"""The command line as its users meet it: real processes, real files."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ablations.execution.sizes import sizes
from ablations.experiment.selection import select
from ablations.storage.store import EPOCH_SCHEMA, RUN_SCHEMA
from tests.ablations.conftest import CommandLine, call, command, environment, write_corpus, write_profile

# starts sooner than workers do, where those are not the matter
ONE_PROCESS = ("--backend", "sequential")


def runs(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "runs").set_index("variant")


@pytest.fixture
def arguments(profile: Path, corpus: Path) -> list[object]:
    # tests/ablations/audit has the audit's own
    return ["--all", "--no-audit", "--profile", profile, "--dataset", corpus]


def test_the_smoke_profile_goes_all_the_way_and_trains_only_what_is_missing(cli: CommandLine, tmp_path: Path) -> None:
    arguments = ["--all", "--profile", "smoke", "--results", "R", "--reports", "S", *ONE_PROCESS]
    first = cli(*arguments)
    assert first.returncode == 0, first.stderr
    assert "[9/9]" in first.stderr
    stored = runs(tmp_path / "R")
    assert (stored["status"] == "done").all()
    assert len(stored) == 9
    names = {path.name for path in (tmp_path / "S" / "smoke").iterdir()}
    assert {"table5.md", "table5.csv", "table5.tex"} <= names
    assert {path.rsplit(".")[-1] for path in names} >= {"png", "pdf"}

    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "R").rglob("*.parquet")}
    again = cli(*arguments, "--no-report")
    assert again.returncode == 0
    assert "[1/" not in again.stderr
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "R").rglob("*.parquet")}

    (tmp_path / "R" / "runs" / f"{stored.loc['no-ar-tar', 'run_id']}.parquet").unlink()
    third = cli(*arguments, "--no-report")
    assert third.returncode == 0
    assert [line for line in third.stderr.splitlines() if line.startswith("[")] == [
        line for line in third.stderr.splitlines() if "[1/1] python-docs no-ar-tar" in line
    ]
    repeated = runs(tmp_path / "R").loc[stored.index]
    pd.testing.assert_series_equal(repeated["valid_ppl"], stored["valid_ppl"], check_exact=True)
    pd.testing.assert_series_equal(repeated["test_ppl"], stored["test_ppl"], check_exact=True)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of one sweep on the small corpus, two runs at a time; read only."""
    folder = tmp_path_factory.mktemp("swept")
    profile, corpus = write_profile(folder / "tiny.yaml"), write_corpus(folder / "own-text")
    done = call(folder, "--all", "--no-audit", "--profile", profile, "--dataset", corpus, "--jobs", 2, "--no-report")
    assert done.returncode == 0, done.stderr
    return folder / "results"


def test_results_do_not_depend_on_jobs_nor_on_processes(
    cli: CommandLine, tmp_path: Path, arguments: list[object], swept: Path
) -> None:
    assert cli(*arguments, *ONE_PROCESS, "--no-report").returncode == 0
    assert not (tmp_path / "reports").exists()
    one, two = runs(tmp_path / "results"), runs(swept)
    assert sorted(one["run_id"]) == sorted(two["run_id"])
    pd.testing.assert_series_equal(one["test_ppl"], two["test_ppl"].loc[one.index], check_exact=True)


def test_a_shard_holds_what_it_promises(swept: Path) -> None:
    stored = runs(swept)
    assert set(RUN_SCHEMA.names) == {*stored.columns, "variant"}
    full = stored.loc["full"]
    known = full.drop(["error", "averaging_started", "git_commit", "git_dirty"])
    assert known.notna().all()
    assert json.loads(full["config"])["model"]["hidden_size"] == 8
    assert full["label"] == "AWD-LSTM (tied)"
    assert full["dataset"] == "own-text"
    epochs = pd.read_parquet(swept / "epochs" / f"{full['run_id']}.parquet")
    assert list(epochs.columns) == EPOCH_SCHEMA.names
    assert full["epochs"] == len(epochs)
    assert full["valid_ppl"] == epochs["valid_ppl"].min()
    assert list(epochs["phase"].unique()) == ["train", "finetune"]
    assert epochs.loc[epochs["phase"] == "finetune", "averaging"].all()
    assert set(pd.read_parquet(swept / "epochs")["run_id"]) == set(stored["run_id"])


def test_no_finetuning_is_the_full_model_before_its_fine_tuning(swept: Path) -> None:
    stored = runs(swept)
    epochs = pd.read_parquet(swept / "epochs").drop(columns="seconds")
    full, without = (epochs[epochs["run_id"] == stored.loc[name, "run_id"]] for name in ("full", "no-finetuning"))
    before = full[full["phase"] == "train"].drop(columns="run_id").reset_index(drop=True)
    pd.testing.assert_frame_equal(before, without.drop(columns="run_id").reset_index(drop=True), check_exact=True)


def test_a_diverged_run_is_recorded_and_the_others_finish(
    cli: CommandLine, tmp_path: Path, corpus: Path, profile: Path
) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        """
        name: two
        title: one that works and one that cannot
        baseline: works
        variants:
          - {name: works, label: works}
          - {name: explodes, label: explodes, overrides: {optimizer: {learning_rate: 1.0e+9, clip_norm: null}}}
        """,
        encoding="utf-8",
    )
    arguments = ["--all", "--suite", suite, "--profile", profile, "--dataset", corpus]
    done = cli(*arguments, *ONE_PROCESS)
    assert done.returncode == 1
    stored = runs(tmp_path / "results")
    assert stored.loc["works", "status"] == "done"
    assert stored.loc["explodes", "status"] == "diverged"
    assert "epoch 1, step" in stored.loc["explodes", "error"]
    assert pd.isna(stored.loc["explodes", "test_ppl"])
    assert "diverged" in (tmp_path / "reports" / "tiny-two-own-text" / "two.md").read_text(encoding="utf-8")

    again = cli(*arguments, "--no-report", *ONE_PROCESS)
    assert again.returncode == 1, "a recorded failure is never taken for done"
    assert "explodes seed" not in again.stderr
    retried = cli(*arguments, "--retry-failed", "--no-report", *ONE_PROCESS)
    assert retried.returncode == 1
    assert "[1/1] own-text explodes seed 1: diverged" in retried.stderr
    status = cli("status", *arguments[1:])
    assert status.returncode == 1
    assert "1 diverged, 1 done" in status.stdout


def test_a_dry_run_plans_and_writes_nothing(cli: CommandLine, tmp_path: Path) -> None:
    quick = ("--set", "training.batch_size=2", "--set", "windows.length=10")  # a step is timed
    done = cli("--variants", "full,full-size-embedding", "--profile", "paper", "--dataset", "ptb", "--dry-run", *quick)
    assert done.returncode == 0, done.stderr
    assert "24,221,600" in done.stdout
    assert "43,277,600" in done.stdout
    assert "2 runs, 2 to train" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_dry_run_counts_what_the_same_command_would_train(
    cli: CommandLine, arguments: list[object], swept: Path
) -> None:
    assert "9 runs, 0 to train" in cli(*arguments, "--results", swept, "--dry-run").stdout
    # a step is timed
    one = ["--variants", "full", *arguments[1:], "--results", swept, "--dry-run"]
    assert "1 run, 1 to train" in cli(*one, "--force").stdout


def test_parameters_of_wikitext_2_are_counted_without_its_text() -> None:
    selection = select("table5", "paper", ["wikitext-2"])
    plan = selection.plan(selection.corpora())
    counted = {spec.variant: sizes(plan, selection)[spec.run_id].parameters for spec in plan}
    assert counted.pop("full-size-embedding") == 70_070_578
    assert set(counted.values()) == {33_556_078}


def test_settings_make_other_runs(cli: CommandLine, tmp_path: Path, arguments: list[object]) -> None:
    some = ["--variants", "full", *arguments[1:], *ONE_PROCESS]
    assert cli(*some, "--no-report").returncode == 0
    assert cli(*some, "--set", "model.hidden_size=9", "--set", "regularization.weight_decay=1e-6").returncode == 0
    assert len(pd.read_parquet(tmp_path / "results" / "runs")) == 2
    assert "model.hidden_size=9" in (tmp_path / "reports" / "tiny-own-text" / "table5.md").read_text(encoding="utf-8")


def test_seeds_are_replicates_and_the_report_shows_all(
    cli: CommandLine, tmp_path: Path, arguments: list[object]
) -> None:
    some = ["--variants", "full,no-weight-drop", *arguments[1:], *ONE_PROCESS]
    assert cli(*some, "--seeds", "2", "--no-report").returncode == 0
    assert cli(*some, "--seeds", "5,").returncode == 0
    stored = pd.read_parquet(tmp_path / "results" / "runs")
    assert sorted(stored["seed"]) == [1, 1, 2, 2, 5, 5]
    assert stored.loc[stored["variant"] == "full", "test_ppl"].nunique() == 3
    table = pd.read_csv(tmp_path / "reports" / "tiny-own-text" / "table5.csv")
    assert set(table.loc[table["variant"] == "full", "n"]) == {3}


def test_help_teaches_in_under_a_second() -> None:
    def ask() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command("run", "--help"), env=environment(), capture_output=True, text=True, check=True)

    done = ask()  # compiles
    assert min(_timed(ask) for _ in range(3)) < 1
    assert "--dry-run" in done.stdout
    assert "run --all --profile smoke" in done.stdout


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def test_list_and_data_name_what_there_is(cli: CommandLine, corpus: Path) -> None:
    listed = cli("list").stdout
    for name in ("table5", "no-weight-drop", "demo", "paper", "smoke", "python-docs", "ptb", "wikitext-2"):
        assert name in listed
    checked = cli("data", corpus)
    assert checked.returncode == 0
    assert "own-text: train" in checked.stdout
    assert "vocabulary 11" in checked.stdout
