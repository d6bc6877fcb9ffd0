"""How far every run of a plan is, from the results folder alone: local, on a cluster, or another caller's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from ablations.execution.display import last_line
from ablations.execution.worker import checkpoint_folder
from ablations.experiment.plan import RunSpec
from ablations.storage.leases import Leases
from ablations.storage.progress import Progress, ProgressFolder
from ablations.storage.status import Status
from ablations.storage.store import Store, StoreError
from ablations.terminal import clock

ENDED = (Status.DONE, Status.FAILED, Status.DIVERGED, Status.DAMAGED)


@dataclass(frozen=True)
class Standing:
    """Where one run stands.

    Attributes:
        spec: the run.
        status: as stored, or ``running``, ``missing``, ``damaged``.
        valid_ppl: final if done, best so far if paused, latest if running; ``None`` before the first.
        test_ppl: ``None`` unless done.
        epochs: done so far; ``None`` where unknown.
        seconds: it has taken so far.
        seconds_left: estimate; ``None`` unless running.
        detail: who trains it and how fast, or why it is not done.
    """

    spec: RunSpec
    status: Status
    valid_ppl: float | None = None
    test_ppl: float | None = None
    epochs: int | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    detail: str = ""


def standings(plan: Sequence[RunSpec], store: Store) -> list[Standing]:
    """Where each run of a plan stands. Writes nothing, and a damaged result does not hide the others."""
    live, progress = Leases(store.root).live(), ProgressFolder(store.root)
    found = []
    for spec in plan:
        owner = live.get(spec.run_id)
        if owner is not None:
            # what a process says of a run that it no longer has is not asked for
            found.append(_running(spec, progress.read(spec.run_id), str(owner)))
        else:
            found.append(_recorded(spec, store))
    return found


def _running(spec: RunSpec, now: Progress | None, owner: str) -> Standing:
    if now is None or not now.done:
        return Standing(spec, Status.RUNNING, detail=f"starting, {owner}")
    speed = f"{now.tokens_per_second:,.0f} tokens/s, " if now.tokens_per_second else ""
    detail = f"{now.phase}, {speed}{clock(now.seconds_left)} left, {owner}"
    return Standing(spec, Status.RUNNING, now.valid_ppl, None, now.epoch, now.seconds, now.seconds_left, detail)


def _recorded(spec: RunSpec, store: Store) -> Standing:
    try:
        row = store.run(spec.run_id)
        status = Status(row["status"]) if row else Status.MISSING
    except (StoreError, ValueError) as error:  # a word of no version that is known here
        return Standing(spec, Status.DAMAGED, detail=str(error))
    if row is None:
        # killed before it could say so
        saved = any(checkpoint_folder(store.root, spec.run_id).glob("*.safetensors"))
        if saved:
            return Standing(spec, Status.PAUSED, detail="interrupted; its checkpoint is there")
        return Standing(spec, status)
    why = "" if status == Status.DONE else last_line(row["error"])
    numbers = (row["valid_ppl"], row["test_ppl"], row["epochs"], row["seconds"] or 0.0)
    return Standing(spec, status, *numbers, detail=why)


def seconds_remaining(found: Sequence[Standing]) -> float | None:
    """Estimate of what remains at the present pace; ``None`` where nothing is known, 0 where nothing remains.

    A run that waits is taken to last as long as the mean of those done on its data set, or of those running.
    """
    left = {standing.spec.run_id: standing for standing in found if standing.status not in ENDED}
    if not left:
        return 0.0
    running = [standing for standing in left.values() if standing.status == Status.RUNNING]
    known: dict[str, list[float]] = {}
    for standing in found:
        if standing.status == Status.DONE:
            known.setdefault(standing.spec.dataset, []).append(standing.seconds)
    for standing in running:
        if standing.seconds_left is not None and standing.spec.dataset not in known:
            known.setdefault(standing.spec.dataset, []).append(standing.seconds + standing.seconds_left)
    total = 0.0
    for standing in left.values():
        if standing.seconds_left is not None:
            total += standing.seconds_left
        elif standing.spec.dataset in known:
            total += max(0.0, fmean(known[standing.spec.dataset]) - standing.seconds)
        else:
            return None
    return total / max(1, len(running))


def totals(found: Sequence[Standing]) -> str:
    """``5 done, 2 running, 1 paused; about 0:42:10 left with 2 running``."""
    once = {standing.spec.run_id: standing for standing in found}.values()
    counts = Counter(standing.status for standing in once)
    text = ", ".join(f"{counts[status]} {status}" for status in sorted(counts))
    remaining = seconds_remaining(list(once))
    if remaining is None:
        return f"{text}; `--dry-run` of `run` estimates the time they take"
    running = f" with {counts[Status.RUNNING]} running" if counts[Status.RUNNING] else " one at a time"
    return f"{text}; about {clock(remaining)} left{running}" if remaining else text
