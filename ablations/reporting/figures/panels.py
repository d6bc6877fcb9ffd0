"""Small panels, one per variant, in blocks, one per data set: what the figures by epoch have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D

from ablations.analysis.comparison import Comparison
from ablations.reporting.figures.style import GREY, NOTE, OURS, PAPER, fitted, heading, is_narrow, new_figure
from ablations.storage.status import Status

DOTTED: Any = (0, (1, 1.5))

COLUMNS = 2
_TITLE = 30  # characters that fit above a panel of a figure that is a column wide
_ROW, _HEADING, _KEY = 0.92, 0.32, 0.15  # inches


@dataclass(frozen=True)
class Block:
    """The panels of a data set.

    Attributes:
        part: of the figure.
        panels: by variant, in order; all with one horizontal and one vertical axis.
    """

    part: SubFigure
    panels: dict[str, Axes]


def variants_shown(data: Comparison, dataset: str) -> list[tuple[str, str]]:
    """Name and label of each row of a data set but the baseline, in the suite's order; alone, the baseline's."""
    rows = data.rows(dataset)
    named = list(rows[["variant", "label"]].itertuples(index=False, name=None))
    return [row for row in named if row[0] != data.suite.baseline] or named


def figure_of_blocks(
    data: Comparison, shown: Mapping[str, Sequence[tuple[str, str]]], key: Sequence[Artist]
) -> tuple[Figure, dict[str, Block]]:
    """A figure with one block per data set, each with its heading and titled, empty panels; the key above all.

    Args:
        data: the report's.
        shown: by data set, name and label of each panel.
        key: what the legend holds.
    """
    lines = max(fitted(label, _TITLE).count("\n") for rows in shown.values() for _, label in rows)
    row = _ROW + 0.1 * lines
    heights = [panel_rows(rows) * row + _HEADING for rows in shown.values()]
    columns = 1 if is_narrow() else 2
    figure = new_figure(sum(heights) + _KEY + _KEY * math.ceil(len(key) / columns))
    parts = stack(figure, heights, [heading(data, dataset) for dataset in shown])
    blocks = {}
    for part, (dataset, rows) in zip(parts, shown.items(), strict=True):
        panels = grid(part, [label for _, label in rows])
        blocks[dataset] = Block(part, dict(zip([variant for variant, _ in rows], panels, strict=True)))
    figure.legend(handles=key, loc="outside upper left", ncols=columns, handlelength=1.6, columnspacing=1.2)
    return figure, blocks


def stack(figure: Figure, heights: Sequence[float], titles: Sequence[str]) -> list[SubFigure]:
    """Parts of a figure, one below the other, each with its heading."""
    parts = list(figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0])
    for part, title in zip(parts, titles, strict=True):
        part.suptitle(title, x=0.01, ha="left", fontsize=7.5, weight="bold")
    return parts


def grid(
    part: SubFigure, titles: Sequence[str], *, color: str = OURS, sharex: bool = True, sharey: bool = True
) -> list[Axes]:
    """Small panels in columns, titled; labels of a shared horizontal axis are under the lowest of each column."""
    axes = list(part.subplots(panel_rows(titles), COLUMNS, squeeze=False, sharex=sharex, sharey=sharey).flat)
    for place, (panel, title) in enumerate(zip(axes, titles, strict=False)):
        panel.set_title(fitted(title, _TITLE), fontsize=6.5, weight="normal", color=color, pad=2)
        panel.tick_params(labelbottom=not sharex or place + COLUMNS >= len(titles))
    for panel in axes[len(titles) :]:
        panel.set_visible(False)
    return axes[: len(titles)]


def panel_rows(titles: Sized) -> int:
    """How many rows of panels so many make."""
    return math.ceil(len(titles) / COLUMNS)


def mark_finetuning(axes: Axes, start: float) -> None:
    """A dotted line where fine-tuning starts."""
    axes.axvline(start, color=GREY, linewidth=0.7, linestyle=DOTTED, zorder=0, label="fine-tuning")


def mark_averaging(axes: Axes, starts: Sequence[float]) -> None:
    """A tick on the axis where averaging starts, one per seed."""
    for start in starts:
        axes.axvline(start, ymax=0.12, color=PAPER, linewidth=0.9, label="averaging")


def marks_key() -> list[Line2D]:
    """What the marks are, for a legend."""
    return [
        Line2D([], [], color=PAPER, linestyle="none", marker="|", markersize=5, label="averaging starts, by seed"),
        Line2D([], [], color=GREY, linewidth=0.7, linestyle=DOTTED, label="fine-tuning starts"),
    ]


def say_why_empty(axes: Axes, runs: pd.DataFrame) -> None:
    """What became of the runs of a panel that has nothing to draw."""
    status = runs["status"]
    reason = next((name for name in (Status.PAUSED, Status.DIVERGED) if status.eq(name).any()), Status.FAILED)
    say(axes, Status.MISSING if status.isna().all() else reason)


def say(axes: Axes, text: str) -> None:
    """A word instead of curves."""
    axes.annotate(text, (0.5, 0.8), xycoords="axes fraction", ha="center", **NOTE)
