"""The order of the rows, ours against the published: a slope chart."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.analysis.comparison import Comparison, dataset_title
from ablations.reporting.figures.style import GREY, INK, NOTE, PAPER, fitted, heading, is_narrow, new_figure
from ablations.reporting.formats import number, percent

_ROW = 0.3  # inches
_FAR = 3  # places that a row must have moved to be stressed


def draw_ranks(data: Comparison) -> Figure | None:
    """One panel per data set: rows by change in validation log-perplexity, the most harmful loss on top.

    Rows that moved by three places or more are stressed.

    Returns:
        ``None`` where fewer than two rows have both numbers.
    """
    panels = {dataset: ranked(data, dataset) for dataset in data.datasets}
    panels = {dataset: rows for dataset, rows in panels.items() if len(rows) > 1}
    if not panels:
        return None
    heights = [len(rows) * _ROW + 0.75 for rows in panels.values()]
    figure = new_figure(sum(heights))
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for panel, (dataset, rows) in zip(axes, panels.items(), strict=True):
        _panel(panel, rows)
        _titles(panel, data, dataset)
    return figure


def ranked(data: Comparison, dataset: str) -> pd.DataFrame:
    """The rows with both numbers, with ``ours`` and ``theirs``: their places, 1 for the largest change."""
    rows = data.rows(dataset).dropna(subset=["valid_log_difference", "published_valid_log_difference"])
    return rows.assign(
        ours=rows["valid_log_difference"].rank(method="first", ascending=False).astype(int),
        theirs=rows["published_valid_log_difference"].rank(method="first", ascending=False).astype(int),
    )


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    for row in rows.to_dict("records"):
        moved = abs(row["ours"] - row["theirs"]) >= _FAR
        color, width = (PAPER, 1.6) if moved else (GREY, 1.0)
        axes.plot([0, 1], [row["ours"], row["theirs"]], color=color, linewidth=width, marker="o", markersize=3.2)
        _label(axes, 0, row["ours"], row["label"], row["valid_log_difference"], color if moved else INK)
        _label(axes, 1, row["theirs"], row["label"], row["published_valid_log_difference"], color if moved else INK)
    side = 1.8 if is_narrow() else 1.35
    axes.set_xlim(-side, 1 + side)
    axes.set_ylim(len(rows) + 0.6, 0.4)
    axes.set_axis_off()
    if (rows["ours"] - rows["theirs"]).abs().max() >= _FAR:
        note = f"orange: {_FAR} places apart or more"
        axes.annotate(note, (0.5, len(rows) + 0.6), ha="center", va="top", color=PAPER, fontsize=6.5)


def _label(axes: Axes, side: int, place: int, label: str, change: float, color: str) -> None:
    align, away = ("right", -1) if side == 0 else ("left", 1)
    axes.annotate(
        percent(change), (side, place), xytext=(4 * away, 0), textcoords="offset points", ha=align, va="center",
        fontsize=6.5, color=color, weight="bold",
    )  # fmt: skip
    axes.annotate(
        fitted(label, 17), (side, place), xytext=(28 * away, 0), textcoords="offset points", ha=align, va="center",
        fontsize=6.5, color=color,
    )  # fmt: skip


def _titles(axes: Axes, data: Comparison, dataset: str) -> None:
    found = data.correlations.set_index(["dataset", "split"]).to_dict("index")[dataset, "valid"]
    column = data.rows(dataset)["published_dataset"].iloc[0]
    axes.set_title(
        f"{heading(data, dataset)}\n"
        f"Spearman ρ = {number(found['spearman'])}, Kendall τ = {number(found['kendall'])}, {found['rows']} rows",
        fontsize=7,
        pad=14,
    )
    for side, text in ((0, "ours"), (1, f"paper, {dataset_title(column)}")):
        axes.annotate(text, (side, 0.4), ha="right" if side == 0 else "left", va="bottom", **NOTE)
