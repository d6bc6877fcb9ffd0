"""One run after another in this very process: for a debugger, or where no process may be started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import joblib

from ablations.execution.backends.backend import Backend
from ablations.execution.job import Job, Summary
from ablations.execution.worker import execute


class Sequential(Backend):
    """What kills a run kills the runner, too; calling again goes on."""

    at_once = 1

    def train(self, jobs: Iterable[Job], at_once: int) -> Iterator[Summary]:
        """See :meth:`Backend.train`."""
        parallel = joblib.Parallel(n_jobs=1, backend="sequential", return_as="generator", batch_size=1)
        yield from parallel(joblib.delayed(execute)(job) for job in jobs)
