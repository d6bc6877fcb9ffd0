"""What the commands do once their options are read: call the API, say what came of it, and end with the code for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ablations.cli.console import complain, stderr, stdout, tell
from ablations.storage.status import Status

if TYPE_CHECKING:
    from ablations.analysis.comparison import Comparison, Ladder
    from ablations.execution.job import RunOptions
    from ablations.experiment.selection import Selection

DONE, SOME_FAILED, BAD_INPUT, PAUSED, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143
BY_SIGNAL = {"Ctrl-C": INTERRUPTED, "SIGTERM": TERMINATED}  # by the reason that an invocation gives


def run_and_report(
    selection: Selection, options: RunOptions, results: Path, reports: Path | None, reference: Path, *, opened: bool
) -> Comparison | None:
    """Train what is missing, then render and print the report of what is done, unless ``reports`` is ``None``.

    Args:
        opened: open the page in a browser.

    Returns:
        What was reported, if anything was.

    Raises:
        typer.Exit: not all is done; with the code that says why.
    """
    from ablations import api

    try:
        outcome = api.train(selection, options, results, stderr)
    except KeyboardInterrupt:
        complain("interrupted: what had finished or was saved is kept, and the same command goes on with the rest")
        raise typer.Exit(INTERRUPTED) from None
    if outcome.stopped in BY_SIGNAL:
        complain(
            f"{outcome.stopped}: what had finished is kept, what was running is saved, and the same command goes on"
        )
        raise typer.Exit(BY_SIGNAL[outcome.stopped])
    data = None
    if reports is not None:
        data = api.compare(selection, results, reference=reference)
        if (data.runs["status"] == Status.DONE).any():  # another seed's, maybe
            folder = write(data, reports)
            show(data)
            say_where(folder / "index.html", opened=opened)
    if outcome.statuses <= {Status.DONE}:
        return data
    if outcome.stopped or outcome.statuses <= {Status.DONE, Status.PAUSED}:
        complain("paused: some runs are not done; the same command goes on")
        raise typer.Exit(PAUSED)
    complain("error: some runs are not done; --retry-failed trains failed ones again")
    raise typer.Exit(SOME_FAILED)


def write(data: Comparison | Ladder, reports: Path) -> Path:
    """Write a report and say where it is; returns its folder."""
    from ablations import api

    folder = api.report(data, reports)
    tell(f"report: {folder}")
    return folder


def say_where(page: Path, *, opened: bool) -> None:
    """Say where the page is, and open it in a browser if that was asked for."""
    tell(f"page: {page}")
    if opened:
        import webbrowser

        if not webbrowser.open(page.resolve().as_uri()):
            complain("no browser could be opened here: open the page by hand")


def show(data: Comparison) -> None:
    """Print a report's table."""
    from ablations.analysis.comparison import require_finished
    from ablations.reporting.render import terminal_table

    require_finished(data)
    stdout.print(terminal_table(data))
