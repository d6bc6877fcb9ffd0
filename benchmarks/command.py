"""What the benchmarks' command lines share: how they look, what they say, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

from awd.errors import InputError

FAILED, BAD_INPUT = 1, 2
WIDE = 200  # a file or a pipe has no width of its own: tables are then never cut
stderr = Console(stderr=True, width=None if sys.stderr.isatty() else WIDE)


class MeasurementError(Exception):
    """What was measured failed: a process died, or a loss is not finite."""


def make_app(failure: str = "") -> typer.Typer:
    """A command line; ``failure`` is what exit code 1 means, if it can end so."""
    one = f"1 {failure}, " if failure else ""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog=f"Exit codes: 0 measured, {one}2 wrong usage or input, 130 Ctrl-C.",
    )


def say(line: str) -> None:
    """To standard error."""
    print(line, file=sys.stderr, flush=True)


def say_written(paths: Sequence[Path]) -> None:
    """Where results of a measurement are."""
    say(f"written: {', '.join(map(str, paths))}")


def run(app: typer.Typer) -> NoReturn:
    """Run a command line; what the user can mend ends in one message and exit code 2, a failed measurement in 1."""
    try:
        app()
    except InputError as error:
        say(f"error: {error}")
        sys.exit(BAD_INPUT)
    except MeasurementError as error:
        say(f"error: {error}")
        sys.exit(FAILED)
    sys.exit(0)
