"""Processes of this machine, by joblib's own loky: the default."""

from __future__ import annotations

import re
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TypeVar

import joblib
from joblib.externals.loky.process_executor import BrokenProcessPool

from ablations.execution.backends.backend import Backend, WorkerDiedError
from ablations.execution.job import Job, Summary
from ablations.execution.worker import execute

Order = TypeVar("Order")
Answer = TypeVar("Answer")


class Loky(Backend):
    """One process per run.

    Args:
        at_once: runs at a time.
    """

    has_children = True

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once

    def train(self, jobs: Iterable[Job], at_once: int) -> Iterator[Summary]:
        """See :meth:`Backend.train`."""
        return self.call(execute, jobs, at_once)

    def call(self, work: Callable[[Order], Answer], orders: Iterable[Order], at_once: int) -> Iterator[Answer]:
        """What ``work``, a function of a module, answers to each order, in a process of its own, as they come.

        Raises:
            WorkerDiedError: a process was killed.
        """
        # it replaces processes that have grown, which is no news to anybody
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs", category=UserWarning)
        parallel = joblib.Parallel(
            # of one job joblib makes no process, and what kills the run would kill the runner
            n_jobs=max(2, at_once),
            backend="loky",
            return_as="generator_unordered",
            # one run at a time is handed out, so that a death concerns only what was running
            batch_size=1,
            pre_dispatch=at_once,
        )
        try:
            with _ctrl_c_held_back():
                answers = parallel(joblib.delayed(work)(order) for order in orders)
            yield from answers
        except BrokenProcessPool as error:  # one that died, or could not make out what it was sent
            raise WorkerDiedError(_cause(str(error))) from None


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Processes that are started inside never see Ctrl-C, whose tracebacks they would print; this one does afterwards.

    It reaches the whole process group, and workers are asked to stop in another way.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # started inside, it would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cause(text: str) -> str:
    """What loky says of the exit codes, ``{SIGKILL(-9), EXIT(1)}``, in words."""
    signals = sorted(set(re.findall(r"\w+\(-(\d+)\)", text)))
    codes = sorted(set(re.findall(r"EXIT\((\d+)\)", text)))
    found = [f"signal {number}" for number in signals] + [f"exit code {code}" for code in codes]
    return ", ".join(found) + ("; out of memory?" if "9" in signals else "") if found else "cause unknown"
