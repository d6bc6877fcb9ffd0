"""What the runner sends to a worker, and what it gets back: small and picklable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.experiment.plan import RunSpec
from ablations.storage.provenance import Provenance
from ablations.storage.status import Status

if TYPE_CHECKING:
    from awd.checkpoint import Interval


@dataclass(frozen=True)
class RunOptions:
    """How a plan is run; nothing here changes a result.

    Attributes:
        jobs: runs at a time; ``None`` is one for each core this process may use, or for each GPU.
        device: a torch device, resolved.
        data_dir: folder of the corpora, if one was given.
        force: train again what is done.
        retry_failed: train again what failed or diverged.
        audit: measure first what acts in each configuration, and train none that contradicts itself.
        backend: name of what carries the runs; ``scheduler`` and ``gpus_per_run`` are Dask's.
        gpus: of this machine, to deal the runs out over.
        interval: how often runs are saved; ``None`` as :class:`awd.checkpoint.Interval` leaves it open.
        keep_weights: whether finished runs keep their best weights.
        time_limit: seconds after which runs save themselves and stop.
        max_restarts: of a run whose worker died.
        tensorboard: whether epochs are written for TensorBoard, too.
    """

    jobs: int | None
    device: str
    data_dir: Path | None = None
    force: bool = False
    retry_failed: bool = False
    audit: bool = True
    backend: str = "loky"
    scheduler: str | None = None
    gpus_per_run: int = 0
    gpus: tuple[int, ...] = ()
    interval: Interval | None = None
    keep_weights: bool = True
    time_limit: float | None = None
    max_restarts: int = 3
    tensorboard: bool = False

    @property
    def at_once(self) -> int:
        """Runs at a time on this machine."""
        if self.jobs is not None:
            return self.jobs
        import joblib

        # as many trainings as cores would not fit on most GPUs
        return len(self.gpus) or (1 if self.device.startswith("cuda") else joblib.cpu_count())

    @property
    def devices(self) -> list[str]:
        """Those of this machine that runs may be dealt out over."""
        return [f"cuda:{gpu}" for gpu in self.gpus] or [self.device]


@dataclass(frozen=True)
class Context:
    """What all runs of one call share.

    Attributes:
        results: the results folder.
        invocation: the file whose end says to stop.
        parent_pid: process that hands out the runs, whose end is a reason to stop; 0 if it is not this one's parent.
        provenance: stored with each result.
    """

    results: Path
    invocation: Path
    parent_pid: int
    provenance: Provenance


@dataclass(frozen=True)
class Job:
    """One run to be trained.

    Attributes:
        spec: the run.
        options: how it is run.
        context: where it belongs.
        audit: what the audit of its configuration found, stored with the result.
        known: when the result that was there already had been finished; ``None`` if there was none.
    """

    spec: RunSpec
    options: RunOptions
    context: Context
    audit: str
    known: str | None


@dataclass(frozen=True)
class Summary:
    """What a worker sends back.

    Attributes:
        run_id: of the run.
        status: ``done``, ``failed``, ``diverged`` or ``paused``; ``claimed`` if another trains it, ``not started`` if
            it was asked to stop before, ``unstored`` if its result has no place.
        error: why, unless done.
        valid_ppl: best validation perplexity; ``None`` unless done.
        test_ppl: test perplexity; ``None`` unless done.
        seconds: it took.
        warnings: what the user should hear of.
        by_another: whether another caller trained it meanwhile.
    """

    run_id: str
    status: Status
    error: str | None
    valid_ppl: float | None = None
    test_ppl: float | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    by_another: bool = False
