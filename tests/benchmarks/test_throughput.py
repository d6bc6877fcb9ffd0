"""Runs side by side and cost by size, through the real command line; nothing here asserts a speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from awd.errors import InputError
from benchmarks.command import MeasurementError
from benchmarks.throughput import VARIANTS, Computed, numbers, rates_together, render, sweep
from tests.benchmarks.conftest import Refused, run

TINY = ["--config", "tiny", "--engine", "torch", "--precision", "fp32", "--rounds", "2", "--seconds", "0.1"]


@pytest.mark.slow
def test_runs_side_by_side_and_sizes_are_measured_and_written(tmp_path: Path) -> None:
    done = run("throughput", *TINY, "--parts", "jobs,tokens", "--tokens", "2000", "--save", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Goal: two runs" in done.stdout
    stored = pd.read_parquet(tmp_path / "suite.parquet")
    assert stored["value"].gt(0).all()
    jobs = stored[stored["part"] == "jobs"]
    assert sorted(zip(jobs["size"], jobs["repeat"], strict=True)) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    # the smoke profile's five epochs but the first
    assert (stored["part"] == "tokens").sum() == 4
    assert (tmp_path / "suite.md").read_text(encoding="utf-8").startswith(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parts", "job"], "did you mean 'jobs'"),
        (["--parts", ""], "--parts '': no part was named"),
        (["--config", "paper"], "did you mean 'paper-"),
        (["--jobs", "two"], "--jobs 'two': expected numbers"),
        (["--variants", "99"], "from 1 to 7"),
        (["--engine", "slow"], "--engine"),
        (["--rounds", "0"], "--rounds"),
    ],
)
def test_bad_options_are_refused_with_exit_code_2(arguments: list[str], said: str, refused: Refused) -> None:
    assert said in refused("throughput", *arguments)


def test_sizes_are_read_as_a_list() -> None:
    assert numbers("--jobs", "4, 1,2,2") == [1, 2, 4]
    for wrong in ("", "1,", "-1", "1.5"):
        with pytest.raises(InputError, match="--jobs"):
            numbers("--jobs", wrong)


class Process:
    """Answers as an engine's process does; dies at some request."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.asked, self.dies_at = 0, dies_at

    def ask(self, **order: Any) -> dict[str, Any]:
        self.asked += 1
        if self.asked == self.dies_at:
            raise MeasurementError("dead")
        return {}


def test_every_process_works_until_the_slowest_is_measured() -> None:
    processes = [Process(), Process()]
    rates = rates_together(processes, steps=1, tokens=10, seconds=0.05)  # type: ignore[arg-type]
    assert len(rates) == 2
    assert all(rate > 0 for rate in rates)


def test_a_process_that_dies_stops_the_measurement_of_all() -> None:
    with pytest.raises(MeasurementError, match="dead"):
        rates_together([Process(), Process(dies_at=2)], steps=1, tokens=10, seconds=0.05)  # type: ignore[list-item]


def test_a_sweep_that_fails_says_why() -> None:
    with pytest.raises(MeasurementError, match=r"model\.hidden_size"):
        sweep(VARIANTS[:1], {"model.hidden_size": -1}, Computed("torch", "fp32"), audit=False)


def test_the_page_tells_growth_and_what_is_not_training() -> None:
    # 3 s a sweep, 2 s a run of which 0.5 s are not training, 0.25 s more where it is audited
    parts = {
        "variants": (3, 2),
        "overhead": (3, 0.5),
        "variants with audit": (3, 2.25),
        "overhead with audit": (3, 0.75),
    }
    rows = [
        {"part": part, "size": size, "repeat": 1, "value": fixed + size * each}
        for part, (fixed, each) in parts.items()
        for size in (1, 2, 4)
    ]
    page = render(pd.DataFrame(rows).assign(config="tiny", engine="torch", precision="fp32"))
    assert "3.00 s to start" in page
    assert "0.50 s a run; the audit adds 0.25 s a variant" in page
    assert "1.40" in page  # (3 + 2 * 2) / (3 + 2)
    assert "side by side, one thread" not in page
