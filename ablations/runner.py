"""Trains what is left of a plan, a process a run, and keeps whatever finishes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError
from rich.console import Console

from ablations.display import Display
from ablations.plan import RunSpec, unique_runs
from ablations.progress import ProgressFolder
from ablations.provenance import collect_provenance
from ablations.store import DONE, FAILED, Store
from ablations.worker import Job, Summary, describe, execute

_MAX_DEATHS = 2  # a run whose worker died so often is the likely cause


@dataclass(frozen=True)
class Options:
    """How a plan is run; nothing here changes a result.

    Attributes:
        jobs: runs at a time; ``None`` is one for each core this process may use, or one on a GPU.
        device: a torch device, resolved.
        data_dir: folder of the corpora, if one was given.
        force: train again what is done.
        retry_failed: train again what failed or diverged.
        audit: measure first what acts in each configuration, and train none that contradicts itself.
    """

    jobs: int | None
    device: str
    data_dir: Path | None = None
    force: bool = False
    retry_failed: bool = False
    audit: bool = True


def remaining(plan: Sequence[RunSpec], store: Store, *, force: bool, retry_failed: bool) -> list[RunSpec]:
    """The runs of a plan that are to be trained: those not recorded, and on request the failed or all."""
    if force:
        return unique_runs(plan)
    statuses = store.statuses()
    settled = {run_id for run_id, status in statuses.items() if status == DONE or not retry_failed}
    return [spec for spec in unique_runs(plan) if spec.run_id not in settled]


def run_plan(plan: Sequence[RunSpec], store: Store, options: Options, console: Console) -> list[Summary]:
    """Train the remaining runs of a plan; one that fails never stops the others.

    Returns:
        A summary of each run trained now.

    Raises:
        KeyboardInterrupt: on Ctrl-C, after the workers are gone; what had finished is stored.
        StoreError: the results folder cannot be written or read.
    """
    store.require_writable()
    specs = remaining(plan, store, force=options.force, retry_failed=options.retry_failed)
    progress = ProgressFolder(store.root)
    for spec in specs:
        progress.remove(spec.run_id)  # left by a process that was killed
    jobs, contradicted = _audited_jobs(specs, store, options, console)
    by_id = {job.spec.run_id: job for job in [*jobs, *contradicted]}
    summaries = []
    with Display(console, specs, progress) as display:
        refused = (_record_failure(job, store, f"audit {job.audit}") for job in contradicted)
        for summary in chain(refused, _summaries(jobs, _at_once(options), store, display)):
            summaries.append(summary)
            display.run_ended(by_id[summary.run_id].spec, summary)
    return summaries


def _at_once(options: Options) -> int:
    if options.jobs is not None:
        return options.jobs
    # as many trainings as cores would not fit on most GPUs
    return 1 if options.device.startswith("cuda") else joblib.cpu_count()


def _audited_jobs(
    specs: Sequence[RunSpec], store: Store, options: Options, console: Console
) -> tuple[list[Job], list[Job]]:
    """What is to be trained, and what is not, since the audit of its configuration failed."""
    from ablations.audit.sweep import SKIPPED, audit_before_training, key

    outcomes = audit_before_training(specs, options.data_dir, console) if options.audit else {}
    provenance, parent = collect_provenance(), os.getpid()
    jobs: tuple[list[Job], list[Job]] = [], []
    for spec in specs:
        outcome = outcomes.get(key(spec))
        audit = SKIPPED if outcome is None else outcome.text
        job = Job(spec, store.root, options.device, options.data_dir, provenance, parent, audit)
        jobs[outcome is not None and not outcome.ok].append(job)
    return jobs


def _summaries(jobs: Sequence[Job], at_once: int, store: Store, display: Display) -> Iterator[Summary]:
    """Run the jobs, and again what was in flight when a worker died: loky then ends the whole call."""
    progress = ProgressFolder(store.root)
    left = {job.spec.run_id: job for job in jobs}
    deaths: Counter[str] = Counter()
    while left:
        # pre_dispatch and batch_size: hand out one run at a time, so that a death concerns only what was running
        parallel = joblib.Parallel(n_jobs=at_once, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
        try:
            for summary in parallel(joblib.delayed(execute)(job) for job in list(left.values())):
                del left[summary.run_id]
                yield summary
        except TerminatedWorkerError:
            in_flight = [run_id for run_id in left if progress.read(run_id) is not None]
            # dead before it said a word: blame what would have been next, or the same would start for ever
            for run_id in in_flight or list(left)[:at_once]:
                job = left[run_id]
                deaths[run_id] += 1
                progress.remove(run_id)
                display.say(f"a worker died while {job.spec.title} was running")
                if deaths[run_id] >= _MAX_DEATHS:
                    del left[run_id]
                    yield _record_failure(job, store, "worker died (killed from outside, or out of memory?)")


def _record_failure(job: Job, store: Store, error: str) -> Summary:
    if not store.write({**describe(job), "status": FAILED, "error": error, "epochs": 0}, []):
        error += " (the earlier result is kept)"
    return Summary(job.spec.run_id, FAILED, error, None, None, 0.0)
