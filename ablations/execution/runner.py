"""Trains what is left of a plan, and keeps whatever finishes, whoever else is at work and whatever dies."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from rich.console import Console

from ablations.execution.backends import Backend, make_backend
from ablations.execution.backends.backend import WorkerDiedError
from ablations.execution.display import Display
from ablations.execution.job import Context, Job, RunOptions, Summary
from ablations.execution.worker import checkpoint_folder, describe, recorded_by_another
from ablations.experiment.plan import RunSpec, unique_runs
from ablations.storage.invocation import Invocation
from ablations.storage.leases import Leases
from ablations.storage.progress import ProgressFolder
from ablations.storage.provenance import collect_provenance
from ablations.storage.status import Status
from ablations.storage.store import Store
from ablations.terminal import say
from awd.checkpoint import Checkpoints

_LOOK_SECONDS = 1.0  # between looks whether another caller is done with a run


@dataclass(frozen=True)
class SweepOutcome:
    """What an invocation did.

    Attributes:
        summaries: of each run that ended, or was paused, now.
        stopped: why it stopped early, if it did.
    """

    summaries: list[Summary]
    stopped: str | None


def remaining(plan: Sequence[RunSpec], store: Store, *, force: bool, retry_failed: bool) -> list[RunSpec]:
    """The runs of a plan that are to be trained: those not recorded, the paused, and on request the failed or all."""
    if force:
        return unique_runs(plan)
    statuses = store.statuses()
    settled = {
        run_id
        for run_id, status in statuses.items()
        if status == Status.DONE or not (retry_failed or status == Status.PAUSED)
    }
    return [spec for spec in unique_runs(plan) if spec.run_id not in settled]


def run_plan(plan: Sequence[RunSpec], store: Store, options: RunOptions, console: Console) -> SweepOutcome:
    """Train the remaining runs of a plan; one that fails never stops the others.

    Raises:
        KeyboardInterrupt: on a second Ctrl-C or SIGTERM, after the workers are gone; what had finished or was saved
            is kept.
        StoreError: the results folder cannot be written or read.
    """
    store.require_writable()
    specs = remaining(plan, store, force=options.force, retry_failed=options.retry_failed)
    if not specs:
        return SweepOutcome([], None)
    backend = make_backend(options.backend, options.at_once, options.scheduler, options.gpus_per_run, options.devices)
    invocation = Invocation(store.root, partial(say, console))
    jobs, contradicted = _audited_jobs(specs, store, options, backend, invocation, console)
    by_id = {job.spec.run_id: job for job in [*jobs, *contradicted]}
    summaries: list[Summary] = []
    with Display(console, specs, ProgressFolder(store.root)) as display, invocation.running(options.time_limit):
        refused = (_record_failure(job, store, f"audit {job.audit}") for job in contradicted)
        if options.force:
            _forget_checkpoints(jobs, store)
        sweep = _Sweep(jobs, backend, store, options.max_restarts, invocation, display)
        for summary in chain(refused, sweep.summaries()):
            summaries.append(summary)
            display.run_ended(by_id[summary.run_id].spec, summary)
    return SweepOutcome(summaries, invocation.reason)


def _audited_jobs(
    specs: Sequence[RunSpec],
    store: Store,
    options: RunOptions,
    backend: Backend,
    invocation: Invocation,
    console: Console,
) -> tuple[list[Job], list[Job]]:
    """What is to be trained, and what is not, since the audit of its configuration failed."""
    from ablations.audit.sweep import SKIPPED, audit_before_training, key

    outcomes = audit_before_training(specs, options.data_dir, console) if options.audit else {}
    parent_pid, known = os.getpid() if backend.has_children else 0, store.finished()
    context = Context(store.root.resolve(), invocation.path.resolve(), parent_pid, collect_provenance())
    jobs: tuple[list[Job], list[Job]] = [], []
    for spec in specs:
        outcome = outcomes.get(key(spec))
        text = SKIPPED if outcome is None else outcome.text
        job = Job(spec, options, context, text, known.get(spec.run_id))
        jobs[outcome is not None and not outcome.ok].append(job)
    return jobs


def _forget_checkpoints(jobs: Sequence[Job], store: Store) -> None:
    """Of runs that are trained anew on purpose, but for those that another caller is training."""
    leases = Leases(store.root)
    for job in jobs:
        lease = leases.take(job.spec.run_id)
        if lease is not None:
            with lease:
                Checkpoints(checkpoint_folder(store.root, job.spec.run_id)).remove()


@dataclass
class _Sweep:
    """Hands the jobs to a backend until each is settled, by us or another caller, or has died too often."""

    jobs: Sequence[Job]
    backend: Backend
    store: Store
    max_restarts: int
    invocation: Invocation
    display: Display
    deaths: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.left = {job.spec.run_id: job for job in self.jobs}
        self.leases, self.progress = Leases(self.store.root), ProgressFolder(self.store.root)
        # what died with an earlier call is not running, nor in flight when a worker dies
        for run_id in self.left.keys() - self.leases.live().keys():
            self.progress.remove(run_id)

    def summaries(self) -> Iterator[Summary]:
        while self.left and not self.invocation.stopped:
            held = self.leases.live().keys()
            free = [job for run_id, job in self.left.items() if run_id not in held]
            before = len(self.left), self.deaths.total()
            yield from self._round(free)
            if self.left and before == (len(self.left), self.deaths.total()):
                time.sleep(_LOOK_SECONDS)  # what is left is being trained by others
                yield from self._settled_by_others()

    def _round(self, jobs: Sequence[Job]) -> Iterator[Summary]:
        """Train what is given, but leave the last tries of runs whose workers died to the end, and to one at a time:
        a run that dies alone is to blame, one that dies beside others may not be."""
        last_tries = [job for job in jobs if self.max_restarts and self.deaths[job.spec.run_id] == self.max_restarts]
        others = [job for job in jobs if job not in last_tries]
        chosen, at_once = (others, self.backend.at_once) if others else (last_tries[:1], 1)
        if not chosen:
            return
        try:
            for summary in self.backend.train(self._until_stopped(chosen), at_once):
                if summary.status not in (Status.CLAIMED, Status.NOT_STARTED):
                    del self.left[summary.run_id]
                    yield summary
        except WorkerDiedError as error:
            yield from self._died(str(error), chosen, at_once)

    def _until_stopped(self, jobs: Sequence[Job]) -> Iterator[Job]:
        for job in jobs:
            if self.invocation.stopped:
                return
            yield job

    def _died(self, cause: str, chosen: Sequence[Job], at_once: int) -> Iterator[Summary]:
        """Count a death against each run that was in flight; those that have died too often are recorded as failed."""
        if self.invocation.stopped:
            return
        ours = self.left.keys() - self.leases.live().keys()
        in_flight = [
            job for run_id, job in self.left.items() if run_id in ours and self.progress.read(run_id) is not None
        ]
        # dead before it said a word: blame what would have been next, or the same would start for ever
        for job in in_flight or [job for job in chosen if job.spec.run_id in ours][:at_once]:
            run_id = job.spec.run_id
            self.deaths[run_id] += 1
            self.progress.remove(run_id)
            gone = self.deaths[run_id] > self.max_restarts
            what_now = "it is not restarted" if gone else f"restart {self.deaths[run_id]} of {self.max_restarts}"
            self.display.say(f"a worker died ({cause}) while {job.spec.title} was running; {what_now}")
            if gone:
                del self.left[run_id]
                yield _record_failure(job, self.store, f"worker died ({cause})")

    def _settled_by_others(self) -> Iterator[Summary]:
        for run_id, job in list(self.left.items()):
            summary = recorded_by_another(self.store.root, run_id, job.known)
            if summary is not None:
                del self.left[run_id]
                yield summary


def _record_failure(job: Job, store: Store, error: str) -> Summary:
    run_id = job.spec.run_id
    lease = Leases(store.root).take(run_id)
    if lease is None:
        return Summary(run_id, Status.FAILED, f"{error}; another caller trains it now")
    with lease, lease.guard():
        if not store.write({**describe(job), "status": Status.FAILED, "error": error, "epochs": 0}, []):
            error += " (the earlier result is kept)"
    return Summary(run_id, Status.FAILED, error)
