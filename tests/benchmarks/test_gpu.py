"""The paper's model on one GPU: arithmetic everywhere, measuring where there is one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.gpu import DATASETS, Work, covered, hours, paper_batch, render, row, table5_work
from tests.benchmarks.conftest import Refused, run


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_message_says_so() -> None:
    done = run("gpu")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no GPU")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("option", "value"), [("--device", "cpu"), ("--jobs", "0"), ("--engine", "auto")])
def test_bad_options_are_refused_with_exit_code_2(option: str, value: str, refused: Refused) -> None:
    assert option in refused("gpu", option, value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_measured(tmp_path: Path) -> None:
    arguments = ["--jobs", "1,2", "--rounds", "1", "--seconds", "1", "--save", "--results", tmp_path]
    done = run("gpu", *arguments)
    assert done.returncode == 0, done.stderr
    stored = pd.read_parquet(tmp_path / "gpu.parquet")
    assert stored["value"].notna().all()
    idle = stored.loc[stored["what"] == "idle share", "value"]
    assert len(idle) == len(DATASETS)
    assert idle.between(-0.05, 1).all()


def test_time_in_which_kernels_overlap_counts_once() -> None:
    assert covered([(5, 7), (0, 2), (1, 3), (1, 2), (6, 6.5)]) == 5
    assert covered([]) == 0


def test_the_work_is_the_paper_profiles() -> None:
    ptb = table5_work("paper-ptb")
    # two of the nine are not fine-tuned
    assert ptb == Work(9, 9 * 750 + 7 * 500, (9 * 750 + 7 * 500) * 929_589, (9 * 750 + 7 * 500) * 73_760)
    assert table5_work("paper-wt2").epochs == 9 * 750 + 7 * 750
    assert (paper_batch("paper-ptb"), paper_batch("paper-wt2")) == (40, 80)


def test_hours_are_training_and_validations() -> None:
    assert hours(Work(1, 100, 36_000_000, 0), rate=10_000, validation=36.0) == 2


def test_the_page_has_every_number_of_runs() -> None:
    rows = [
        one
        for config in DATASETS
        for one in (
            row(config, "MiB of a run", 1, 1, 2048),
            row(config, "idle share", 1, 1, 0.25),
            row(config, "seconds of a validation", 1, 1, 1.0),
            row(config, "tokens a second", 1, 1, 50_000),
            row(config, "tokens a second", 4, 1, 100_000),
        )
    ]
    page = render(pd.DataFrame(rows).assign(program="fast-bf16", device="a GPU"))
    assert "paper-wt2 25%" in page
    assert "2.00" in page
    assert "2,048" in page
    expected = hours(table5_work("paper-ptb"), 100_000, 1.0) + hours(table5_work("paper-wt2"), 100_000, 1.0)
    assert f"{expected:,.0f}" in page
