"""Effect against scale: a small panel a row, its difference against the share of the paper's training."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter

from ablations.analysis.comparison import Ladder, dataset_title
from ablations.reporting.figures.panels import grid, panel_rows, stack
from ablations.reporting.figures.style import (
    GREY,
    INK,
    NOTE,
    OURS,
    PAPER,
    fitted,
    is_narrow,
    limits_of,
    mark_cut,
    new_figure,
    wrapped,
)
from ablations.reporting.formats import share_text

_ROW, _LINE = 0.88, 0.12  # inches: a row of panels, a line of a heading
_BESIDE = 1.7  # the line's value stands this many times to the right of 100%, so that it does not hide the paper's


def draw_ladder(ladder: Ladder) -> Figure:
    """One block per data set; one panel per row but the baseline, all with the same axes.

    Filled points are ours with their 95% intervals, squares where the text is another; the open diamond at 100% is the
    paper's. Where three rungs or more are of the same text, a dashed line goes on to 100%.
    """
    panels = {dataset: _in_order(ladder, dataset) for dataset in ladder.datasets}
    titles = {dataset: fitted(_heading(ladder, dataset), 48) for dataset in panels}
    heights = [
        panel_rows(rows) * _ROW + _LINE * (titles[dataset].count("\n") + 1) + 0.22 for dataset, rows in panels.items()
    ]
    key = _key(ladder)
    figure = new_figure(sum(heights) + 0.13 * len(key) + 0.2)
    limits = _across(ladder), _upwards(ladder)
    parts = stack(figure, heights, list(titles.values()))
    for part, (dataset, rows) in zip(parts, panels.items(), strict=True):
        points = ladder.points[ladder.points["dataset"].eq(dataset)].sort_values("share", kind="stable")
        axes = grid(part, list(rows["label"]), color=INK)
        for panel, row in zip(axes, rows.to_dict("records"), strict=True):
            _panel(panel, points[points["variant"].eq(row["variant"])], row, limits[1])
        _scales(axes[0], limits)
    says = "change in log-perplexity × 100; above 0 the row is worse"
    figure.supylabel(wrapped(says, int(13 * sum(heights))))
    figure.supxlabel("share of the paper's training, in tokens")
    figure.legend(handles=key, loc="outside upper left", handlelength=1.6)
    return figure


def _in_order(ladder: Ladder, dataset: str) -> pd.DataFrame:
    """The paper's largest effect first, as in the figure of differences."""
    rows = ladder.rows[ladder.rows["dataset"].eq(dataset)]
    return rows.sort_values("published", ascending=False, kind="stable", na_position="last")


def _heading(ladder: Ladder, dataset: str) -> str:
    rungs = ladder.rungs[ladder.rungs["dataset"].eq(dataset)].sort_values("share", kind="stable")
    # a share stays with its name
    named = [
        f"{profile}\N{NO-BREAK SPACE}{share_text(share)}"
        for profile, share in zip(rungs["profile"], rungs["share"], strict=True)
    ]
    return f"{dataset_title(dataset)}: {', '.join(named)}"


def _panel(axes: Axes, points: pd.DataFrame, row: dict[Hashable, Any], upwards: tuple[float, float]) -> None:
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    _draw_line(axes, points, row)
    own = points["own_text"].astype(bool)
    for part, color, marker, name in ((points[~own], GREY, "s", "other"), (points[own], OURS, "o", "ours")):
        axes.vlines(part["share"], 100 * part["low"], 100 * part["high"], color=color, linewidth=1, zorder=2)
        axes.plot(
            part["share"], 100 * part["difference"], marker=marker, markersize=4, color=color, zorder=3,
            linestyle="none" if name == "other" else "-", linewidth=0.8, markeredgecolor="white", markeredgewidth=0.4,
            label=name,
        )  # fmt: skip
        mark_cut(axes, part["share"], 100 * part["low"], 100 * part["high"], upwards, color, vertical=True)
    if not pd.isna(row["published"]):
        axes.axhline(100 * row["published"], color=PAPER, linewidth=0.6, linestyle=(0, (1, 2)), zorder=1)
        axes.plot(
            1.0, 100 * row["published"], marker="D", markersize=4.2, color=PAPER, markerfacecolor="white",
            markeredgecolor=PAPER, markeredgewidth=1, linestyle="none", zorder=4, clip_on=False, label="paper",
        )  # fmt: skip
    if points.empty:
        axes.annotate("no run", (0.05, 0.75), xycoords="axes fraction", **NOTE)


def _draw_line(axes: Axes, points: pd.DataFrame, row: dict[Hashable, Any]) -> None:
    if pd.isna(row["at_full"]):
        return
    first = points.loc[points["own_text"].astype(bool), "share"].min()
    ends = np.array([first, 1.0])
    axes.plot(
        ends, 100 * (row["at_full"] + row["slope"] * np.log10(ends)), color=OURS, linewidth=0.7,
        linestyle=(0, (3, 2)), zorder=1, label="line",
    )  # fmt: skip
    axes.vlines(
        _BESIDE, 100 * row["at_full_low"], 100 * row["at_full_high"], color=OURS, linewidth=2.4, alpha=0.35, zorder=2,
        label="line's interval",
    )  # fmt: skip
    axes.plot(_BESIDE, 100 * row["at_full"], marker="_", markersize=5, color=OURS, zorder=3, label="line at 100%")


def _across(ladder: Ladder) -> tuple[float, float]:
    return ladder.rungs["share"].min() / 3, max(1.0, ladder.rungs["share"].max()) * 2.6


def _upwards(ladder: Ladder) -> tuple[float, float]:
    points = pd.concat([ladder.points["difference"], ladder.rows["published"]]).astype(float)
    return limits_of(100 * points, *(100 * ladder.points[side].astype(float) for side in ("low", "high")))


def _scales(axes: Axes, limits: tuple[tuple[float, float], tuple[float, float]]) -> None:
    """The axes that all panels share; labels a hundredfold apart where more would not fit."""
    (left, right), upwards = limits
    axes.set_xscale("log")
    axes.set_xlim(left, right)
    axes.set_ylim(upwards)
    decades = range(math.ceil(math.log10(left)), math.floor(math.log10(right)) + 1)
    apart = 2 if len(decades) > 3 else 1
    axes.xaxis.set_major_locator(FixedLocator([10.0**power for power in decades if power % apart == 0]))
    axes.xaxis.set_minor_locator(FixedLocator([10.0**power for power in decades]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: share_text(share)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def _key(ladder: Ladder) -> list[Line2D]:
    own = ladder.rungs["own_text"].astype(bool)
    others = dict.fromkeys(ladder.rungs.loc[~own, "title"])
    handles = []
    if own.any():
        ours = Line2D([], [], color=OURS, linewidth=0.8, marker="o", markersize=4, markeredgecolor="white")
        handles.append((ours, "ours on this text, with 95% intervals"))
    if others:
        other = Line2D([], [], color=GREY, linestyle="none", marker="s", markersize=4, markeredgecolor="white")
        handles.append((other, f"ours on another text ({', '.join(others)})"))
    if ladder.rows["published"].notna().any():
        paper = Line2D([], [], color=PAPER, linestyle=(0, (1, 2)), linewidth=0.6, marker="D", markersize=4.2)
        paper.set(markerfacecolor="white", markeredgecolor=PAPER)
        handles.append((paper, "the paper's published difference"))
    if ladder.rows["at_full"].notna().any():
        line = Line2D([], [], color=OURS, linewidth=0.7, linestyle=(0, (3, 2)))
        handles.append((line, "straight line through ours, its 95% interval at 100%: an extrapolation"))
    for handle, label in handles:
        handle.set_label(wrapped(label, 46 if is_narrow() else 60))
    return [handle for handle, _ in handles]
