"""What a terminal shows: lines, tables, bars. What the user named is shown as it is, never read as markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NARROWEST = 14  # characters of a column whose text is broken into lines, if it has so many
_SHORT_BAR, _LONG_BAR, _WIDE = 8, 20, 100


def literal(text: str, style: str = "") -> Text:
    """Text as it is; what would command the terminal is shown as a question mark."""
    return Text(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text), style)


def say(console: Console, line: str) -> None:
    """A line as it is; the terminal breaks it where it is too long."""
    console.print(literal(line), soft_wrap=True)


def clock(seconds: float | None) -> str:
    """``1:02:03``, ``4:05``, or ``-`` when unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def bars(console: Console, *columns: ProgressColumn, transient: bool = False) -> Progress:
    """Bars with a description, a count and a time, and ``columns`` between; none where there is no terminal."""
    return Progress(
        text_column("description"),
        BarColumn(bar_width=_LONG_BAR if console.width >= _WIDE else _SHORT_BAR),
        MofNCompleteColumn(),
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=transient,
        disable=not console.is_terminal,
    )


def text_column(name: str) -> TextColumn:
    """Beside a bar, ``description`` or another field of its task; on several lines where there is no room."""
    what = "{task.description}" if name == "description" else f"{{task.fields[{name}]}}"
    return TextColumn(what, markup=False, table_column=Column(overflow="fold"))


@dataclass(frozen=True)
class Sheet:
    """A table that is never cut: where there is no room for one, each row becomes a line that says what is what.

    Attributes:
        title: above it.
        headings: of the columns; the first one's cells name the rows.
        rows: cells, as text.
        text: headings of columns whose text may be broken between its words; the others stay whole.
        numbers: headings of columns that are written to the right.
    """

    title: str
    headings: Sequence[str]
    rows: list[Sequence[str | Text]] = field(default_factory=list)
    text: Sequence[str] = ()
    numbers: Sequence[str] = ()

    def add(self, *cells: str | Text) -> None:
        """One more row."""
        self.rows.append(cells)

    def fits(self, width: int, gap: int = 1) -> bool:
        """Whether it can be drawn in so many columns without cutting a word."""
        return sum(map(self._least, self._columns)) + gap * (len(self.headings) - 1) <= width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield literal(self.title)
        if self.fits(options.max_width):
            yield self._table(gap=2 if self.fits(options.max_width, gap=2) else 1)
        else:
            yield from self._lines()
        yield Text()

    @property
    def _columns(self) -> range:
        return range(len(self.headings))

    def _cells(self, column: int) -> list[str]:
        return [self.headings[column], *(_plain(row[column]) for row in self.rows)]

    def _whole(self, column: int) -> int:
        """Characters of a column's longest line."""
        return max(cell_len(line) for cell in self._cells(column) for line in cell.split("\n"))

    def _least(self, column: int) -> int:
        """Characters that a column needs."""
        if self.headings[column] not in self.text:
            return self._whole(column)
        longest_word = max(cell_len(word) for cell in self._cells(column) for word in cell.split() or [""])
        return max(longest_word, min(self._whole(column), _NARROWEST))

    def _table(self, gap: int) -> Table:
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))
        for column, heading in enumerate(self.headings):
            table.add_column(
                literal(heading),
                justify="right" if heading in self.numbers else "left",
                no_wrap=heading not in self.text,
                min_width=self._least(column),
            )
        for row in self.rows:
            table.add_row(*(literal(cell) if isinstance(cell, str) else cell for cell in row))
        return table

    def _lines(self) -> Iterator[RenderableType]:
        _, *headings = (heading.replace("\n", " ") for heading in self.headings)
        for name, *cells in self.rows:
            told = [f"{heading} {_plain(cell)}" for heading, cell in zip(headings, cells, strict=True) if _plain(cell)]
            yield literal(_plain(name))
            yield Padding(literal("; ".join(told)), (0, 0, 0, 2))


def _plain(cell: str | Text) -> str:
    return cell if isinstance(cell, str) else cell.plain
