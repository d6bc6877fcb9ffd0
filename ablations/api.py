"""The suite from Python and from notebooks. The command line reads its options and calls the same functions."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ablations.analysis.collect import collect
from ablations.analysis.comparison import Comparison, Ladder, require_finished
from ablations.experiment.selection import Selection, select
from ablations.storage import REFERENCE
from ablations.storage.snapshot import Snapshot
from ablations.storage.status import Status
from ablations.storage.store import Store
from ablations.terminal import say
from awd.errors import InputError
from awd.messages import unknown

if TYPE_CHECKING:
    from ablations.execution.job import RunOptions
    from ablations.experiment.plan import RunSpec


Names = str | Sequence[str]
Folder = str | Path
_KNOWN = {  # what the command line takes, too
    "engine": ("auto", "torch", "fast"),
    "precision": ("auto", "fp32", "bf16"),
    "backend": ("loky", "threads", "sequential", "dask"),
    "interval": ("t", "bootstrap"),
}


@dataclass(frozen=True)
class TrainingOutcome:
    """How a call to train ended.

    Attributes:
        statuses: that the runs of the plan have now.
        stopped: why it stopped early, such as ``Ctrl-C``; ``None`` if it did not.
    """

    statuses: set[str]
    stopped: str | None


def run(
    *,
    suite: str = "table5",
    profile: str = "demo",
    datasets: Names = (),
    variants: Names | None = None,
    seeds: int | str | Iterable[int] | None = None,
    settings: Mapping[str, object] | Sequence[str] = (),
    results: Folder = "results",
    jobs: int | None = None,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "auto",
    data_dir: Folder | None = None,
    quiet: bool = False,
    **options: Any,
) -> Comparison:
    """Train what is missing, store it, and return all that is recorded of these runs.

    Finished runs are never trained twice. One that fails stops no other: see the column ``status`` of ``.runs``.

    Args:
        suite: what is compared: a name, or the path of a .yaml file; likewise ``profile``, the scale.
        datasets: names, or paths of folders with train, valid and test files; by default the profile's.
        variants: names; by default all of the suite.
        seeds: 3 is seeds 1 to 3, ``[1, 5]`` or ``"1,5"`` these; by default the profile's.
        settings: fields overridden in every run, such as ``{"model.hidden_size": 600}``.
        results: where runs are stored, and found again.
        jobs: runs at a time; by default as many as cores, or 1 on a GPU.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        engine: ``auto``, ``torch`` or ``fast``; ``precision``: ``auto``, ``fp32`` or ``bf16``.
        data_dir: folder of the published corpora, if you have them.
        quiet: say nothing; else progress goes to standard error: bars in a terminal, lines in a notebook or a log.
        options: other fields of :class:`ablations.execution.job.RunOptions`, such as ``time_limit`` in seconds,
            ``backend``, ``force``, ``retry_failed``, ``audit``, ``tensorboard``.

    Raises:
        InputError: something named does not exist or does not fit; nothing has been trained or written then.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the runs have saved themselves; the same call goes on.

    >>> import ablations
    >>> data = ablations.run(profile="smoke", variants=["full", "no-ar-tar"], settings={"training.epochs": 1})
    >>> data.runs[["variant", "seed", "status"]].to_dict("records")[1]
    {'variant': 'no-ar-tar', 'seed': 1, 'status': 'done'}
    """
    from ablations.execution.gpus import parse_gpus
    from ablations.execution.job import RunOptions
    from awd.device import resolve_device

    _require_known(engine=engine, precision=precision, backend=options.get("backend", "loky"))
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs {jobs!r}: expected 1 or more")
    if options.get("gpus"):
        options["gpus"] = parse_gpus(",".join(map(str, options["gpus"])))
    data_folder = None if data_dir is None else Path(data_dir)
    selection = _selection(
        suite,
        profile,
        datasets,
        variants,
        seeds,
        settings,
        data_dir=data_folder,
        engine=engine,
        precision=precision,
        device=device,
    )
    how = RunOptions(jobs=jobs, device=resolve_device(device), data_dir=data_folder, **options)
    outcome = train(selection.resolved(), how, Path(results), _console(quiet))
    if outcome.stopped in ("Ctrl-C", "SIGTERM"):
        raise KeyboardInterrupt(f"{outcome.stopped}: what was running is saved, and the same call goes on")
    return compare(selection, results, other_seeds=seeds is None)


def load(
    results: Folder = "results",
    *,
    suite: str = "table5",
    profile: str = "demo",
    datasets: Names = (),
    variants: Names | None = None,
    seeds: int | str | Iterable[int] | None = None,
    settings: Mapping[str, object] | Sequence[str] = (),
    interval: str = "t",
    reference: Folder = REFERENCE,
) -> Comparison:
    """What is recorded of a suite at a scale: tidy frames, and all that follows from them.

    ``.runs`` has one row per run, ``.epochs`` one per epoch, ``.differences`` one per data set, variant and split, with
    its 95% interval, ``.frame`` every number of a report.

    Args:
        results: the folder of the results. The others choose runs as in :func:`run`; without ``seeds``, every seed
            that has runs is there.
        interval: which 95% intervals: ``t``, or ``bootstrap`` over seeds.
        reference: results set beside these; by default the published ones.

    Raises:
        InputError: something named does not exist, no run of it is finished, or a file cannot be read.

    >>> import ablations
    >>> data = ablations.load("results/reference", profile="small", datasets="ptb")
    >>> worse = data.differences.query("split == 'valid' and log_low > 0")
    >>> worse[["variant", "pairs", "log_difference"]].round(3).to_dict("records")[0]
    {'variant': 'no-ntasgd', 'pairs': 5, 'log_difference': 0.048}
    """
    _require_known(interval=interval)
    selection = _selection(suite, profile, datasets, variants, seeds, settings)
    data = compare(selection, results, reference=reference, other_seeds=seeds is None, interval=interval)
    require_finished(data)
    return data


def ladder(
    results: Folder = "results",
    *,
    profiles: Names | None = None,
    suite: str = "table5",
    datasets: Names = (),
    interval: str = "t",
    data_dir: Folder | None = None,
) -> Ladder:
    """Each difference at every scale that has runs, beside the paper's own.

    Args:
        profiles: the scales, names or paths of .yaml files; by default every scaled-down one.
        datasets: of the paper; by default both.
        interval: which 95% intervals, ``t`` or ``bootstrap``.
        data_dir: folder of the corpora, if you have them.

    Raises:
        InputError: a name does not exist, or no scale has a finished run.

    >>> import ablations
    >>> scales = ablations.ladder("results/reference", datasets="ptb")
    >>> scales.rungs["profile"].to_list()[:2]
    ['demo', 'small']
    """
    from ablations.analysis.ladder import collect_ladder, ladder_datasets, ladder_profiles, require_rungs
    from ablations.experiment.suite import load_published, load_suite

    _require_known(interval=interval)
    the_suite, rungs = load_suite(suite), ladder_profiles(None if profiles is None else ",".join(_names(profiles)))
    texts, store = ladder_datasets(_names(datasets)), Snapshot(Path(results))
    published = load_published(the_suite, suite)
    folder = None if data_dir is None else Path(data_dir)
    found = collect_ladder(the_suite, published, rungs, texts, store, interval=interval, data_dir=folder)
    require_rungs(found, rungs, texts, store.root)
    return found


def report(data: Comparison | Ladder, reports: Folder = "reports") -> Path:
    """Write tables, figures and the page into a folder of their own, and the index of all reports beside it.

    Returns:
        The folder, such as ``reports/demo``; the page in it is ``index.html``.

    Raises:
        InputError: no run is finished, or the folder cannot be written.

    >>> import ablations
    >>> ablations.report(ablations.load("results/reference", variants=["full", "no-ar-tar"]), "reports").name
    'demo'
    """
    from ablations.reporting.index import write_index

    if isinstance(data, Ladder):
        from ablations.reporting.ladder import ladder_folder, render_ladder

        folder = ladder_folder(data, Path(reports))
        render_ladder(data, folder)
    else:
        from ablations.analysis.ladder import ladder_around
        from ablations.reporting.render import render_report, report_folder

        folder = report_folder(data, Path(reports))
        render_report(data, folder, ladder_around(data, data.store) if data.store else None)
    write_index(Path(reports))
    return folder


def train(selection: Selection, options: RunOptions, results: Path, console: Console) -> TrainingOutcome:
    """Train what is missing of a selection; ``console`` hears of corpora and progress.

    Raises:
        InputError: a corpus cannot be had or used as configured, or the results folder cannot be written.
        KeyboardInterrupt: on a second Ctrl-C.
    """
    from ablations.execution.runner import run_plan
    from ablations.execution.tensorboard import require_tensorboard

    if options.tensorboard:
        require_tensorboard()
    plan = selection.plan(selection.loaded_corpora(lambda line: say(console, line)))
    if not console.quiet:
        _say_how_long(plan, selection, Store(results), options, console)
    outcome = run_plan(plan, Store(results), options, console)
    recorded = Store(results).statuses()
    # a run may have failed now and keep the result it had
    now = {summary.status for summary in outcome.summaries}
    return TrainingOutcome(now | {recorded.get(spec.run_id, Status.MISSING) for spec in plan}, outcome.stopped)


def _say_how_long(
    plan: Sequence[RunSpec], selection: Selection, store: Store, options: RunOptions, console: Console
) -> None:
    from ablations.execution.estimate import about
    from ablations.execution.runner import remaining
    from ablations.execution.sizes import sizes

    left = remaining(plan, store, force=options.force, retry_failed=options.retry_failed)
    told = about(left, sizes(left, selection), options, console)
    if told:
        say(console, f"{told} for {len(left)} runs, {options.at_once} at a time; less where fine-tuning stops early")


def compare(
    selection: Selection,
    results: Folder,
    *,
    reference: Folder = REFERENCE,
    other_seeds: bool = True,
    interval: str = "t",
) -> Comparison:
    """What a results folder has of a selection, each of its files read once, beside the reference runs."""
    store = Snapshot(Path(results))
    return collect(selection, store, Snapshot(Path(reference)), other_seeds=other_seeds, interval=interval)


def _selection(
    suite: str,
    profile: str,
    datasets: Names,
    variants: Names | None,
    seeds: int | str | Iterable[int] | None,
    settings: Mapping[str, object] | Sequence[str],
    **given: Any,
) -> Selection:
    if isinstance(settings, Mapping):
        settings = [
            f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in settings.items()
        ]
    if seeds is not None and not isinstance(seeds, int | str):
        seeds = ",".join(map(str, seeds)) + ","  # one number alone is a count
    return select(
        suite,
        profile,
        datasets=_names(datasets),
        variants=None if variants is None else ",".join(_names(variants)),
        seeds=None if seeds is None else str(seeds),
        assignments=settings,
        **given,
    )


def _require_known(**given: str) -> None:
    for name, value in given.items():
        if value not in _KNOWN[name]:
            raise InputError(unknown(name, value, _KNOWN[name]))


def _names(given: Names) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


def _console(quiet: bool) -> Console:
    # in a notebook nothing can be drawn over: it gets lines, as a log does
    notebook = Console().is_jupyter
    drawing = sys.stderr.isatty() and not notebook
    return Console(stderr=True, quiet=quiet, force_jupyter=False, force_terminal=drawing)
