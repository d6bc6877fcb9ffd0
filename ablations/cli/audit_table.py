"""Audits as a table: mechanisms down, configurations across, what was measured above what was expected."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from ablations.audit.audit import AuditOutcome
from ablations.audit.cell import Cell
from ablations.terminal import Sheet, literal, say

Audits = Sequence[tuple[str, AuditOutcome]]


def print_audits(title: str, audits: Audits, console: Console) -> None:
    """Print the audits of named configurations, one in detail or several side by side, and every contradiction."""
    measured = [(name, outcome) for name, outcome in audits if outcome.cells]
    if len(audits) == 1:
        for name, outcome in measured:
            console.print(_details(f"{title}: {name}", outcome.cells))
    else:
        _print_side_by_side(title, measured, console)
    for name, outcome in audits:
        for line in outcome.contradictions:
            console.print(literal(f"{name}: {line}", "red"), soft_wrap=True)
    failed = sum(not outcome.ok for _, outcome in audits)
    verdict = f"{failed} not as configured" if failed else "every mechanism acts as configured"
    say(console, f"{len(audits)} configuration{'s' if len(audits) > 1 else ''} audited: {verdict}")


def _print_side_by_side(title: str, audits: Audits, console: Console) -> None:
    """One table, or as many as are needed for each to fit."""
    while audits:
        fitting = (
            count for count in range(len(audits), 1, -1) if _side_by_side("", audits[:count]).fits(console.width)
        )
        count = next(fitting, 1)
        console.print(_side_by_side(title, audits[:count]))
        audits = audits[count:]


def _side_by_side(title: str, audits: Audits) -> Sheet:
    sheet = Sheet(title, ["measured\nexpected", *(name for name, _ in audits)])
    for row in itertools.zip_longest(*(outcome.cells for _, outcome in audits)):
        sheet.add(row[0].mechanism, *map(_cell, row))
    return sheet


def _cell(cell: Cell) -> Text:
    return Text("\n").join([_measured(cell.measured, cell.ok), Text(cell.expected, "dim")])


def _details(title: str, cells: Sequence[Cell]) -> Sheet:
    headings = ["mechanism", "what", "measured", "expected"]
    sheet = Sheet(title, headings, text=headings[1:])
    for cell in cells:
        for number, finding in enumerate(cell.findings):
            measured = _measured(finding.measured, finding.ok)
            sheet.add("" if number else cell.mechanism, finding.what, measured, finding.expected)
    return sheet


def _measured(text: str, ok: bool) -> Text:
    return Text(text) if ok else Text(f"✗ {text}", "bold red")
