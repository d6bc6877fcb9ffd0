"""Where the command line writes: results to standard output, everything else to standard error."""

from __future__ import annotations

import errno
import io
import json
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from ablations.terminal import say

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_WIDE, _WIDEST = 200, 10_000
# nobody reads it any more, or nobody ever did: no news to whoever closed it
_CLOSED = (errno.EPIPE, errno.EBADF, errno.EIO)


def _width(stream: TextIO | None) -> int | None:
    """The width of a file or a pipe: what ``COLUMNS`` says, or wide. ``None`` leaves a terminal's to be found."""
    if stream is not None and stream.isatty():
        return None
    asked = os.environ.get("COLUMNS", "")
    return int(asked) if asked.isdecimal() and 0 < int(asked) < _WIDEST else _WIDE


stdout = Console(width=_width(sys.stdout))
stderr = Console(width=_width(sys.stderr), stderr=True)


def tell(message: str) -> None:
    """A line for the user, beside the results."""
    say(stderr, message)


def complain(message: str) -> None:
    """The same where it went wrong: said with ``--quiet``, too."""
    stderr.quiet = False
    tell(message)


def hush(wanted: bool) -> bool:
    """From now on, complain only."""
    if wanted:
        stdout.quiet = stderr.quiet = True
    return wanted


def say_json(value: object) -> None:
    """Results for programs; a number that is not finite is ``null``."""
    finite = json.loads(json.dumps(value), parse_constant=lambda _: None)
    say(stdout, json.dumps(finite, indent=2))


class _Lossy(io.FileIO):
    """Standard output or error: what cannot be written there is lost, and the work goes on."""

    _lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            while (written := super().write(data)) is None:  # whoever opened it wants no waiting, but we can wait
                select.select([], [self], [])
            return written
        except OSError as error:
            if not self._lost and self.fileno() == 1 and error.errno not in _CLOSED:
                self._lost = True
                tell(f"standard output cannot be written ({error.strerror}): what it should say is lost")
            return memoryview(data).nbytes


def open_streams() -> None:
    """Make standard output and error such that closed or full ones end nothing.

    What is closed becomes the null device: else the next file to be opened, a result maybe, would take its number and
    be written to by whatever writes to that number, workers included.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    sys.stdout, sys.stderr = _lossy(sys.stdout, 1), _lossy(sys.stderr, 2)


def _lossy(stream: TextIO | None, number: int) -> TextIO:
    if stream is not None and _number(stream) != number:
        return stream  # a test's, or whoever else calls main
    # a terminal or pipe that cannot write Δ gets a question mark
    encoding = "utf-8" if stream is None else stream.encoding
    raw = io.BufferedWriter(_Lossy(number, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding, errors="replace", line_buffering=number == 2 or raw.isatty())


def _number(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None
