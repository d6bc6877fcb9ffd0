"""Each run against the full model's run of the same seed: a small panel a variant."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from ablations.analysis.comparison import Comparison
from ablations.reporting.figures.differences import in_order
from ablations.reporting.figures.panels import grid, panel_rows, stack
from ablations.reporting.figures.style import GREY, INK, OURS, Telling, fitted, heading, new_figure

_ROW, _HEADING = 1.2, 0.35  # inches


def draw_pairs(data: Comparison) -> Figure | None:
    """One block per data set; one point per seed, labelled with it: validation perplexity of the full model to the
    right, of the variant upwards. Above the line the variant is worse; points along it are seeds that go together.

    Returns:
        ``None`` where no variant has two pairs.
    """
    blocks = {}
    for dataset in data.datasets:
        rows = in_order(data, dataset)
        rows = rows[rows["pairs"].ge(2)]
        if len(rows):
            blocks[dataset] = rows
    if not blocks:
        return None
    heights = [panel_rows(rows) * _ROW + _HEADING for rows in blocks.values()]
    figure = new_figure(sum(heights))
    parts = stack(figure, heights, [f"{heading(data, dataset, 44)}: each seed" for dataset in blocks])
    for part, (dataset, rows) in zip(parts, blocks.items(), strict=True):
        of_dataset = data.pairs[data.pairs["dataset"].eq(dataset)]
        for panel, variant in zip(grid(part, list(rows["label"]), sharey=False), rows["variant"], strict=True):
            _panel(panel, of_dataset[of_dataset["variant"].eq(variant)])
        part.supxlabel(fitted(f"validation perplexity of {data.baseline}", 62))
        part.supylabel("of the variant")
    return figure


def _panel(axes: Axes, pairs: pd.DataFrame) -> None:
    full, variant = pairs["valid_log_of_baseline"], pairs["valid_log"]
    # one scale for both: seeds that go together lie along the line
    half = 0.62 * max(full.max() - full.min(), variant.max() - variant.min(), 1e-3)
    for low, high, limit in ((full.min(), full.max(), axes.set_xlim), (variant.min(), variant.max(), axes.set_ylim)):
        limit((low + high) / 2 - half, (low + high) / 2 + half)
    shift = (variant - full).mean()
    axes.axline((full.mean(), full.mean()), slope=1, color=GREY, linewidth=0.8, label="equal")
    axes.axline((full.mean(), full.mean() + shift), slope=1, color=OURS, linewidth=0.5, linestyle=(0, (3, 2)))
    axes.plot(full, variant, "o", color=OURS, markersize=3, markeredgewidth=0, alpha=0.8, label="seeds")
    for x, y, seed in zip(full, variant, pairs["seed"], strict=True):
        axes.annotate(str(seed), (x, y), xytext=(3, 2), textcoords="offset points", fontsize=6.5, color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(Telling(1, math.exp))
