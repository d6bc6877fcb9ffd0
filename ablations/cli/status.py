"""The command `status`: how far every run of a plan is."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from contextlib import suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live

from ablations.analysis.collect import as_recorded
from ablations.cli.console import say_json
from ablations.cli.listing import title
from ablations.execution.standings import ENDED, Standing, standings, totals
from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection
from ablations.storage.status import Status
from ablations.storage.store import Store, StoreError
from ablations.terminal import Sheet, literal, say
from awd.messages import number_text, one_line

# what is shown first where room is short
_ORDER = [Status.RUNNING, Status.FAILED, Status.DIVERGED, Status.DAMAGED, Status.PAUSED, Status.DONE, Status.MISSING]
_WATCH_SECONDS = 2.0
_MARGIN = 8  # lines of a terminal that are no run's


def print_status(
    selection: Selection, store: Store, console: Console, *, watch: bool = False, as_json: bool = False
) -> bool:
    """Show how far the runs are; returns whether all are done.

    Args:
        watch: go on, until every run is done, failed or diverged: a table that renews itself in a terminal, elsewhere
            a line whenever something changes.
        as_json: a list with one object per run.
    """
    plan = _plan(selection, store)
    found = standings(plan, store)
    if as_json:
        say_json([_as_json(standing) for standing in found])
    elif not watch:
        console.print(_shown(found, selection))
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False, screen=False) as live:
            while True:
                live.update(_shown(found, selection, console.height - _MARGIN), refresh=True)
                if _over(found):
                    break
                time.sleep(_WATCH_SECONDS)
                found = standings(plan, store)
    else:
        found = _print_changes(plan, store, console)
    return {standing.status for standing in found} <= {Status.DONE}


def _as_json(standing: Standing) -> dict[str, object]:
    spec = standing.spec
    named = {name: getattr(spec, name) for name in ("run_id", "suite", "profile", "dataset", "variant", "seed")}
    return {**named, **{name: value for name, value in vars(standing).items() if name != "spec"}}


def _print_changes(plan: Sequence[RunSpec], store: Store, console: Console) -> list[Standing]:
    before: dict[str, tuple[Status, int | None]] = {}
    while True:
        found = standings(plan, store)
        now = {standing.spec.run_id: (standing.status, standing.epochs) for standing in found}
        for standing in found:
            run_id = standing.spec.run_id
            if now[run_id] != before.get(run_id, (Status.MISSING, None)):
                line = f"{standing.spec.title}: {standing.status} {' '.join(_numbers(standing))} {standing.detail}"
                say(console, one_line(line))
        before = now
        if _over(found):
            say(console, totals(found))
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
    return ["" if number is None else number_text(number) for number in numbers]


def _shown(found: Sequence[Standing], selection: Selection, room: int | None = None) -> Group:
    """A table for each data set, what is to be said of single runs, and the totals; in ``room`` lines, if given."""
    chosen = list(found) if room is None else _most_telling(found, room)
    parts: list[RenderableType] = []
    for dataset, standings_there in itertools.groupby(chosen, key=lambda standing: standing.spec.dataset):
        headings = ["run", "variant", "seed", "status", "epochs", "valid", "test"]
        sheet = Sheet(f"{title(selection)}, {dataset}", headings, numbers=["seed", "epochs", "valid", "test"])
        for standing in standings_there:
            spec = standing.spec
            epochs = "" if standing.epochs is None else f"{standing.epochs}/{spec.config.most_epochs}"
            names = (spec.run_id[:8], spec.variant, str(spec.seed))
            sheet.add(*names, standing.status, epochs, *_numbers(standing))
        parts.append(sheet)
    details = [f"{one.spec.run_id[:8]} {one.spec.variant}: {one.detail}" for one in chosen if one.detail]
    left_out = [f"{len(found) - len(chosen)} more, for which there is no room"] if len(chosen) < len(found) else []
    return Group(*parts, *map(literal, [*details, *left_out, totals(found)]))


def _most_telling(found: Sequence[Standing], room: int) -> list[Standing]:
    """As many runs as there is room for, those first that are under way or went wrong, in the order of the plan."""
    chosen: list[int] = []
    for place in sorted(range(len(found)), key=lambda place: _ORDER.index(found[place].status)):
        room -= 2 if found[place].detail else 1
        if room < 0 and chosen:
            break
        chosen.append(place)
    return [found[place] for place in sorted(chosen)]
