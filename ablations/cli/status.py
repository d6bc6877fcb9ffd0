"""The command `status`: how far every run of a plan is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ablations.analysis.collect import as_recorded
from ablations.execution.standings import ENDED, Standing, standings, totals
from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection
from ablations.storage.status import Status
from ablations.storage.store import Store, StoreError

# what is shown first where room is short
_ORDER = [Status.RUNNING, Status.FAILED, Status.DIVERGED, Status.DAMAGED, Status.PAUSED, Status.DONE, Status.MISSING]
_WATCH_SECONDS = 2.0


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
    return {standing.status for standing in found} <= {Status.DONE}


def _print_changes(plan: Sequence[RunSpec], store: Store, console: Console) -> list[Standing]:
    before: dict[str, tuple[Status, int | None]] = {}
    while True:
        found = standings(plan, store)
        now = {standing.spec.run_id: (standing.status, standing.epochs) for standing in found}
        for standing in found:
            run_id = standing.spec.run_id
            if now[run_id] != before.get(run_id, (Status.MISSING, None)):
                numbers = " ".join(_numbers(standing))
                line = f"{standing.spec.title}: {standing.status} {numbers} {standing.detail}"
                console.print(" ".join(line.split()), markup=False, highlight=False, soft_wrap=True)
        before = now
        if _over(found):
            console.print(totals(found))
            return found
        time.sleep(_WATCH_SECONDS)


def _over(found: Sequence[Standing]) -> bool:
    return all(standing.status in ENDED for standing in found)


def _plan(selection: Selection, store: Store) -> list[RunSpec]:
    # with a damaged result, this machine's engine and precision are as good a guess
    with suppress(StoreError):
        selection = as_recorded(selection, store.runs())
    return selection.plan(selection.corpora())


def _numbers(standing: Standing) -> list[str]:
    numbers = [standing.valid_ppl, standing.test_ppl if standing.status == Status.DONE else None]
    return ["" if number is None else f"{number:.2f}" for number in numbers]


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
