"""Where the command line writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from rich.console import Console

from ablations.terminal import say

_WIDE, _WIDEST = 200, 10_000


def _width(stream: TextIO | None) -> int | None:
    """Of a file or a pipe, which has none of its own: as ``COLUMNS`` asks for, or wide. ``None`` is the terminal's."""
    if stream is not None and stream.isatty():
        return None
    asked = os.environ.get("COLUMNS", "")
    return int(asked) if asked.isdecimal() and 0 < int(asked) < _WIDEST else _WIDE


stdout = Console(width=_width(sys.stdout))
stderr = Console(width=_width(sys.stderr), stderr=True)


def tell(message: str) -> None:
    """A line for the user, beside the results."""
    say(stderr, message)
