"""A Dask cluster, through joblib's own backend; results and checkpoints go to a folder that all nodes share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import joblib

from ablations.execution.backends.backend import Backend, WorkerDiedError
from ablations.execution.job import Job, Summary
from ablations.execution.worker import execute
from awd.errors import InputError
from awd.paths import user_path

WAIT_SECONDS = 60  # for the scheduler, and for its first worker


class Dask(Backend):
    """As many runs at a time as the cluster has room for.

    Args:
        scheduler: address, such as ``tcp://host:8786``, or path of a scheduler file.
        gpus_per_run: of the resource ``GPU`` that each worker was started with; 0 asks for none.

    Raises:
        InputError: Dask is not installed, no scheduler answers, or its workers have no such GPUs.
    """

    def __init__(self, scheduler: str, gpus_per_run: int = 0) -> None:
        try:
            import distributed  # noqa: F401
        except ImportError:
            raise InputError("--backend dask: Dask is not installed; pip install 'awd-ablations[cluster]'") from None
        self.scheduler, self.gpus_per_run = scheduler, gpus_per_run
        with self._client() as client:
            workers = client.scheduler_info(n_workers=-1)["workers"].values()
        self.at_once = max(1, sum(worker["nthreads"] for worker in workers))
        # Dask would wait for such a worker for ever; where there is none at all yet, some may still come
        if gpus_per_run and workers and not any(w["resources"].get("GPU", 0) >= gpus_per_run for w in workers):
            raise InputError(
                f"--gpus-per-run {gpus_per_run}: no worker there declares the resource GPU={gpus_per_run}; start them "
                f"with `dask worker ... --nthreads 1 --resources GPU={gpus_per_run}`"
            )

    def train(self, jobs: Iterable[Job], at_once: int) -> Iterator[Summary]:
        """See :meth:`Backend.train`."""
        from distributed import KilledWorker
        from joblib._dask import DaskDistributedBackend

        class OnTheCluster(DaskDistributedBackend):  # type: ignore[misc]
            """Where there is room for one run, joblib would train it in the caller's process, on a login node."""

            def effective_n_jobs(self, n_jobs: int) -> int:
                return max(2, int(super().effective_n_jobs(n_jobs)))

        with self._client() as client:
            resources = {"resources": {"GPU": self.gpus_per_run}} if self.gpus_per_run else {}
            backend = OnTheCluster(client=client, wait_for_workers_timeout=WAIT_SECONDS, **resources)
            # all are handed in, but for a last try alone: the queue is what makes a cluster grow
            pre_dispatch = 1 if at_once == 1 else "all"
            with joblib.parallel_config(backend=backend):
                parallel = joblib.Parallel(
                    return_as="generator_unordered", batch_size=1, pre_dispatch=pre_dispatch, n_jobs=-1
                )
                try:
                    yield from parallel(joblib.delayed(execute)(job) for job in jobs)
                except KilledWorker as error:
                    raise WorkerDiedError(
                        f"{getattr(error.last_worker, 'address', 'unknown')}; out of memory?"
                    ) from None
                except TimeoutError:
                    raise InputError(
                        f"--scheduler {self.scheduler}: no worker has joined it in {WAIT_SECONDS} s; start some with "
                        f"`dask worker {self.scheduler} --nthreads 1`"
                    ) from None

    @contextmanager
    def _client(self) -> Iterator[Any]:
        from distributed import Client

        failed = f"--scheduler {self.scheduler}: no Dask scheduler answers there"
        try:
            address = self.scheduler
            if (file := user_path(address, "--scheduler", folder=False)).is_file():
                address = json.loads(file.read_text(encoding="utf-8"))["address"]
            client = Client(address, timeout=WAIT_SECONDS, set_as_default=False)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{failed} ({error})") from None
        with client:
            yield client
