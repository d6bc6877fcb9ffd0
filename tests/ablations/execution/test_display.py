"""Bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from ablations.execution.display import Display
from ablations.execution.job import Summary
from ablations.experiment.plan import Corpus, RunSpec, make_plan
from ablations.experiment.profile import load_profile
from ablations.experiment.suite import load_suite
from ablations.storage.progress import Progress, ProgressFolder


@pytest.fixture
def specs() -> list[RunSpec]:
    return make_plan(load_suite("table5"), load_profile("smoke"), [Corpus("python-docs", "python-docs", "x")])[:2]


def show(specs: list[RunSpec], folder: Path, terminal: bool) -> str:
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, width=120, color_system=None)
    progress = ProgressFolder(folder)
    with Display(console, specs, progress) as display:
        progress.update(Progress(specs[0].run_id, 1, "host", 5, epoch=2, valid_ppl=60.0, seconds=4.0))
        time.sleep(1.2)
        display.run_ended(specs[0], Summary(specs[0].run_id, "done", None, 55.5, 56.25, 10.0))
        display.run_ended(specs[1], Summary(specs[1].run_id, "failed", "trace\nValueError: no", None, None, 1.0))
    return written.getvalue()


def test_a_terminal_shows_a_bar_for_the_run_and_one_for_the_whole(specs: list[RunSpec], tmp_path: Path) -> None:
    text = show(specs, tmp_path, terminal=True)
    assert "all runs" in text
    assert "2/5 train, valid 60.0, 0:06 left" in text


def test_a_log_has_a_line_for_every_end_and_no_bars(specs: list[RunSpec], tmp_path: Path) -> None:
    lines = show(specs, tmp_path, terminal=False).splitlines()
    assert lines == [
        "[1/2] python-docs full seed 1: valid 55.50  test 56.25  (0:10)",
        "[2/2] python-docs no-finetuning seed 1: failed: ValueError: no  (0:01)",
    ]


def test_nothing_to_do_shows_nothing(tmp_path: Path) -> None:
    written = io.StringIO()
    with Display(Console(file=written), [], ProgressFolder(tmp_path)):
        time.sleep(1.2)
    assert written.getvalue() == ""
