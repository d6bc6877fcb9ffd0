"""Change in log-perplexity to the full model, row by row, ours beside the published."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ablations.analysis.comparison import Comparison, dataset_title
from ablations.reporting.figures.panels import stack
from ablations.reporting.figures.style import (
    FAINT,
    GREY,
    NOTE,
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
from ablations.reporting.kinds import rows_in_order
from ablations.storage.status import Status

_ROW = 0.27  # inches
_SEEDS, _MEAN, _PAPER = 0.31, 0.08, -0.24  # heights within a row, so that nothing hides anything


def draw_differences(data: Comparison) -> Figure | None:
    """One panel per data set, all with one axis: mean, 95% interval and every seed of each row, on validation; the test
    mean fainter.

    Rows are in the order of the published effects, the largest on top, or in the suite's where none are published.

    Returns:
        ``None`` where no difference to the baseline exists.
    """
    paired = [dataset for dataset in data.datasets if data.rows(dataset)["pairs"].any()]
    panels = {dataset: in_order(data, dataset) for dataset in paired}
    if not panels:
        return None
    heights = [len(rows) * _ROW + 0.55 for rows in panels.values()]
    figure = new_figure(sum(heights) + 0.5)
    parts = stack(figure, heights, [heading(data, dataset) for dataset in panels])
    limits = _limits(pd.concat(panels.values()), data.pairs)
    for part, (dataset, rows) in zip(parts, panels.items(), strict=True):
        _panel(part.subplots(), rows, data.pairs[data.pairs["dataset"].eq(dataset)], limits)
    figure.supxlabel(fitted("change in log-perplexity × 100 (about %); right of 0 is worse", 62))
    key = _key(data, data.frame[data.frame["dataset"].isin(panels)])
    figure.legend(handles=key, loc="outside upper left", ncols=2, columnspacing=1.5)
    return figure


def in_order(data: Comparison, dataset: str) -> pd.DataFrame:
    """The rows but the baseline, first to last from top to bottom."""
    rows = rows_in_order(data, dataset)
    rows = rows[rows["variant"].ne(data.suite.baseline)]
    # stable, so that rows without a published effect stay in the table's order
    return rows.sort_values("published_valid_log_difference", ascending=False, kind="stable", na_position="last")


def _panel(axes: Axes, rows: pd.DataFrame, seeds: pd.DataFrame, limits: tuple[float, float]) -> None:
    places = {variant: len(rows) - 1 - place for place, variant in enumerate(rows["variant"])}
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
    for row in rows.to_dict("records"):
        place = places[row["variant"]]
        axes.axhline(place, color=FAINT, linewidth=0.5, zorder=0)
        if pd.isna(row["valid_log_difference"]):
            _say_why(axes, row, place + _MEAN)
    _draw(axes, rows, places)
    if rows["pairs"].max() > 1:
        axes.plot(
            100 * seeds["valid_log_difference"],
            seeds["variant"].map(places) + _SEEDS,
            linestyle="none", marker="o", markersize=2.6, color=OURS, markeredgewidth=0, alpha=0.45, zorder=3,
            label="seeds",
        )  # fmt: skip
    axes.set_yticks(list(places.values()), [wrapped(label, 27) for label in rows["label"]])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(limits)
    heights = rows["variant"].map(places) + _MEAN
    mark_cut(axes, heights, 100 * rows["valid_log_low"], 100 * rows["valid_log_high"], limits, OURS)
    only_bottom(axes)


def _draw(axes: Axes, rows: pd.DataFrame, places: dict[str, int]) -> None:
    ours, published = 100 * rows["valid_log_difference"], 100 * rows["published_valid_log_difference"]
    place = rows["variant"].map(places)
    axes.hlines(
        place + _MEAN, 100 * rows["valid_log_low"], 100 * rows["valid_log_high"], color=OURS, linewidth=1, zorder=2,
        label="interval",
    )  # fmt: skip
    axes.plot(
        100 * rows["test_log_difference"], place + _MEAN, linestyle="none", marker="|", markersize=8, color=GREY,
        markeredgecolor=GREY, markeredgewidth=0.9, zorder=3, label="test",
    )  # fmt: skip
    axes.plot(
        ours, place + _MEAN, linestyle="none", marker="o", markersize=5.2, color=OURS,
        markeredgecolor="white", markeredgewidth=0.5, zorder=4, label="ours",
    )  # fmt: skip
    axes.plot(
        published, place + _PAPER, linestyle="none", marker="D", markersize=4.2, color=PAPER, markerfacecolor="white",
        markeredgecolor=PAPER, markeredgewidth=1, zorder=3, label="paper",
    )  # fmt: skip


def _say_why(axes: Axes, row: dict[Hashable, Any], place: float) -> None:
    reason = next((name for name in (Status.DIVERGED, Status.FAILED, Status.PAUSED) if row[name]), Status.MISSING)
    text = reason if row["n"] == 0 else "no pair"
    axes.annotate(text, (0, place), xytext=(3, 0), textcoords="offset points", va="center", **NOTE)


def _limits(rows: pd.DataFrame, seeds: pd.DataFrame) -> tuple[float, float]:
    columns = ["valid_log_difference", "test_log_difference", "published_valid_log_difference"]
    points = pd.concat([*(rows[column] for column in columns), seeds["valid_log_difference"]])
    return limits_of(100 * points, 100 * rows["valid_log_low"], 100 * rows["valid_log_high"])


def _key(data: Comparison, frame: pd.DataFrame) -> list[Line2D]:
    mean = Line2D([], [], color=OURS, linewidth=1, marker="o", markersize=5.2, markeredgecolor="white")
    seed = Line2D([], [], linestyle="none", marker="o", markersize=2.6, color=OURS, markeredgewidth=0, alpha=0.45)
    test = Line2D([], [], linestyle="none", marker="|", markersize=8, color=GREY, markeredgewidth=0.9)
    paper = Line2D([], [], linestyle="none", marker="D", markersize=4.2, color=PAPER, markerfacecolor="white")
    intervals = frame["valid_log_low"].notna().any()
    mean.set_label("ours: mean, 95% interval" if intervals else "ours")
    seed.set_label("ours: each seed")
    test.set_label("ours: mean on test")
    published = frame[frame["published_valid"].notna()]
    own = all(column == data.known(dataset) for dataset, column in published[["dataset", "published_dataset"]].values)
    columns = ", ".join(map(dataset_title, dict.fromkeys(published["published_dataset"])))
    paper.set_label("paper" if own else f"paper ({columns})")
    return [mean, *([seed] if intervals else []), test, *([paper] if columns else [])]
