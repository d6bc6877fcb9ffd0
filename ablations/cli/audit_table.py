"""Audits as a table: mechanisms down, configurations across, what was measured above what was expected."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ablations.audit.audit import AuditOutcome
from ablations.audit.cell import Cell

_ACROSS = 9  # configurations in a table 100 columns wide


def print_audits(title: str, audits: Sequence[tuple[str, AuditOutcome]], console: Console) -> None:
    """Print the audits of named configurations, one in detail or several side by side, and every contradiction."""
    measured = [(name, outcome) for name, outcome in audits if outcome.cells]
    if len(audits) == 1:
        for name, outcome in measured:
            console.print(_details(f"{title}: {name}", outcome.cells))
    else:
        for start in range(0, len(measured), _ACROSS):
            console.print(_side_by_side(title, measured[start : start + _ACROSS]))
    for name, outcome in audits:
        for line in outcome.contradictions:
            console.print(Text(f"{name}: {line}", style="red"), soft_wrap=True)
    failed = sum(not outcome.ok for _, outcome in audits)
    verdict = f"{failed} not as configured" if failed else "every mechanism acts as configured"
    console.print(f"{len(audits)} configuration{'s' if len(audits) > 1 else ''} audited: {verdict}", highlight=False)


def _side_by_side(title: str, audits: Sequence[tuple[str, AuditOutcome]]) -> Table:
    table = _table(title)
    table.add_column("measured\nexpected", no_wrap=True)
    for name, _ in audits:
        table.add_column(name.replace("-", "-\n"), overflow="fold")
    for row in itertools.zip_longest(*(outcome.cells for _, outcome in audits)):
        table.add_row(row[0].mechanism, *(_cell(cell) for cell in row))
    return table


def _cell(cell: Cell) -> Text:
    if cell.ok:
        return Text.assemble(cell.measured, "\n", (cell.expected, "dim"))
    return Text.assemble((f"✗ {cell.measured}", "bold red"), "\n", (cell.expected, "dim"))


def _details(title: str, cells: Sequence[Cell]) -> Table:
    table = _table(title)
    for heading in ("mechanism", "what", "measured", "expected"):
        table.add_column(heading, overflow="fold")
    for cell in cells:
        for number, line in enumerate(_lines(cell)):
            table.add_row("" if number else cell.mechanism, *line)
    return table


def _lines(cell: Cell) -> Iterator[tuple[str, str | Text, str]]:
    for finding in cell.findings:
        measured: str | Text = finding.measured
        if not finding.ok:
            measured = Text(f"✗ {finding.measured}", style="bold red")
        yield finding.what, measured, finding.expected


def _table(title: str) -> Table:
    return Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0), show_lines=False
    )
