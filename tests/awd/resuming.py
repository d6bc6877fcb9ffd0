"""Runs in pieces: where they are cut, and what must come out the same, to the bit."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from ablations.experiment.suite import load_suite
from awd.checkpoint import Checkpoints, Interval, PausedError
from awd.config import Config, override
from awd.engine import PLAIN, Engine
from awd.trainer import FINETUNE, TEST, TRAIN, EpochRecord, Trainer, TrainingResult
from tests.awd.tiny import tiny_config, tiny_corpus

# as tests/conftest.py has it, which the processes here do not load
torch.set_num_threads(1)

CORPUS = tiny_corpus(15)
SEED = 0
NEVER = Interval(epochs=10**9)
EVERY_STEP = Interval(seconds=0)
# averaging begins in the second or third epoch, and fine-tuning follows
BOTH_PHASES = tiny_config(
    optimizer={"method": "nt-asgd", "learning_rate": 30.0, "nonmonotone_interval": 0},
    training={"epochs": 4},
    finetuning={"epochs": 2},
)
SHORT = tiny_config(training={"epochs": 2})
TABLE5 = {
    variant.name: override(BOTH_PHASES, variant.overrides, variant.name) for variant in load_suite("table5").variants
}

# a process of its own, in a moment: what torch imports, at once or at its first step, is there where it is forked from
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.awd.resuming", "torch._dynamo"])


@dataclass(frozen=True)
class Outcome:
    """What a run gives, without its wall-clock times; weights as bytes, so that equal means the same bits."""

    valid_ppl: float
    test_ppl: float
    averaging_started: int | None
    epochs: list[EpochRecord]
    weights: dict[str, bytes]


@dataclass(frozen=True)
class Moment:
    """Where a run is when it may be saved."""

    phase: str
    epoch: int
    start: int
    averaging: bool


def outcome(result: TrainingResult) -> Outcome:
    return Outcome(
        result.valid_ppl,
        result.test_ppl,
        result.averaging_started,
        [replace(record, seconds=0.0) for record in result.epochs],
        bits(result.model.state_dict()),
    )


def bits(tensors: dict[str, torch.Tensor]) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def trainer_of(config: Config = SHORT, engine: Engine = PLAIN, **options: Any) -> Trainer:
    return Trainer(config, CORPUS, SEED, engine=engine, **options)


def uninterrupted(config: Config = SHORT) -> Outcome:
    return with_moments(config)[0]


@cache
def with_moments(config: Config, engine: Engine = PLAIN) -> tuple[Outcome, list[Moment]]:
    """An uninterrupted run, and every moment at which it might have been saved. The fast engine: at any size."""
    moments: list[Moment] = []
    trainer = trainer_of(config, engine)

    def remember() -> None:
        here = trainer.position
        moments.append(Moment(here.phase, here.epoch, here.start, trainer.stepper.average is not None))

    trainer.may_stop = remember
    return outcome(trainer.run()), moments


def cuts_of(moments: list[Moment]) -> dict[str, int]:
    """The middle one of the moments of each kind that the run has."""
    ends = {max(moment.start for moment in moments)}
    epochs = max(moment.epoch for moment in moments if moment.phase == TRAIN)
    kinds: dict[str, Callable[[Moment], bool]] = {
        "before averaging": lambda at: at.phase == TRAIN and not at.averaging and at.start not in {0, *ends},
        "while averaging": lambda at: at.phase == TRAIN and at.averaging and at.start not in {0, *ends},
        "before validation": lambda at: at.phase == TRAIN and at.start in ends,
        "between epochs": lambda at: at.phase == TRAIN and at.start == 0 and at.epoch < epochs,
        "between phases": lambda at: at.phase == TRAIN and at.start == 0 and at.epoch == epochs,
        "fine-tuning": lambda at: at.phase == FINETUNE and at.start not in {0, *ends},
        "fine-tuning, before validation": lambda at: at.phase == FINETUNE and at.start in ends,
        "before the test": lambda at: at.phase == TEST,
    }
    found = {kind: [number for number, at in enumerate(moments) if fits(at)] for kind, fits in kinds.items()}
    return {kind: numbers[len(numbers) // 2] for kind, numbers in found.items() if numbers}


def after(moments: int) -> Callable[[], str | None]:
    """Asks to stop at so many moments from now."""
    left = iter(range(moments))
    return lambda: None if next(left, None) is not None else "enough"


def in_pieces(
    folder: Path, config: Config, cuts: Iterable[int], engine: Engine = PLAIN, interval: Interval = NEVER
) -> tuple[Outcome, Checkpoints]:
    """A run stopped at each of the moments ``cuts``, numbered over all of it, and gone on with in a new trainer."""
    passed = 0
    for cut in sorted(cuts):
        trainer = trainer_of(config, engine)
        checkpoints = Checkpoints(folder, interval, stop=after(cut - passed), warn=pytest.fail)
        assert checkpoints.follow(trainer) == (passed > 0)
        with pytest.raises(PausedError, match="enough"):
            trainer.run()
        passed = cut + 1
    return to_the_end(folder, config, engine)


def to_the_end(
    folder: Path, config: Config = SHORT, engine: Engine = PLAIN, warn: Callable[[str], None] = pytest.fail
) -> tuple[Outcome, Checkpoints]:
    """What is left of a run, from the latest checkpoint if there is one."""
    trainer = trainer_of(config, engine)
    checkpoints = Checkpoints(folder, NEVER, warn=warn)
    checkpoints.follow(trainer)
    return outcome(trainer.run()), checkpoints


def pause(folder: Path, moment: int, config: Config = SHORT, interval: Interval = NEVER) -> None:
    """Train from the latest checkpoint, stop at a moment from there, and leave a checkpoint."""
    trainer = trainer_of(config)
    Checkpoints(folder, interval, stop=after(moment), warn=pytest.fail).follow(trainer)
    with pytest.raises(PausedError):
        trainer.run()


def checkpoints_in(folder: Path) -> list[Path]:
    """Oldest first; nothing but checkpoints may be there."""
    paths = sorted(folder.iterdir())
    assert all(path.suffix == ".safetensors" for path in paths), paths
    return paths


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives, or raises, in a process that ends with it."""
    with ProcessPoolExecutor(1, mp_context=PROCESSES) as pool:
        return pool.submit(function, *arguments).result(timeout=120)
