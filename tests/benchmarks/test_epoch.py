"""An epoch beside its bare steps, through the real command line; nothing here asserts a speed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from awd.engine import PLAIN
from awd.errors import InputError
from benchmarks.configurations import CONFIGURATIONS
from benchmarks.epoch import (
    SPLITS,
    Setting,
    count_windows,
    make_setting,
    make_trainer,
    random_corpus,
    step_seconds,
    summary,
)
from tests.benchmarks.conftest import Refused, run

# networks so small that threads only wait for each other
torch.set_num_threads(1)


@pytest.fixture
def setting() -> Setting:
    return make_setting("tiny", PLAIN)


def test_an_epoch_is_measured_and_written(tmp_path: Path) -> None:
    arguments = ["--config", "tiny", "--engine", "fast", "--precision", "fp32", "--windows", "3", "--rounds", "2"]
    done = run("epoch", *arguments, "--whole", "--save", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "measured whole" in done.stdout
    stored = pd.read_parquet(tmp_path / "epoch-tiny-b3-fast-fp32-whole.parquet")
    assert stored["what"].value_counts().to_dict() == {"bare": 6, "averaging": 6, "validation": 1, "epoch": 1}
    assert stored["seconds"].gt(0).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--config", "papr-ptb"], "did you mean 'paper-ptb'"),
        (["--config", "tiny", "--windows", "500"], "--windows 500: an epoch of tiny has"),
        (["--precision", "fp16"], "--precision"),
        (["--threads", "0"], "--threads"),
    ],
)
def test_bad_options_are_refused_with_exit_code_2(arguments: list[str], said: str, refused: Refused) -> None:
    assert said in refused("epoch", *arguments)


def test_every_configuration_has_its_splits() -> None:
    assert set(SPLITS) == set(CONFIGURATIONS)


@pytest.mark.parametrize("averaging", [False, True])
def test_an_epoch_has_the_windows_that_are_counted_and_averages_if_asked_to(setting: Setting, averaging: bool) -> None:
    trainer = make_trainer(setting, random_corpus(setting), averaging, seed=1)
    assert trainer.epoch().averaging == averaging
    assert trainer.stepper.steps == count_windows(setting)
    assert trainer.stepper.averaged_steps == (trainer.stepper.steps if averaging else 0)
    assert trainer.trained


def test_steps_to_warm_up_are_not_counted(setting: Setting) -> None:
    corpus = random_corpus(setting)
    assert len(step_seconds(setting, corpus, True, 4, seed=1)) == 4
    with pytest.raises(InputError, match="--windows"):
        step_seconds(setting, corpus, False, 10_000, seed=1)


def test_what_an_epoch_costs_is_steps_and_validation_over_bare_steps() -> None:
    timed = {("bare", 1): 2.0, ("averaging", 1): 2.1, ("bare", 2): 2.0, ("averaging", 2): 2.1, ("validation", 1): 10.0}
    rows = [{"what": what, "round": number, "seconds": seconds} for (what, number), seconds in timed.items()]
    found = summary(rows, 100)
    assert (found["bare"], found["averaging"], found["epoch"]) == pytest.approx((200, 210, 220))
    assert (found["ratio"], found["lowest"], found["highest"]) == pytest.approx((1.1, 1.1, 1.1))
    whole = summary([*rows, {"what": "epoch", "round": 1, "seconds": 230.0}], 100)
    assert whole["ratio"] == pytest.approx(1.15)
