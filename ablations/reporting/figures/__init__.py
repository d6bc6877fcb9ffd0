"""The figures of a report: differences to the full model, at the end and while training; learning curves; the order of
the rows; pairs of runs."""

from __future__ import annotations

from matplotlib.figure import Figure

from ablations.analysis.comparison import Comparison, Ladder
from ablations.reporting.figures.curves import draw_curves
from ablations.reporting.figures.differences import draw_differences
from ablations.reporting.figures.ladder import draw_ladder
from ablations.reporting.figures.pairs import draw_pairs
from ablations.reporting.figures.ranks import draw_ranks
from ablations.reporting.figures.style import FORMATS, NARROW, WIDTH, save, spread_ticks, styled
from ablations.reporting.figures.svg import as_svg
from ablations.reporting.figures.training import draw_training

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
    "spread_ticks",
    "styled",
]

NAMES = ("differences", "curves", "training", "ranks", "pairs")


def draw(data: Comparison, width: float = WIDTH, ladder: Ladder | None = None) -> dict[str, Figure]:
    """Every figure that the data can fill, by name, of a width in inches."""
    with styled(width):
        figures = {
            "differences": draw_differences(data),
            "curves": draw_curves(data),
            "training": draw_training(data),
            "ranks": draw_ranks(data),
            "pairs": draw_pairs(data),
        }
        if ladder is not None:
            figures["ladder"] = draw_ladder(ladder)
        drawn = {name: figure for name, figure in figures.items() if figure is not None}
        for figure in drawn.values():
            spread_ticks(figure)
    return drawn
