"""From when on a part pays: change in log-perplexity to the full model while training, a small panel a variant."""

from __future__ import annotations

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ablations.analysis.comparison import Comparison
from ablations.analysis.training_curves import best_so_far_differences, mean_differences, phase_starts
from ablations.reporting.figures.curves import with_steps
from ablations.reporting.figures.panels import (
    Block,
    figure_of_blocks,
    mark_averaging,
    mark_finetuning,
    marks_key,
    say,
    say_why_empty,
    variants_shown,
)
from ablations.reporting.figures.style import FAINT, INK, OURS, wrapped
from ablations.reporting.formats import number
from ablations.storage.status import Status

_LATER = 1 / 3  # of training, from where on the vertical axis must hold everything
_MOST_PLACES = 200  # of a curve: more cannot be told apart, and cost bytes in a page
_THIN, _THICK = 0.8, 1.8
_BAND, _ZONE = 0.22, 0.45  # opacities


def draw_training(data: Comparison) -> Figure | None:
    """One block per data set, all panels with one vertical axis; by tokens trained on, the mean over seeds of the row's
    best-so-far validation log-perplexity minus the full model's of the same seed, with its 95% t interval; thick where
    that leaves out 0.

    In the grey half the full model is better: what the row lacks pays. After a run has ended its best stays as it is,
    up to the end of the longest. Ticks on the axis mark where averaging of the row started, one per seed; a dotted line
    where its fine-tuning did.

    Returns:
        ``None`` where no pair of finished runs has epochs; a data set without one has no block.
    """
    epochs = with_steps(data)
    epochs = epochs[epochs["status"].eq(Status.DONE)]
    means = mean_differences(_thinned(best_so_far_differences(epochs, data.suite.baseline)))
    paired = set(means["dataset"])
    shown = {name: variants_shown(data, name) for name in data.datasets if name in paired}
    if not shown:
        return None
    starts = phase_starts(epochs)
    figure, blocks = figure_of_blocks(data, shown, _key(data, bool(means["low"].notna().any())))
    unit, noun = (1e6, "million tokens") if means["tokens"].max() >= 1e6 else (1e3, "thousand tokens")
    for dataset, block in blocks.items():
        of_dataset = means[means["dataset"].eq(dataset)]
        _fill(block, data, of_dataset, starts[starts["dataset"].eq(dataset)], dataset, unit)
        block.part.supxlabel(f"{noun} trained on")
        block.part.supylabel("100 × change in log-perplexity")
    low, high = _limits(means)
    for panel in (panel for block in blocks.values() for panel in block.panels.values()):
        panel.axhspan(0, high, color=FAINT, alpha=_ZONE, linewidth=0, zorder=0)
        panel.set_ylim(low, high)
    return figure


def _thinned(differences: pd.DataFrame) -> pd.DataFrame:
    """As many places of each curve as can be told apart, the last among them."""
    curves = differences.groupby(["dataset", "variant", "seed"], sort=False)
    place, places = curves.cumcount(ascending=False), curves["tokens"].transform("size")
    return differences[place % (places // _MOST_PLACES + 1) == 0]


def _fill(block: Block, data: Comparison, means: pd.DataFrame, starts: pd.DataFrame, dataset: str, unit: float) -> None:
    for variant, panel in block.panels.items():
        runs = data.runs_on(dataset, variant)
        of_variant = means[means["variant"].eq(variant)]
        panel.axhline(0, color=INK, linewidth=0.7, zorder=1)
        if len(of_variant):
            _curve(panel, of_variant, unit)
            _marks(panel, starts[starts["variant"].eq(variant)], unit)
        elif runs["status"].eq(Status.DONE).any():
            say(panel, "no pair")
        else:
            say_why_empty(panel, runs)
        panel.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.yaxis.set_major_formatter(lambda value, _: number(value, 0, signed=True) if value else "0")
        panel.xaxis.set_major_locator(MaxNLocator(4))
        panel.set_xlim(0, 1.02 * means["tokens"].max() / unit)


def _curve(axes: Axes, means: pd.DataFrame, unit: float) -> None:
    tokens, mean, low, high = means["tokens"] / unit, *(100 * means[name] for name in ("mean", "low", "high"))
    axes.fill_between(tokens, low, high, color=OURS, alpha=_BAND, linewidth=0, label="interval")
    axes.plot(tokens, mean, color=OURS, linewidth=_THIN, label="mean")
    axes.plot(tokens, mean.where(low.gt(0) | high.lt(0)), color=OURS, linewidth=_THICK, label="not 0")


def _marks(axes: Axes, starts: pd.DataFrame, unit: float) -> None:
    finetuning = starts["finetuning"].dropna()
    if len(finetuning):
        mark_finetuning(axes, finetuning.mean() / unit)
    mark_averaging(axes, list(starts["averaging"].dropna() / unit))


def _limits(means: pd.DataFrame) -> tuple[float, float]:
    """Let the later means decide the axis: early ones, and intervals of two seeds, can be many times as wide."""
    longest = means.groupby("dataset")["tokens"].transform("max")
    later = 100 * means.loc[means["tokens"].ge(_LATER * longest), ["mean", "low", "high"]]
    low, high = min(later["mean"].min(), -1.0), max(later["mean"].max(), 1.0)
    room, edge = 0.3 * (high - low), 0.04 * (high - low)
    if later["low"].isna().all():
        return low - edge, high + edge
    # 0 stays in sight whatever the intervals
    bottom, top = max(later["low"].min(), low - room), min(later["high"].max(), high + room)
    return min(low, bottom) - edge, max(high, top) + edge


def _key(data: Comparison, intervals: bool) -> list[Artist]:
    mean = Line2D([], [], color=OURS, linewidth=_THIN, label="mean over seeds" if intervals else "one seed")
    of_interval: list[Artist] = [
        Line2D([], [], color=OURS, linewidth=_THICK, label="… its interval leaves out 0"),
        Patch(color=OURS, alpha=_BAND, linewidth=0, label="95% interval"),
    ]
    zone = Patch(color=FAINT, alpha=_ZONE, linewidth=0, label=wrapped(f"in grey, {data.baseline} is better", 28))
    return [mean, *(of_interval if intervals else []), zone, *marks_key()]
