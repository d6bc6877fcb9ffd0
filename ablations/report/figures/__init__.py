"""The figures of a report: differences to the full model, at the end and while training; learning curves; the order of
the rows; pairs of runs."""

from __future__ import annotations

from matplotlib.figure import Figure

from ablations.analysis.data import ReportData
from ablations.analysis.frame import comparison_frame
from ablations.report.figures.curves import draw_curves
from ablations.report.figures.differences import draw_differences
from ablations.report.figures.ladder import draw_ladder
from ablations.report.figures.pairs import draw_pairs
from ablations.report.figures.ranks import draw_ranks
from ablations.report.figures.style import FORMATS, NARROW, WIDTH, as_svg, save, styled
from ablations.report.figures.training import draw_training

__all__ = [
    "FORMATS",
    "NAMES",
    "NARROW",
    "as_svg",
    "draw",
    "draw_curves",
    "draw_differences",
    "draw_ladder",
    "draw_pairs",
    "draw_ranks",
    "draw_training",
    "save",
    "styled",
]

NAMES = ("differences", "curves", "training", "ranks", "pairs")


def draw(data: ReportData, width: float = WIDTH) -> dict[str, Figure]:
    """Every figure that the data can fill, by name, of a width in inches; the page alone shows ``ladder``."""
    frame = comparison_frame(data)
    with styled(width):
        figures = {
            "differences": draw_differences(data, frame),
            "curves": draw_curves(data, frame),
            "training": draw_training(data, frame),
            "ranks": draw_ranks(data, frame),
            "pairs": draw_pairs(data, frame),
        }
        if data.ladder is not None:
            figures["ladder"] = draw_ladder(data.ladder)
    return {name: figure for name, figure in figures.items() if figure is not None}
