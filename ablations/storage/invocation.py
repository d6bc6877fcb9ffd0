"""Asking runs to stop, wherever they run: each invocation has a file in the results folder, and its end is the sign.

Deleting works on a full disk, reaches other machines, and can be done by hand.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

from ablations.storage.provenance import boot_and_namespace, host_name
from ablations.storage.store import StoreError, explained
from awd.files import write_text

_NAME = re.compile(r"(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{12}")
SIGNALS = {signal.SIGINT: "Ctrl-C"} | ({signal.SIGTERM: "SIGTERM"} if hasattr(signal, "SIGTERM") else {})


class Invocation:
    """One call of the runner, as its workers see it: it goes on for as long as its file is there.

    Args:
        results: the results folder.
        say: told when it is asked to stop.

    Attributes:
        path: the file.
        reason: why it was asked to stop; ``None`` while it was not.
    """

    def __init__(self, results: Path, say: Callable[[str], None]) -> None:
        self.folder, self._say = results / "invocations", say
        self.path = self.folder / f"{host_name()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.reason: str | None = None

    def stop(self, reason: str) -> None:
        """Ask every run to save itself and stop; only the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self.path.unlink(missing_ok=True)
            self._tell(f"{reason}: the runs save themselves and stop; they go on when called again")

    @property
    def stopped(self) -> bool:
        """Whether it was asked to, be it by deleting the file."""
        if self.reason is None and not self.path.exists():
            self.reason = f"{self.path} was deleted"
        return self.reason is not None

    @contextmanager
    def running(self, time_limit: float | None) -> Iterator[None]:
        """Be there, and listen to signals: the first asks to stop, the second raises KeyboardInterrupt at once.

        Args:
            time_limit: seconds after which to stop; ``None`` never does.

        Raises:
            StoreError: the file cannot be written.
        """
        self._remove_those_of_the_dead()
        with explained(f"{self.path}: cannot be written", StoreError):
            write_text(self.path, _content())
        timer = threading.Timer(time_limit or 0, self.stop, [f"time limit of {time_limit:g} s"] if time_limit else [])
        timer.daemon = True
        if time_limit is not None:
            timer.start()
        try:
            with _handled(self._on_signal):
                yield
        finally:
            timer.cancel()
            self.path.unlink(missing_ok=True)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.reason in SIGNALS.values():
            raise KeyboardInterrupt
        already, self.reason = self.reason, None
        self.stop(SIGNALS[signal.Signals(number)])
        if already is None:
            self._tell("once more stops at once, and loses what was not saved")

    def _tell(self, line: str) -> None:
        # a signal in the middle of a line: Python refuses a second one, which is no reason to fail
        with suppress(RuntimeError):
            self._say(line)

    def _remove_those_of_the_dead(self) -> None:
        for path in self.folder.glob("*"):
            match = _NAME.fullmatch(path.name)
            if match and match["host"] == host_name() and not psutil.pid_exists(int(match["pid"])):
                with suppress(OSError):  # it may be another user's
                    if path.read_text(encoding="utf-8") == _content():
                        path.unlink(missing_ok=True)


def _content() -> str:
    """What each file of this machine says; ends with what process numbers are unique in."""
    space = boot_and_namespace()
    return "delete this file to stop the runs of this invocation\n" + (f"{' '.join(space)}\n" if space else "")


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows handlers there only
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            with suppress(TypeError):  # None: it was not set from Python
                signal.signal(number, earlier)
