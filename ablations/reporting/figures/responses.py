"""A sweep: the response to a field over its values, or the difference of several rows to the full model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ablations.analysis.comparison import Comparison
from ablations.analysis.contrasts import Point, curve_points, is_number, log_perplexities
from ablations.experiment.kinds import Curve, Sweep
from ablations.reporting.figures.panels import grid, panel_rows, stack
from ablations.reporting.figures.style import GREY, INK, OURS, PAPER, heading, limits_of, mark_cut, new_figure, wrapped

_ROW, _HEADING = 1.15, 0.35  # inches
_FAR = 3  # times the least value is the largest, from which on a scale is logarithmic


def draw_responses(data: Comparison) -> Figure | None:
    """One block per data set and field; of the full model alone one panel per field, else one panel per other row.

    Returns:
        ``None`` where no difference exists.
    """
    assert isinstance(data.suite.layout, Sweep)
    curves, full = data.suite.layout.curves, data.suite.baseline
    several = any(curve.row != full for curve in curves)
    shown = [curve for curve in curves if not several or curve.row != full]
    blocks: dict[str, list[tuple[Curve, list[Point]]]] = {}
    for dataset in data.datasets:
        logs = log_perplexities(data, dataset)
        found = [(curve, curve_points(data, dataset, logs, curve)) for curve in shown]
        if any(not point.own for _, points in found for point in points):
            blocks[dataset] = found
    if not blocks:
        return None
    heights = [panel_rows(found) * _ROW + _HEADING for found in blocks.values()]
    figure = new_figure(sum(heights) + 0.65)
    parts = stack(figure, heights, [heading(data, dataset) for dataset in blocks])
    for part, found in zip(parts, blocks.values(), strict=True):
        titles = [_title(data, curve, several) for curve, _ in found]
        limits = _limits([points for _, points in found])
        for axes, (_, points) in zip(grid(part, titles, color=INK, sharex=False), found, strict=True):
            _panel(axes, points, limits)
    says = "log-perplexity × 100, minus the " + ("full model's at the same value" if several else "profile's own")
    figure.supylabel(wrapped(says, int(13 * sum(heights))))
    figure.supxlabel(_field(shown[0].field) if len({curve.field for curve in shown}) == 1 else "strength")
    figure.legend(handles=_key(), loc="outside upper left", ncols=2)
    return figure


def _title(data: Comparison, curve: Curve, several: bool) -> str:
    field = _field(curve.field)
    if not several:
        return field
    swept = getattr(data.suite.layout, "curves", ())
    alone = len({one.field for one in swept}) == 1
    return data.label(curve.row) if alone else f"{data.label(curve.row)}, {field}"


def _field(field: str) -> str:
    return field.partition(".")[2].replace("_", " ")


def _limits(curves: Sequence[Sequence[Point]]) -> tuple[float, float]:
    found = pd.DataFrame([point.contrast for points in curves for point in points], dtype=float) * 100
    return limits_of(found["mean"], found["low"], found["high"])


def _panel(axes: Axes, points: Sequence[Point], limits: tuple[float, float]) -> None:
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.set_ylim(limits)
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    places = _places(axes, [point.value for point in points])
    low, mean, high = ([100 * getattr(one.contrast, name) for one in points] for name in ("low", "mean", "high"))
    axes.fill_between(places, low, high, color=OURS, alpha=0.2, linewidth=0, zorder=2, label="band")
    axes.plot(places, mean, color=OURS, linewidth=0.9, marker="o", markersize=3.2, zorder=3, label="response")
    mark_cut(axes, places, low, high, limits, OURS, vertical=True)
    for place, value, point in zip(places, mean, points, strict=True):
        if point.own:
            axes.axvline(place, color=PAPER, linewidth=0.7, linestyle=(0, (1, 2)), zorder=1)
            axes.plot(
                place, value, marker="D", markersize=4.4, color=PAPER, markerfacecolor="white",
                markeredgewidth=1, linestyle="none", zorder=4, label="own",
            )  # fmt: skip


def _places(axes: Axes, values: Sequence[Any]) -> list[float]:
    """Where values stand on the axis: numbers where they belong, other things one after another."""
    named = not all(map(is_number, values))
    texts = ["none" if value is None else str(value).lower() for value in values]
    places = [float(place) for place in range(len(values))] if named else [float(value) for value in values]
    if not named:
        texts = [f"{place:g}".replace("e-0", "e-") for place in places]
        if places and min(places) > 0 and max(places) >= _FAR * min(places):
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
    by_place = dict(zip(places, texts, strict=True))
    axes.xaxis.set_major_locator(FixedLocator(sorted(by_place)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda place, _: by_place.get(float(place), "")))
    return places


def _key() -> list[Line2D | Patch]:
    mean = Line2D([], [], color=OURS, linewidth=0.9, marker="o", markersize=3.2, label="ours: mean")
    band = Patch(facecolor=OURS, alpha=0.2, label="95% intervals")
    own = Line2D([], [], color=PAPER, linestyle=(0, (1, 2)), linewidth=0.7, marker="D", markersize=4.4)
    own.set(markerfacecolor="white", label="the profile's own value")
    return [mean, band, own]
