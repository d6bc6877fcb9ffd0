"""Threads of this process, by joblib: for runs that share a GPU, where processes would take turns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import cycle, islice
from queue import SimpleQueue

import joblib
import torch

from ablations.execution.backends.backend import Backend
from ablations.execution.job import Job, Summary
from ablations.execution.worker import compute_on_one_thread, execute


class Threads(Backend):
    """One thread per run, on a GPU with a stream of its own. What kills a run kills all; calling again goes on.

    Generators, engine and precision are each run's own objects; what holds for the whole process is the same for all
    runs, and settled here before the first.

    Args:
        at_once: runs at a time.
        devices: to deal the threads out over.
    """

    def __init__(self, at_once: int, devices: Sequence[str]) -> None:
        self.at_once = at_once
        compute_on_one_thread()
        # kept between runs, as memory that one frees on a stream is for the next one there
        self._places: SimpleQueue[tuple[str, torch.cuda.Stream | None]] = SimpleQueue()
        for device in islice(cycle(devices), at_once):
            self._places.put((device, torch.cuda.Stream(device) if device.startswith("cuda") else None))

    def train(self, jobs: Iterable[Job], at_once: int) -> Iterator[Summary]:
        """See :meth:`Backend.train`."""
        parallel = joblib.Parallel(
            n_jobs=at_once, backend="threading", return_as="generator_unordered", batch_size=1, pre_dispatch=at_once
        )
        yield from parallel(joblib.delayed(self._execute)(job) for job in jobs)

    def _execute(self, job: Job) -> Summary:
        device, stream = place = self._places.get()
        try:
            with torch.cuda.stream(stream) if stream else nullcontext():
                return execute(replace(job, options=replace(job.options, device=device, gpus=())))
        finally:
            self._places.put(place)
