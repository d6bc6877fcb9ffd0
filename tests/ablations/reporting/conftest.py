"""Report data, and a report, made once for all tests that only read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ablations.analysis.comparison import Comparison
from ablations.reporting.render import render_report
from tests.ablations.reporting.synthetic import report_data, stale_runs


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Comparison:
    """Three seeds at a reduced scale: one row diverged, one is missing, one lacks a seed and one failed once."""
    return report_data(
        tmp_path_factory.mktemp("demo"),
        diverged=[("no-ntasgd", seed) for seed in (1, 2, 3)],
        without=[*(("no-ar-tar", seed) for seed in (1, 2, 3)), ("no-weight-decay", 2)],
        failed=[("no-finetuning", 3)],
        stale=stale_runs(3),
        settings=("model.hidden_size=60",),
        notes=("The corpus is another\nmachine's.",),
    )


@pytest.fixture(scope="session")
def paper(tmp_path_factory) -> Comparison:
    """The paper's scale and data sets, one seed."""
    return report_data(tmp_path_factory.mktemp("paper"), scale="paper", datasets=["ptb", "wikitext-2"], seeds=1)


@pytest.fixture(scope="session")
def rendered(demo, tmp_path_factory) -> list[Path]:
    """The files of the report on ``demo``."""
    return render_report(demo, tmp_path_factory.mktemp("reports") / "new" / "folder")
