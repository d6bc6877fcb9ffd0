"""Epochs for TensorBoard, while runs are trained: ``tensorboard --logdir results/tensorboard``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.experiment.plan import RunSpec
from awd.errors import InputError
from awd.paths import file_name

if TYPE_CHECKING:
    from awd.trainer import EpochRecord, Trainer


def require_tensorboard() -> None:
    """Say what is missing before anything is trained.

    Raises:
        InputError: the package is not installed.
    """
    if find_spec("tensorboard") is None:
        raise InputError("--tensorboard: the package tensorboard is not installed: pip install -e '.[tensorboard]'")


def tensorboard_folder(results: Path, spec: RunSpec) -> Path:
    """``tensorboard/<data set>/<variant>/seed-<n>-<run id>``; the id tells runs of two profiles or settings apart."""
    return (
        results
        / "tensorboard"
        / file_name(spec.dataset)
        / file_name(spec.variant)
        / f"seed-{spec.seed}-{spec.run_id[:8]}"
    )


@contextmanager
def written_for_tensorboard(trainer: Trainer, folder: Path) -> Iterator[None]:
    """Write each epoch of a trainer as it ends, and first those that it has behind it.

    What an earlier call wrote is replaced, so that a run that goes on has no epoch twice.
    """
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    told = trainer.on_epoch
    with SummaryWriter(str(folder)) as writer:

        def write(record: EpochRecord, number: int) -> None:
            writer.add_scalar("perplexity/train", record.train_ppl, number)
            writer.add_scalar("perplexity/valid", record.valid_ppl, number)
            writer.add_scalar("learning_rate", record.learning_rate, number)
            writer.add_scalar("averaging", float(record.averaging), number)
            writer.flush()  # whoever is killed has written what was over

        def on_epoch(record: EpochRecord) -> None:
            told(record)
            write(record, len(trainer.epochs))

        for number, record in enumerate(trainer.epochs, start=1):
            write(record, number)
        trainer.on_epoch = on_epoch
        yield
