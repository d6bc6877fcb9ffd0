"""Where every run of a plan stands, from the results folder alone: local, on a cluster, or another caller's."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ablations.analysis.collect import as_recorded
from ablations.execution.display import clock
from ablations.execution.worker import checkpoint_folder
from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection
from ablations.storage.leases import Leases
from ablations.storage.progress import Progress, ProgressFolder
from ablations.storage.store import DONE, PAUSED, Store, StoreError
from awd.messages import number_text

RUNNING, MISSING, DAMAGED = "running", "missing", "damaged"
_ENDED = ("done", "failed", "diverged", DAMAGED)
_ORDER = (RUNNING, "failed", "diverged", DAMAGED, PAUSED, DONE, MISSING)  # what is shown first where room is short
_WATCH_SECONDS = 2.0


@dataclass(frozen=True)
class Standing:
    """Where one run stands.

    Attributes:
        spec: the run.
        status: ``running``, a status of the store, ``missing``, or ``damaged`` if its result cannot be read.
        valid_ppl: final if done, best so far if paused, latest if running; ``None`` before the first.
        test_ppl: ``None`` unless done.
        epochs: done so far; ``None`` where unknown.
        seconds: it has taken so far.
        seconds_left: estimate; ``None`` unless running.
        detail: who trains it and how fast, or why it is not done.
    """

    spec: RunSpec
    status: str
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
        return Standing(spec, RUNNING, detail=f"starting, {owner}")
    speed = f"{now.tokens_per_second:,.0f} tokens/s, " if now.tokens_per_second else ""
    detail = f"{now.phase}, {speed}{clock(now.seconds_left)} left, {owner}"
    return Standing(spec, RUNNING, now.valid_ppl, None, now.epoch, now.seconds, now.seconds_left, detail)


def _recorded(spec: RunSpec, store: Store) -> Standing:
    try:
        row = store.run(spec.run_id)
    except StoreError as error:
        return Standing(spec, DAMAGED, detail=str(error))
    if row is None:
        # killed before it could say so
        saved = any(checkpoint_folder(store.root, spec.run_id).glob("*.safetensors"))
        return (
            Standing(spec, PAUSED, detail="interrupted; its checkpoint is there") if saved else Standing(spec, MISSING)
        )
    why = "" if row["status"] == DONE else str(row["error"]).splitlines()[-1]
    numbers = (row["valid_ppl"], row["test_ppl"], row["epochs"], row["seconds"] or 0.0)
    return Standing(spec, str(row["status"]), *numbers, detail=why)


def seconds_remaining(found: Sequence[Standing]) -> float | None:
    """Estimate of what remains at the present pace; ``None`` where nothing is known, 0 where nothing remains.

    A run that waits is taken to last as long as the mean of those done on its data set, or of those running.
    """
    left = {standing.spec.run_id: standing for standing in found if standing.status not in _ENDED}
    if not left:
        return 0.0
    running = [standing for standing in left.values() if standing.status == RUNNING]
    known: dict[str, list[float]] = {}
    for standing in found:
        if standing.status == DONE:
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


def print_status(selection: Selection, store: Store, console: Console, *, watch: bool = False) -> bool:
    """Show where the runs stand; returns whether all are done.

    Args:
        watch: go on, until every run is done, failed or diverged: a table that renews itself in a terminal, elsewhere
            a line whenever something changes.
    """
    plan = _plan(selection, store)
    found = standings(plan, store)
    if not watch:
        console.print(_table(found, selection))
        console.print(totals(found))
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=False) as live:
            while True:
                live.update(_table(found, selection, console.height - 8, totals(found)), refresh=True)
                if _over(found):
                    break
                time.sleep(_WATCH_SECONDS)
                found = standings(plan, store)
    else:
        found = _print_changes(plan, store, console)
    return {standing.status for standing in found} <= {DONE}


def _print_changes(plan: Sequence[RunSpec], store: Store, console: Console) -> list[Standing]:
    before: dict[str, tuple[str, int | None]] = {}
    while True:
        found = standings(plan, store)
        now = {standing.spec.run_id: (standing.status, standing.epochs) for standing in found}
        for standing in found:
            run_id = standing.spec.run_id
            if now[run_id] != before.get(run_id, (MISSING, None)):
                numbers = " ".join(_numbers(standing))
                line = f"{standing.spec.title}: {standing.status} {numbers} {standing.detail}"
                console.print(" ".join(line.split()), markup=False, highlight=False, soft_wrap=True)
        before = now
        if _over(found):
            console.print(totals(found))
            return found
        time.sleep(_WATCH_SECONDS)


def _over(found: Sequence[Standing]) -> bool:
    return all(standing.status in _ENDED for standing in found)


def _plan(selection: Selection, store: Store) -> list[RunSpec]:
    # with a damaged result, this machine's engine and precision are as good a guess
    with suppress(StoreError):
        selection = as_recorded(selection, store.runs())
    return selection.plan(selection.corpora())


def totals(found: Sequence[Standing]) -> str:
    """``5 done, 2 running, 1 paused; about 0:42:10 left with 2 running``."""
    once = {standing.spec.run_id: standing for standing in found}.values()
    counts = Counter(standing.status for standing in once)
    text = ", ".join(f"{counts[status]} {status}" for status in sorted(counts))
    remaining = seconds_remaining(list(once))
    if remaining is None:
        return f"{text}; `--dry-run` of `run` estimates the time they take"
    running = f" with {counts[RUNNING]} running" if counts[RUNNING] else " one at a time"
    return f"{text}; about {clock(remaining)} left{running}" if remaining else text


def _numbers(standing: Standing) -> list[str]:
    numbers = [standing.valid_ppl, standing.test_ppl if standing.status == DONE else None]
    return ["" if number is None else number_text(number) for number in numbers]


def _table(
    found: Sequence[Standing], selection: Selection, rows: int | None = None, caption: str | None = None
) -> Table:
    settings = "".join(f" --set {assignment}" for assignment in selection.assignments)
    title = f"suite {selection.suite.name}, profile {selection.profile.name}{settings}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, caption=caption)
    table.caption_justify = "left"
    for heading in ("run", "data set", "variant", "seed", "status", "epochs", "valid", "test", "what"):
        table.add_column(heading, overflow="fold")
    shown = list(found)
    if rows is not None and len(shown) > rows:
        shown = sorted(shown, key=lambda standing: _ORDER.index(standing.status))[: max(1, rows)]
    for standing in shown:
        spec = standing.spec
        epochs = "" if standing.epochs is None else f"{standing.epochs}/{spec.config.most_epochs}"
        names = (spec.run_id[:8], spec.dataset, spec.variant, str(spec.seed))
        table.add_row(*names, standing.status, epochs, *_numbers(standing), standing.detail)
    return table
