"""``run_ablations.py tune``: strengths for a corpus of one's own, or for a scale of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.console import complain, stderr, stdout, tell
from ablations.cli.options import ConfigurationOptions, DeviceOption, ProfileOption, QuietOption, how, what, where
from ablations.cli.run import BY_SIGNAL, INTERRUPTED, PAUSED, SOME_FAILED
from ablations.terminal import say


@dataclass(frozen=True)
class TunedOptions(ConfigurationOptions):
    """What is tuned, by default at the scale at which one tunes."""

    profile: ProfileOption = "small"


def tune(
    *,
    chosen: TunedOptions,
    dataset: Annotated[str, what("--dataset", help="python-docs, ptb, wikitext-2, or a folder of your own.")],
    search: Annotated[
        str, what("--search", help="What may change, and where to begin: a name (see `list`) or a .yaml file.")
    ] = "strengths",
    trials: Annotated[
        int | None, how("--trials", min=1, help="How many trials there are in the end. Default: the search's.")
    ] = None,
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
    the extra `tune`. What had ended is never tried twice: the same command goes on.

    **Examples**

    * `tune --dataset ptb --trials 40 --time-limit 90m`
    * `tune --dataset my/folder --profile my.yaml --search my-search.yaml`
    * `tune --dataset wikitext-2 --start-from results/tuning/small-ptb`
    """
    import joblib

    from ablations.cli.durations import parse_duration
    from ablations.execution.backends.backend import WorkerDiedError
    from ablations.experiment.selection import dataset_name
    from ablations.tuning.search import load_search
    from ablations.tuning.tune import TuneOptions
    from ablations.tuning.tune import tune as run
    from awd.device import resolve_device
    from awd.paths import short_name

    the_search = load_search(search)
    selection = chosen.selection(device, datasets=[dataset]).only_baseline().resolved()
    (spec,) = selection.plan(selection.loaded_corpora(tell), [the_search.training_seed])
    options = TuneOptions(
        folder=study or Path("results") / "tuning" / short_name(f"{selection.profile.name}-{dataset_name(dataset)}"),
        trials=trials or the_search.trials,
        jobs=jobs or joblib.cpu_count(),
        device=resolve_device(device),
        data_dir=chosen.data_dir,
        time_limit=None if time_limit is None else parse_duration(time_limit, "--time-limit"),
        start_from=start_from,
    )
    try:
        stopped = run(spec, the_search, options, stderr)
    except WorkerDiedError as error:
        complain(f"error: a worker died ({error}); the same command goes on")
        raise typer.Exit(SOME_FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    found = _show(options.folder)
    if stopped or not found:
        raise typer.Exit(BY_SIGNAL.get(stopped, PAUSED) if stopped else SOME_FAILED)


def _show(folder: Path) -> bool:
    from ablations.tuning.study import BEST

    path = folder / BEST
    found = path.is_file()
    if found:
        say(stdout, path.read_text(encoding="utf-8").rstrip())
    tell(f"every trial: {folder}" if found else f"no trial has finished; what was tried: {folder}")
    return found
