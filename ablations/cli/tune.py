"""The commands ``tune`` and ``retune``: strengths for a corpus or a scale of one's own, or for each row of a table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.cli.console import complain, stderr, stdout, tell
from ablations.cli.options import (
    ConfigurationOptions,
    DeviceOption,
    ProfileOption,
    QuietOption,
    ReferenceOption,
    ReportsOption,
    SelectionOptions,
    TrainingOptions,
    how,
    what,
    where,
)
from ablations.cli.run import BY_SIGNAL, INTERRUPTED, PAUSED, SOME_FAILED, run_and_report
from ablations.storage import REFERENCE
from ablations.terminal import say
from awd.errors import InputError
from awd.paths import short_name

if TYPE_CHECKING:
    from ablations.experiment.selection import Selection
    from ablations.tuning.search import Search
    from ablations.tuning.tune import TuneOptions


SearchOption = Annotated[
    str, what("--search", help="What may change, and where to begin: a name (see `list`) or a .yaml file.")
]
TrialsOption = Annotated[
    int | None, how("--trials", min=1, help="How many trials there are in the end. Default: the search's.")
]


@dataclass(frozen=True)
class TunedOptions(ConfigurationOptions):
    """What is tuned, by default at the scale at which one tunes."""

    profile: ProfileOption = "small"


def tune(
    *,
    chosen: TunedOptions,
    dataset: Annotated[str, what("--dataset", help="python-docs, ptb, wikitext-2, or a folder of your own.")],
    variant: Annotated[
        str | None, what("--variant", help="Tune this row of the suite. Default: the full model.")
    ] = None,
    search: SearchOption = "strengths",
    trials: TrialsOption = None,
    time_limit: Annotated[str | None, how("--time-limit", help="Stop after, say, 90m; call again to go on.")] = None,
    study: Annotated[
        Path | None, where("--study", help="The study's folder. Default: results/tuning/PROFILE-DATASET.")
    ] = None,
    start_from: Annotated[
        Path | None, where("--start-from", help="Another study's folder, whose best settings are tried first.")
    ] = None,
    jobs: Annotated[int | None, how("--jobs", "-j", min=1, help="Trials at a time. Default: as many as cores.")] = None,
    device: DeviceOption = "auto",
    quiet: QuietOption = False,
) -> None:
    """Choose dropout strengths, penalties, rate, batch and window of the full model, on validation only.

    Trains the suite's baseline with one setting after the other (Optuna), gives up what lags behind, and writes every
    trial to `trials.csv` and the best settings to `best.yaml` in the study's folder, ready for a profile. Neither
    another variant nor the test split is looked at: the ablations are then run at these settings, untouched. Needs
    the extra `tune`. What had ended is never tried twice: the same command goes on. See also `retune`.

    **Examples**

    * `tune --dataset ptb --trials 40 --time-limit 90m`
    * `tune --dataset my/folder --profile my.yaml --search my-search.yaml`
    * `tune --dataset wikitext-2 --start-from results/tuning/small-ptb`
    """
    from ablations.tuning.rows import tune_row
    from ablations.tuning.search import load_search

    the_search = load_search(search)
    selection = chosen.selection(device, datasets=[dataset]).resolved()
    row = selection.suite.variant(variant or selection.suite.baseline).name
    options = tune_options(selection, the_search, trials, jobs, device, time_limit)
    folder = options.folder if variant is None else options.folder.with_name(f"{options.folder.name}-{row}")
    options = replace(options, folder=study or folder, start_from=start_from)
    with exits():
        (corpus,) = selection.loaded_corpora(tell)
        stopped = tune_row(selection, corpus, row, the_search, options, stderr)
    found = _show(options.folder)
    if stopped or not found:
        raise typer.Exit(BY_SIGNAL.get(stopped, PAUSED) if stopped else SOME_FAILED)


def retune(
    *,
    chosen: SelectionOptions,
    training: TrainingOptions,
    search: SearchOption = "strengths",
    trials: TrialsOption = None,
    reports: ReportsOption = Path("reports"),
    reference: ReferenceOption = REFERENCE,
    quiet: QuietOption = False,
) -> None:
    """Give every row of a suite equal chances: tune each with as many trials, then run each at its own strengths.

    Nothing in Table 5 is retuned: a row may be worse only since the others' strengths do not suit it. This tunes each
    row on validation, its studies in `tuning/` of the results and fields that the row sets itself left out unless the
    search says otherwise, as `rates` does; writes the
    suite of the tuned rows (`retuned.yaml`) there; runs the suite and that one; and writes `retuned.md` and `.csv`
    with both results side by side. One data set at a time. Needs the extra `tune`. The same command goes on.

    **Examples**

    * `retune --profile demo --trials 10`
    * `retune --suite optimizers --search rates --variants nt-asgd,sgd,sgd-halving,asgd-half,adam-0.003`
    """
    from ablations.reporting.render import report_folder
    from ablations.reporting.retuned import render_retuned
    from ablations.tuning.rows import time_left, tune_rows, write_retuned
    from ablations.tuning.search import load_search

    the_search = load_search(search)
    selection = chosen.selection(training.device).resolved()
    if len(selection.datasets) != 1:
        raise InputError("retune: one --dataset at a time, since strengths that suit one may not suit another")
    asked = tune_options(selection, the_search, trials, training.jobs, training.device, training.time_limit)
    asked = replace(asked, folder=chosen.results / "tuning" / f"{asked.folder.name}-{short_name(selection.suite.name)}")
    with exits():
        (corpus,) = selection.loaded_corpora(tell)
        started = time.monotonic()
        stopped = tune_rows(selection, corpus, the_search, asked, stderr)
    if stopped:
        complain(f"{stopped}: what had ended is kept, and the same command goes on")
        raise typer.Exit(BY_SIGNAL.get(stopped, PAUSED))
    suites = [chosen.suite, str(write_retuned(selection, the_search, asked.folder))]
    both = [replace(chosen, suite=suite).selection(training.device).resolved() for suite in suites]
    options = training.run_options(selection.data_dir)
    reported = []
    for one in both:
        of_sweep = replace(options, time_limit=time_left(options.time_limit, started))  # one limit for all of it
        reported.append(run_and_report(one, of_sweep, chosen.results, reports, reference, opened=False))
    before, after = reported
    # reports were asked for, and what is not all done has ended the command
    assert before is not None
    assert after is not None
    folder = report_folder(after, reports)
    stdout.print(render_retuned(before, after, folder, also_set=the_search.also_set))
    tell(f"both side by side: {folder / 'retuned.md'}")


def tune_options(
    selection: Selection, search: Search, trials: int | None, jobs: int | None, device: str, time_limit: str | None
) -> TuneOptions:
    """How to tune, with every word of the command line read; the folder is the usual one."""
    import joblib

    from ablations.cli.durations import parse_duration
    from ablations.experiment.selection import dataset_name
    from ablations.tuning.tune import TuneOptions
    from awd.device import resolve_device

    (dataset,) = selection.datasets
    return TuneOptions(
        folder=Path("results") / "tuning" / short_name(f"{selection.profile.name}-{dataset_name(dataset)}"),
        trials=trials or search.trials,
        jobs=jobs or joblib.cpu_count(),
        device=resolve_device(device),
        data_dir=selection.data_dir,
        time_limit=None if time_limit is None else parse_duration(time_limit, "--time-limit"),
    )


@contextmanager
def exits() -> Iterator[None]:
    """Ends the command with the exit code of what stopped the tuning, and a message."""
    from ablations.execution.backends.backend import WorkerDiedError

    try:
        yield
    except WorkerDiedError as error:
        complain(f"error: a worker died ({error}); the same command goes on")
        raise typer.Exit(SOME_FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _show(folder: Path) -> bool:
    from ablations.tuning.study import BEST

    path = folder / BEST
    found = path.is_file()
    if found:
        say(stdout, path.read_text(encoding="utf-8").rstrip())
    tell(f"every trial: {folder}" if found else f"no trial has finished; what was tried: {folder}")
    return found
