"""The audit on the command line, and before a sweep trains."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

from ablations.cli import app as command_line
from tests.ablations.audit import faults
from tests.ablations.conftest import CommandLine, call
from tests.awd import test_regressions as regressions


def stored(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "runs").set_index("variant")


@pytest.fixture
def arguments(profile: Path, corpus: Path) -> list[object]:
    return ["--variants", "full,no-weight-drop", "--profile", profile, "--dataset", corpus]


def test_the_audit_of_a_suite_prints_one_table(cli: CommandLine) -> None:
    done = cli("audit", "--profile", "smoke", "--variants", "full,no-weight-drop")
    assert done.returncode == 0, done.stderr
    assert "2 configurations audited: every mechanism acts as configured" in done.stdout
    lines = done.stdout.splitlines()
    assert next(line for line in lines if line.strip().startswith("weight drop")).split()[-1] == "0"
    assert [line.split()[0] for line in lines if line.strip().startswith(("AR", "TAR"))] == ["AR", "TAR"]
    assert not any("✗" in line for line in lines)


def test_the_audit_of_one_variant_tells_all(cli: CommandLine, profile: Path, corpus: Path) -> None:
    one = ["--variants", "full", "--profile", profile, "--dataset", corpus]
    done = cli("audit", *one, "--set", "regularization.weight_dropout=0.25")
    assert done.returncode == 0, done.stderr
    for words in ("layer 2's recurrent weights without gradient", "0.25±", "the same bits", "1 configuration audited"):
        assert words in done.stdout
    help_text = cli("audit", "--help").stdout
    assert "audit --variants full --profile paper" in help_text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--variants", "no-weight-drp"], "did you mean 'no-weight-drop'"),
        (["--set", "training.batch_size=999999"], "training.batch_size"),
        (["--seeds", "3"], "--seeds"),
    ],
)
def test_bad_input_is_refused(cli: CommandLine, arguments: list[object], wrong: list[str], said: str) -> None:
    done = cli("audit", *arguments, *wrong)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sweep_audits_each_configuration_once_and_only_what_it_trains(
    cli: CommandLine, tmp_path: Path, arguments: list[object]
) -> None:
    some = [*arguments, "--seeds", "2", "--no-report", "--backend", "sequential"]
    first = cli(*some)
    assert first.returncode == 0, first.stderr
    assert "audit: 2 configurations, every mechanism acts as configured (" in first.stderr
    assert stored(tmp_path / "results")["audit"].tolist() == ["passed"] * 4
    again = cli(*some)
    assert again.returncode == 0
    assert "audit" not in again.stderr
    skipped = cli(*some, "--no-audit", "--results", "unaudited")
    assert skipped.returncode == 0
    assert "audit" not in skipped.stderr
    assert set(stored(tmp_path / "unaudited")["audit"]) == {"skipped"}


def run_here(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The command line in this process, where a fault can be put in; workers are processes without it."""
    monkeypatch.setattr(sys, "argv", ["run_ablations.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        command_line.main()
    return int(exit_.value.code or 0)


def test_what_fails_its_audit_is_not_trained_and_the_others_are(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[object]
) -> None:
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        faults.layer(regressions.IgnoresItsMask)(patch)
        assert run_here(monkeypatch, *arguments, "--jobs", 1, "--no-report") == 1
    errors = capfd.readouterr().err
    assert "audit: own-text full: weight drop: share of layer 1's recurrent weights without gradient" in errors
    assert "audit: 2 configurations, 1 not trained (" in errors
    runs = stored(tmp_path / "results")
    assert runs["status"].to_dict() == {"full": "failed", "no-weight-drop": "done"}
    assert runs.loc["full", "audit"].startswith("failed: weight drop: ")
    assert runs.loc["full", "error"].startswith("audit failed: weight drop: share of layer 1's")
    assert runs.loc["full", "epochs"] == 0
    assert runs.loc["no-weight-drop", "audit"] == "passed"

    some = [*arguments, "--no-report", "--backend", "sequential"]
    assert call(tmp_path, *some).returncode == 1, "a recorded failure is never taken for done"
    assert call(tmp_path, *some, "--retry-failed").returncode == 0
    assert set(stored(tmp_path / "results")["audit"]) == {"passed"}


def test_a_failing_audit_is_listed_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[object]
) -> None:
    faults.layer(regressions.IgnoresItsMask)(monkeypatch)
    assert run_here(monkeypatch, "audit", *arguments) == 1
    printed = capfd.readouterr().out
    assert "✗ 0" in printed
    assert (
        "full: weight drop: share of layer 1's recurrent weights without gradient: measured 0, expected 0.5±" in printed
    )
    assert "2 configurations audited: 1 not as configured" in printed


def test_an_audit_that_breaks_off_is_a_failure_with_a_message(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: list[object]
) -> None:
    def broken(*_: object) -> None:
        raise TypeError("no such thing")

    monkeypatch.setattr("awd.model.AWDLSTM.forward", broken)
    assert run_here(monkeypatch, "audit", *arguments) == 1
    assert "full: the audit broke off: TypeError: no such thing" in capfd.readouterr().out
