"""The figures of a report: differences to the full model, learning curves, and the order of the rows."""

from __future__ import annotations

from matplotlib.figure import Figure

from ablations.report.data import ReportData
from ablations.report.figures.curves import draw_curves
from ablations.report.figures.differences import draw_differences
from ablations.report.figures.ranks import draw_ranks
from ablations.report.figures.style import FORMATS, save, styled
from ablations.report.frame import comparison_frame

__all__ = ["FORMATS", "NAMES", "draw", "draw_curves", "draw_differences", "draw_ranks", "save"]

NAMES = ("differences", "curves", "ranks")


def draw(data: ReportData) -> dict[str, Figure]:
    """Every figure that the data can fill, by name."""
    frame = comparison_frame(data)
    with styled():
        figures = {
            "differences": draw_differences(data, frame),
            "curves": draw_curves(data, frame),
            "ranks": draw_ranks(data, frame),
        }
    return {name: figure for name, figure in figures.items() if figure is not None}
