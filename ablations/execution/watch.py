"""What a worker looks at between two steps: whether to stop; and what it tells the others: how far the run is."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ablations.experiment.plan import RunSpec
from ablations.storage.leases import Lease, LeaseLostError
from ablations.storage.progress import Progress, ProgressFolder
from ablations.storage.provenance import host_name

if TYPE_CHECKING:
    from awd.trainer import Trainer

_LOOK_SECONDS = 0.5
_TELL_SECONDS = 2.0


class NotStartedError(Exception):
    """A run was asked to stop before its first step."""


def has_lost_its_parent(parent_pid: int) -> bool:
    """Whether the process that hands out runs has died; 0 is no such process, and it may be this one."""
    return parent_pid not in (0, os.getpid(), os.getppid())


class Watch:
    """Called after every step by :class:`awd.checkpoint.Checkpoints`; cheap, as it looks at files twice a second.

    Args:
        progress: where to say how far the run is.
        invocation: the file whose end says to stop.
        parent_pid: process whose end is a reason to stop; 0 is nobody.
        lease: the run must still be ours.
        spec: the run.

    Raises:
        NotStartedError: it is to stop already.
    """

    _stopped: ClassVar[str | None] = None

    def __init__(
        self, progress: ProgressFolder, invocation: Path, parent_pid: int, lease: Lease, spec: RunSpec
    ) -> None:
        self._progress, self._invocation, self._parent_pid = progress, invocation, parent_pid
        self._lease, self._spec = lease, spec
        self._trainer: Trainer | None = None
        self._looked = self._told = 0.0
        Watch._stopped = None  # what was asked of an earlier run
        if reason := self._reason():
            raise NotStartedError(f"not started: {reason}")
        self._tell()

    @classmethod
    def stop_this_process(cls, reason: str) -> None:
        """Ask whatever runs in this process to stop; safe in a signal handler."""
        cls._stopped = reason

    def follow(self, trainer: Trainer) -> None:
        """Tell of this trainer from now on."""
        self._trainer = trainer
        self._tell()

    def __call__(self) -> str | None:
        """Why to stop now, if at all.

        Raises:
            LeaseLostError: the run is another's now.
        """
        now = time.monotonic()
        if self._lease.lost:
            raise LeaseLostError(f"{self._spec.title}: another caller has taken it over")
        if self._trainer is not None and (now - self._told > _TELL_SECONDS or self._trainer.position.start == 0):
            self._told = now
            self._tell()
        if now - self._looked < _LOOK_SECONDS:
            return self._stopped
        self._looked = now
        return self._reason()

    def _reason(self) -> str | None:
        if self._stopped:
            return self._stopped
        if not self._invocation.exists():
            return "asked to stop"
        return "the process that started it has died" if has_lost_its_parent(self._parent_pid) else None

    def _tell(self) -> None:
        spec, trainer = self._spec, self._trainer
        here = Progress(run_id=spec.run_id, pid=os.getpid(), host=host_name(), epochs=spec.config.most_epochs)
        if trainer is not None:
            position, epochs = trainer.position, trainer.epochs
            here = replace(
                here,
                phase=position.phase,
                epoch=len(epochs),
                valid_ppl=epochs[-1].valid_ppl if epochs else None,
                share=position.start / max(1, len(trainer.train_data) - 1),
                seconds=sum(epoch.seconds for epoch in epochs) + position.seconds,
                tokens=sum(epoch.tokens for epoch in epochs) + sum(position.lengths) * trainer.train_data.shape[1],
            )
        self._progress.update(here)
