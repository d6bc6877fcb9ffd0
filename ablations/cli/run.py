"""What the commands do once their options are read. Heavy imports wait until they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ablations.cli.console import complain, stderr, stdout, tell
from ablations.storage.status import Status

if TYPE_CHECKING:
    from ablations.analysis.comparison import Comparison
    from ablations.execution.job import RunOptions
    from ablations.experiment.selection import Selection
    from ablations.storage.snapshot import Snapshot
    from ablations.storage.store import Store

DONE, SOME_FAILED, BAD_INPUT, PAUSED, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143
BY_SIGNAL = {"Ctrl-C": INTERRUPTED, "SIGTERM": TERMINATED}  # by the reason that an invocation gives


def run_and_report(
    selection: Selection, options: RunOptions, results: Path, reports: Path | None, reference: Path
) -> None:
    """Train what is missing, then render and print the report of what is done, unless ``reports`` is ``None``.

    Raises:
        typer.Exit: not all is done; with the code that says why.
    """
    try:
        statuses, stopped = train(selection, options, results)
    except KeyboardInterrupt:
        complain("interrupted: what had finished or was saved is kept, and the same command goes on with the rest")
        raise typer.Exit(INTERRUPTED) from None
    if stopped in BY_SIGNAL:
        complain(f"{stopped}: what had finished is kept, what was running is saved, and the same command goes on")
        raise typer.Exit(BY_SIGNAL[stopped])
    if reports is not None:
        store = read_results(results)
        data = collect_report(selection, store, reference, other_seeds=True)
        if (data.runs["status"] == Status.DONE).any():  # another seed's, maybe
            folder = render(data, store, reports)
            show(data, results)
            tell(f"page: {folder / 'index.html'}")
    if statuses <= {Status.DONE}:
        return
    if stopped or statuses <= {Status.DONE, Status.PAUSED}:
        complain("paused: some runs are not done; the same command goes on")
        raise typer.Exit(PAUSED)
    complain("error: some runs are not done; --retry-failed trains failed ones again")
    raise typer.Exit(SOME_FAILED)


def open_store(results: Path) -> Store:
    """The results in a folder."""
    from ablations.storage.store import Store

    return Store(results)


def train(selection: Selection, options: RunOptions, results: Path) -> tuple[set[str], str | None]:
    """Train what is missing; returns the statuses there are in the end, and why it stopped early, if it did."""
    from ablations.execution.runner import run_plan

    plan = selection.plan(selection.loaded_corpora(tell))
    outcome = run_plan(plan, open_store(results), options, stderr)
    recorded = open_store(results).statuses()
    # a run may have failed now and keep the result it had
    now = {summary.status for summary in outcome.summaries}
    return now | {recorded.get(spec.run_id, Status.MISSING) for spec in plan}, outcome.stopped


def read_results(results: Path) -> Snapshot:
    """The results in a folder, each file of which is read once."""
    from ablations.storage.snapshot import Snapshot

    return Snapshot(results)


def collect_report(
    selection: Selection, store: Store, reference: Path, *, other_seeds: bool, interval: str = "t"
) -> Comparison:
    """What a report of a selection shows; see :func:`ablations.analysis.collect.collect`."""
    from ablations.analysis.collect import collect

    return collect(selection, store, read_results(reference), other_seeds=other_seeds, interval=interval)


def render(data: Comparison, store: Store, reports: Path) -> Path:
    """Write a report's tables, figures and page into its folder, and say where that is; returns the folder.

    Args:
        store: the results, where other profiles' runs make a ladder with these.
    """
    from ablations.analysis.ladder import ladder_around
    from ablations.reporting.render import render_report, report_folder

    folder = report_folder(data, reports)
    render_report(data, folder, store.root, ladder_around(data, store))
    tell(f"report: {folder}")
    return folder


def draw_ladder(
    profiles: str | None,
    suite: str,
    dataset: list[str] | None,
    results: Path,
    reports: Path,
    interval: str,
    data_dir: Path | None,
) -> None:
    """Print the table of several scales, and write it and its figure.

    Raises:
        InputError: a name does not exist, or no rung has a finished run.
    """
    from ablations.analysis.ladder import collect_ladder, ladder_datasets, ladder_profiles, require_rungs
    from ablations.experiment.suite import load_published, load_suite
    from ablations.reporting.ladder import ladder_folder, ladder_terminal, render_ladder

    the_suite, rungs, datasets = load_suite(suite), ladder_profiles(profiles), ladder_datasets(dataset)
    published = load_published(the_suite, suite)
    ladder = collect_ladder(
        the_suite, published, rungs, datasets, read_results(results), interval=interval, data_dir=data_dir
    )
    require_rungs(ladder, rungs, datasets, results)
    stdout.print(ladder_terminal(ladder, stdout.width))
    folder = ladder_folder(ladder, reports)
    render_ladder(ladder, folder)
    tell(f"ladder: {folder}")


def show(data: Comparison, results: Path) -> None:
    """Print a report's table."""
    from ablations.analysis.comparison import require_finished
    from ablations.reporting.render import terminal_table

    require_finished(data, results)
    stdout.print(terminal_table(data))
