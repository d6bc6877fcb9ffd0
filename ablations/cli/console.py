"""Where the command line writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import sys

from rich.console import Console

# a file or a pipe has no width of its own: tables are then never cut
_WIDE = 200
stdout = Console(width=None if sys.stdout.isatty() else _WIDE)
stderr = Console(width=None if sys.stderr.isatty() else _WIDE, stderr=True)


def say(message: str) -> None:
    """A line for the user, as it is."""
    stderr.print(message, markup=False, highlight=False)
