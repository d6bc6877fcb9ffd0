"""Processes of this machine, by joblib's own loky: the default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

from ablations.backends.backend import Backend, WorkerDiedError
from ablations.worker import Job, Summary, execute


class Loky(Backend):
    """A process a run.

    Args:
        at_once: runs at a time.
    """

    name = "loky"
    has_children = True

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once

    def train(self, jobs: Iterable[Job], at_once: int) -> Iterator[Summary]:
        """See :meth:`Backend.train`."""
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
            yield from parallel(joblib.delayed(execute)(job) for job in jobs)
        except TerminatedWorkerError as error:
            raise WorkerDiedError(_cause(str(error))) from None


def _cause(text: str) -> str:
    """What loky says of the exit codes, ``{SIGKILL(-9), EXIT(1)}``, in words."""
    signals = sorted(set(re.findall(r"\w+\(-(\d+)\)", text)))
    codes = sorted(set(re.findall(r"EXIT\((\d+)\)", text)))
    found = [f"signal {number}" for number in signals] + [f"exit code {code}" for code in codes]
    return ", ".join(found) + ("; out of memory?" if "9" in signals else "") if found else "cause unknown"
