"""Tables, bars and lines in terminals of any width, with names of any kind."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from ablations.terminal import Sheet, bars, clock, literal, say, text_column

MARKUP = "[/bold] lr:100:x [red]a"


def printed(renderable: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def sheet() -> Sheet:
    made = Sheet("a title", ["name", "count", "what it is"], text=["what it is"], numbers=["count"])
    made.add("no-embedding-dropout", "1,234", "words that may be broken into lines wherever there is a space")
    made.add(MARKUP, "5", Text("styled", "dim"))
    return made


@pytest.mark.parametrize("width", [200, 80, 60, 40, 25])
def test_nothing_is_cut_at_any_width(sheet: Sheet, width: int) -> None:
    text = printed(sheet, width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    told = " ".join(text.split())
    for word in ("no-embedding-dropout", "1,234", "broken", "space", "styled", "lr:100:x"):
        assert word in told


def test_a_table_becomes_lines_where_it_does_not_fit(sheet: Sheet) -> None:
    assert sheet.fits(50)
    assert not sheet.fits(40)
    assert "──" in printed(sheet, 50)
    assert "──" not in printed(sheet, 40)
    assert "no-embedding-dropout\n  count 1,234; what it is words that may" in printed(sheet, 40)


def test_columns_of_numbers_are_written_to_the_right() -> None:
    sheet = Sheet("", ["name", "count"], [("a", "5"), ("b", "1,234")], numbers=["count"])
    assert "a         5\nb     1,234\n" in printed(sheet)


def test_what_the_user_named_is_no_markup(sheet: Sheet) -> None:
    assert MARKUP in printed(sheet)
    console = Console(file=io.StringIO(), width=80)
    say(console, MARKUP)
    assert console.file.getvalue() == MARKUP + "\n"  # type: ignore[attr-defined]


def test_what_would_command_the_terminal_is_shown_instead() -> None:
    assert literal("a\x1b[2Jb\rc\td\n").plain == "a�[2Jb�c\td\n"


@pytest.mark.parametrize("width", [120, 40])
def test_a_bar_says_all_that_it_says(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with bars(console, text_column("detail")) as bar:
        bar.add_task(MARKUP, total=3, detail="valid 60.0 :x:")
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "lr:100:x" in text
    assert "[/bold]" in text
    assert ":x:" in text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0, "0:00"), (59.4, "0:59"), (245, "4:05"), (3723, "1:02:03")]
)
def test_clock(seconds: float | None, text: str) -> None:
    assert clock(seconds) == text
