"""The figures of a report: differences to the full model, at the end and while training; learning curves; the order of
the rows; pairs of runs."""

from __future__ import annotations

from matplotlib.figure import Figure

from ablations.report.data import ReportData
from ablations.report.figures.curves import draw_curves
from ablations.report.figures.differences import draw_differences
from ablations.report.figures.pairs import draw_pairs
from ablations.report.figures.ranks import draw_ranks
from ablations.report.figures.style import FORMATS, NARROW, WIDTH, as_svg, save, styled
from ablations.report.figures.training import draw_training
from ablations.report.frame import comparison_frame

__all__ = [
    "FORMATS",
    "NAMES",
    "NARROW",
    "as_svg",
    "draw",
    "draw_curves",
    "draw_differences",
    "draw_pairs",
    "draw_ranks",
    "draw_training",
    "save",
]

NAMES = ("differences", "curves", "training", "ranks", "pairs")


def draw(data: ReportData, width: float = WIDTH) -> dict[str, Figure]:
    """Every figure that the data can fill, by name, of a width in inches."""
    frame = comparison_frame(data)
    with styled(width):
        figures = {
            "differences": draw_differences(data, frame),
            "curves": draw_curves(data, frame),
            "training": draw_training(data, frame),
            "ranks": draw_ranks(data, frame),
            "pairs": draw_pairs(data, frame),
        }
    return {name: figure for name, figure in figures.items() if figure is not None}
