"""What a report shows of each kind of suite: figures, the order of the rows, and tables of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from ablations.analysis.comparison import Comparison
from ablations.analysis.contrasts import Contrast, curve_points, difference, interaction, log_perplexities
from ablations.analysis.statistics import SPLITS
from ablations.experiment.kinds import Buildup, Pairs, Sweep
from ablations.reporting.formats import percent, with_interval
from awd.messages import one_line

_CHANGE = "100 Δ log"


def rows_in_order(data: Comparison, dataset: str) -> pd.DataFrame:
    """The rows of one data set's table."""
    return _KINDS[data.suite.kind].in_order(data.rows(dataset))


def figures_of(data: Comparison) -> tuple[str, ...]:
    """Names of the figures, what tells most first."""
    return _KINDS[data.suite.kind].figures


def more_tables(data: Comparison, dataset: str) -> dict[str, pd.DataFrame]:
    """The tables that only this kind of suite has, as text, by their headings."""
    return _KINDS[data.suite.kind].more(data, dataset)


def _buildup_table(data: Comparison, dataset: str) -> dict[str, pd.DataFrame]:
    assert isinstance(data.suite.layout, Buildup)
    logs, before, rows = _logs(data, dataset), data.suite.baseline, []
    for step in data.suite.layout.steps:
        row = {"part": one_line(step.label)}
        for split in SPLITS:
            row[f"{_CHANGE} {split}, on those above"] = _text(
                difference(logs[split], step.cumulative, before, data.interval)
            )
        for split in SPLITS:
            row[f"{split}, alone"] = _text(difference(logs[split], step.alone, data.suite.baseline, data.interval))
        rows.append(row)
        before = step.cumulative
    return {"What each part adds to those above it, and to nothing at all (below 0 it helps)": pd.DataFrame(rows)}


def _pairs_table(data: Comparison, dataset: str) -> dict[str, pd.DataFrame]:
    assert isinstance(data.suite.layout, Pairs)
    logs, rows = _logs(data, dataset), []
    for (one, other), both in data.suite.layout.both.items():
        found = [interaction(logs[split], both, one, other, data.suite.baseline, data.interval) for split in SPLITS]
        row = {"pair": data.label(both), "n": str(found[0].pairs)}
        rows.append(row | {f"{_CHANGE} {split}": _text(cell) for split, cell in zip(SPLITS, found, strict=True)})
    return {
        "Interactions: the effect of both minus the sum of each (above 0 they do some of the same job)": pd.DataFrame(
            rows
        )
    }


def _sweep_table(data: Comparison, dataset: str) -> dict[str, pd.DataFrame]:
    assert isinstance(data.suite.layout, Sweep)
    logs, rows = _logs(data, dataset), []
    for curve in data.suite.layout.curves:
        if curve.row == data.suite.baseline:
            continue
        found = [curve_points(data, dataset, logs[split], curve) for split in SPLITS]
        for points in zip(*found, strict=True):
            own = " (the profile's)" if points[0].own else ""
            row = {
                "row": data.label(curve.row),
                curve.field: f"{points[0].value}{own}",
                "n": str(points[0].contrast.pairs),
            }
            texts = [_text(point.contrast) for point in points]
            rows.append(row | {f"{_CHANGE} {split}": text for split, text in zip(SPLITS, texts, strict=True)})
    return {f"Differences to {data.baseline} at the same value": pd.DataFrame(rows).fillna("")} if rows else {}


def _logs(data: Comparison, dataset: str) -> dict[str, pd.DataFrame]:
    return {split: log_perplexities(data, dataset, split) for split in SPLITS}


def _text(found: Contrast) -> str:
    return with_interval(percent, found.mean, found.low, found.high)


def _best_first(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values("valid_mean", kind="stable", na_position="last")


@dataclass(frozen=True)
class _Kind:
    figures: tuple[str, ...]
    in_order: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows
    more: Callable[[Comparison, str], dict[str, pd.DataFrame]] = lambda data, dataset: {}


_KINDS = {
    "removal": _Kind(("differences", "curves", "training", "ranks", "pairs")),
    "choices": _Kind(("differences", "curves", "training"), in_order=_best_first),
    "buildup": _Kind(("staircase",), more=_buildup_table),
    "pairs": _Kind(("interactions",), more=_pairs_table),
    "sweep": _Kind(("responses",), more=_sweep_table),
}
ALL_FIGURES = tuple(dict.fromkeys(name for kind in _KINDS.values() for name in kind.figures))
