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
from ablations.tuning.search import Search, Value, nested, of_variant
from ablations.tuning.study import best_settings, open_study
from ablations.tuning.tune import TuneOptions, tune
from awd.config import merged
from awd.errors import InputError
from awd.files import write_text

RETUNED = "retuned.yaml"


def tune_row(
    selection: Selection, corpus: Corpus, variant: str, search: Search, options: TuneOptions, console: Console
) -> str | None:
    """Tune one variant; what it changes itself, such as a dropout that it removes, is left out of the search, unless
    the search says that it is tuned, too.

    Returns:
        Why it stopped early, if it did.

    Raises:
        InputError: there is no such variant, it leaves nothing to tune, or as :func:`ablations.tuning.tune.tune`.
    """
    overrides = selection.suite.variant(variant).overrides
    (spec,) = selection.only(variant).plan([corpus], [search.training_seed])
    return tune(spec, of_variant(search, spec.config, overrides, variant), options, console)


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
    variants = [_retuned(row, _best(folder / row.name, search)) for row in _rows(selection)]
    content = {
        "name": f"{suite.name}-retuned",
        "title": f"{suite.title}; each row tuned on its own ({search.name})",
        **({"kind": suite.kind} if suite.kind == "choices" else {}),
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


def _retuned(row: Variant, best: dict[str, Value]) -> dict[str, Any]:
    """A row at its best settings; where they replace what it set itself its label, which may tell that, says so."""
    own = dict(leaves(row.overrides))
    replaced = [f"{field.partition('.')[2].replace('_', ' ')} {best[field]:.3g}" for field in best if field in own]
    label = f"{row.label} → {', '.join(replaced)}" if replaced else row.label
    return {"name": row.name, "label": label, "overrides": merged(row.overrides, nested(best))}


def _best(folder: Path, search: Search) -> dict[str, Value]:
    best = best_settings(open_study(folder, search))
    if best is None:
        raise InputError(f"{folder}: no trial has finished; give more --trials")
    return best.settings
