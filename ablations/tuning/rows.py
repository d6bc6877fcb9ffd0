"""Equal chances: each row of a suite tuned with the same budget, and a suite of the rows at strengths of their own."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from ablations.experiment.plan import Corpus
from ablations.experiment.selection import Selection
from ablations.experiment.variant import Variant, leaves
from ablations.storage.store import explained
from ablations.terminal import say
from ablations.tuning.search import Search, nested, without
from ablations.tuning.study import best_settings, open_study
from ablations.tuning.tune import TuneOptions, tune
from awd.config import merged
from awd.errors import InputError
from awd.files import write_text

RETUNED = "retuned.yaml"


def tune_row(
    selection: Selection, corpus: Corpus, variant: str, search: Search, options: TuneOptions, console: Console
) -> str | None:
    """Tune one variant; what it changes itself, such as a dropout that it removes, is left out of the search.

    Returns:
        Why it stopped early, if it did.

    Raises:
        InputError: there is no such variant, it leaves nothing to tune, or as :func:`ablations.tuning.tune.tune`.
    """
    overrides = selection.suite.variant(variant).overrides
    own_search = without(search, dict(leaves(overrides)), f"variant {variant}")
    (spec,) = selection.only(variant).plan([corpus], [search.training_seed])
    return tune(spec, own_search, options, console)


def tune_rows(
    selection: Selection, corpus: Corpus, search: Search, options: TuneOptions, console: Console
) -> str | None:
    """Tune every variant of a selection, each with as many trials, in a folder of its own under the options' folder.

    Args:
        options: its time limit is that of all rows together.

    Returns:
        Why it stopped early, if it did; the same call goes on.

    Raises:
        InputError: as :func:`tune_row`.
    """
    started = time.monotonic()
    for variant in _rows(selection):
        say(console, f"tuning {variant.name}")
        left = time_left(options.time_limit, started)
        of_row = replace(options, folder=options.folder / variant.name, time_limit=left)
        if stopped := tune_row(selection, corpus, variant.name, search, of_row, console):
            return stopped
    return None


def time_left(limit: float | None, started: float) -> float | None:
    """Seconds that remain of a limit since ``started``, by the monotonic clock.

    At least one, in which what is all done ends as done; ``None`` where there is no limit.
    """
    return None if limit is None else max(1.0, limit - (time.monotonic() - started))


def write_retuned(selection: Selection, search: Search, folder: Path) -> Path:
    """Write ``retuned.yaml``: the suite with each row at the best settings of its own study.

    Raises:
        InputError: no trial of a row has finished, or the file cannot be written.
    """
    suite = selection.suite
    variants = [
        {"name": row.name, "label": row.label, "overrides": merged(_best(folder / row.name, search), row.overrides)}
        for row in _rows(selection)
    ]
    content = {
        "name": f"{suite.name}-retuned",
        "title": f"{suite.title}, each row at strengths of its own",
        "baseline": suite.baseline,
        "variants": variants,
    }
    path = folder / RETUNED
    with explained(f"{path}: cannot be written"):
        write_text(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path


def _rows(selection: Selection) -> list[Variant]:
    """The variants asked for, and the baseline, in the suite's order."""
    suite = selection.suite
    names = selection.variants or [variant.name for variant in suite.variants]
    return [variant for variant in suite.variants if variant.name in (suite.baseline, *names)]


def _best(folder: Path, search: Search) -> dict[str, Any]:
    best = best_settings(open_study(folder, search))
    if best is None:
        raise InputError(f"{folder}: no trial has finished; give more --trials")
    return nested(best.settings)
