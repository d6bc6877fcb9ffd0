"""Live progress in the terminal: a bar for each running run and one for the whole; plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import TaskID

from ablations.execution.job import Summary
from ablations.experiment.plan import RunSpec
from ablations.storage.progress import Progress, ProgressFolder
from ablations.terminal import bars, clock, say, text_column
from awd.messages import number_text

_POLL_SECONDS = 0.5
_PLAIN_LINE_SECONDS = 60.0  # how often a log says where the running runs are


def last_line(text: str | None) -> str:
    """Where a trace says what went wrong; empty if nothing is known."""
    return "".join((text or "").splitlines()[-1:])


class Display:
    """Follows the progress files of the given runs while the block lasts.

    Args:
        console: where to draw; bars only if it is a terminal.
        specs: the runs that will be trained.
        progress: where they say how far they are.
    """

    def __init__(self, console: Console, specs: Sequence[RunSpec], progress: ProgressFolder) -> None:
        self.console, self.specs, self.progress = console, specs, progress
        self.finished: set[str] = set()
        self.bars = bars(console, text_column("detail"))
        self.tasks: dict[str, TaskID] = {}
        self.whole = self.bars.add_task("all runs", total=len(specs), detail="")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Display:
        self.bars.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.bars.stop()

    def run_ended(self, spec: RunSpec, summary: Summary) -> None:
        """Say how a run ended."""
        with self._lock:
            self.finished.add(spec.run_id)
            if spec.run_id in self.tasks:
                self.bars.remove_task(self.tasks.pop(spec.run_id))
            self.bars.advance(self.whole)
            count = f"[{len(self.finished)}/{len(self.specs)}]"
        if summary.valid_ppl is not None and summary.test_ppl is not None:
            outcome = f"valid {number_text(summary.valid_ppl)}  test {number_text(summary.test_ppl)}"
        else:
            outcome = f"{summary.status}: {last_line(summary.error)}"
        by_another = ", by another caller" if summary.by_another else ""
        for warning in summary.warnings:
            self.say(f"{spec.title}: {warning}")
        self.say(f"{count} {spec.title}: {outcome}  ({clock(summary.seconds)}{by_another})")

    def say(self, line: str) -> None:
        """A line above the bars, or a plain one."""
        say(self.bars.console, line)

    def _follow(self) -> None:
        started = last_line = time.monotonic()
        while not self._stop.wait(_POLL_SECONDS):
            plain = not self.console.is_terminal and time.monotonic() - last_line > _PLAIN_LINE_SECONDS
            running = [(spec, now) for spec in self.specs if (now := self.progress.read(spec.run_id))]
            for spec, now in running:
                self._show(spec, now, plain)
            done = len(self.finished) + sum(now.done / now.epochs for _, now in running)
            share, elapsed = min(1.0, done / max(1, len(self.specs))), time.monotonic() - started
            self.bars.update(self.whole, detail=f"{clock(elapsed / share - elapsed)} left" if share else "")
            if plain:
                last_line = time.monotonic()

    def _show(self, spec: RunSpec, now: Progress, plain: bool) -> None:
        ppl = f"valid {number_text(now.valid_ppl, 1)}" if now.valid_ppl is not None else "starting"
        detail = f"{now.phase}, {ppl}, {clock(now.seconds_left)} left"
        with self._lock:
            if spec.run_id in self.finished:
                return
            if spec.run_id not in self.tasks:
                self.tasks[spec.run_id] = self.bars.add_task(spec.title, total=now.epochs, detail=detail)
            self.bars.update(self.tasks[spec.run_id], completed=now.done, detail=detail)
        if plain:
            self.say(f"      {spec.title}: epoch {now.epoch}/{now.epochs}, {detail}")
