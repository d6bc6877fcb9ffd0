"""What every backend can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

from ablations.execution.job import Job, Summary


class WorkerDiedError(Exception):
    """A process that trained runs is gone; which, is for the leases to tell.

    Args:
        cause: what is known, such as ``signal 9; out of memory?``.
    """


class Backend(ABC):
    """Carries runs to where they are trained.

    All behave alike, since a worker stores its own run, records what goes wrong as a status, and gives back a summary.

    Attributes:
        at_once: runs at a time.
        has_children: whether the runs are in children of this process, which end when it does.
    """

    has_children: ClassVar[bool] = False
    at_once: int

    @abstractmethod
    def train(self, jobs: Iterable[Job], at_once: int) -> Iterator[Summary]:
        """Train runs, each summary as it comes.

        Args:
            jobs: taken from when there is room, and no earlier where that is possible.
            at_once: no more than so many at a time.

        Raises:
            WorkerDiedError: a worker died; runs that are not in what was given back must be handed in again.
        """
