"""What the runner adds, through a real sweep; nothing here asserts a speed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.benchmarks.conftest import Refused, run


@pytest.mark.slow
def test_a_sweep_is_watched_and_saves_are_timed(tmp_path: Path) -> None:
    done = run("runner_cost", "--runs", "5", "--saves", "2", "--configs", "tiny", "--save", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    stored = pd.read_parquet(tmp_path / "runner.parquet")
    assert stored.loc[stored["part"] == "save", "seconds"].gt(0).all()
    assert (stored["part"] == "save").sum() == 2
    swept = stored[stored["part"] == "sweep"].iloc[0]
    assert 0 < swept["training"] < swept["seconds"]
    assert stored.loc[stored["part"] == "memory", "bytes"].gt(0).all()
    assert (tmp_path / "runner.md").read_text(encoding="utf-8").startswith(done.stdout)


def test_bad_options_are_refused_with_exit_code_2(refused: Refused) -> None:
    assert "did you mean 'tiny'" in refused("runner_cost", "--configs", "tinny")
    assert "--runs" in refused("runner_cost", "--runs", "1")
