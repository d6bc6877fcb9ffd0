"""A build-up: what the parts give together, one after another, and what each gives alone."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.analysis.comparison import Comparison
from ablations.analysis.contrasts import Contrast, difference, log_perplexities
from ablations.experiment.kinds import Buildup
from ablations.reporting.figures.panels import stack
from ablations.reporting.figures.style import (
    FAINT,
    GREY,
    OURS,
    PAPER,
    fitted,
    heading,
    limits_of,
    mark_cut,
    new_figure,
    only_bottom,
    wrapped,
)

_ROW = 0.3  # inches
_TOGETHER, _ALONE = 0.13, -0.2  # heights within a row


def draw_staircase(data: Comparison) -> Figure | None:
    """One block per data set, one row per part: everything up to it as a step of the stairs, and it alone below; both
    as the change in validation log-perplexity compared with everything off.

    Returns:
        ``None`` where no run can be compared with everything off.
    """
    assert isinstance(data.suite.layout, Buildup)
    steps = data.suite.layout.steps
    blocks = {}
    for dataset in data.datasets:
        logs = log_perplexities(data, dataset)
        stairs = [difference(logs, step.cumulative, data.suite.baseline, data.interval) for step in steps]
        alone = [difference(logs, step.alone, data.suite.baseline, data.interval) for step in steps]
        if any(one.pairs for one in [*stairs, *alone]):
            blocks[dataset] = stairs, alone
    if not blocks:
        return None
    height = (len(steps) + 1) * _ROW + 0.5
    figure = new_figure(len(blocks) * height + 0.5)
    labels = [data.baseline, *(f"+ {step.label}" for step in steps)]
    parts = stack(figure, [height] * len(blocks), [heading(data, dataset) for dataset in blocks])
    for part, (stairs, alone) in zip(parts, blocks.values(), strict=True):
        _panel(part.subplots(), labels, stairs, alone)
    figure.supxlabel(fitted("change in log-perplexity × 100 (about %); left of 0 is better", 62))
    figure.legend(handles=_key(), loc="outside upper left", ncols=1)
    return figure


def _panel(axes: Axes, labels: Sequence[str], stairs: Sequence[Contrast], alone: Sequence[Contrast]) -> None:
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    places = range(len(labels) - 1, -1, -1)
    for place in places:
        axes.axhline(place, color=FAINT, linewidth=0.5, zorder=0)
    every = pd.DataFrame([*stairs, *alone], dtype=float) * 100
    limits = limits_of(every["mean"], every["low"], every["high"])
    heights = [place + _TOGETHER for place in places]
    means = [0.0, *(100 * one.mean for one in stairs)]
    axes.step(means, heights, where="pre", color=OURS, linewidth=0.8, alpha=0.6, zorder=2, label="stairs")
    axes.plot(0, heights[0], "o", color=OURS, markersize=4.4, markeredgecolor="white", markeredgewidth=0.5, zorder=4)
    _points(axes, stairs, heights[1:], limits, OURS, "o", OURS, "together")
    _points(axes, alone, [place + _ALONE for place in places][1:], limits, PAPER, "D", "white", "alone")
    axes.set_yticks(list(places), [wrapped(label, 24) for label in labels])
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.set_xlim(limits)
    only_bottom(axes)


def _points(
    axes: Axes,
    found: Sequence[Contrast],
    heights: Sequence[float],
    limits: tuple[float, float],
    color: str,
    marker: str,
    face: str,
    label: str,
) -> None:
    low, mean, high = ([100 * getattr(one, name) for one in found] for name in ("low", "mean", "high"))
    axes.hlines(heights, low, high, color=color, linewidth=1, zorder=3)
    axes.plot(
        mean, heights, linestyle="none", marker=marker, markersize=4.4 if marker == "o" else 3.4, color=color,
        markerfacecolor=face, markeredgecolor=color if face == "white" else "white",
        markeredgewidth=0.9 if face == "white" else 0.5, zorder=4, label=label,
    )  # fmt: skip
    mark_cut(axes, heights, low, high, limits, color)


def _key() -> list[Line2D]:
    together = Line2D([], [], color=OURS, linewidth=1, marker="o", markersize=5, markeredgecolor="white")
    alone = Line2D([], [], color=PAPER, linewidth=1, marker="D", markersize=3.4, markerfacecolor="white")
    together.set_label("with all parts above it: mean, 95% interval")
    alone.set_label("the part alone, all others off")
    return [together, alone]
