"""The figures of a report: differences to the full model, at the end and while training; learning curves; the order of
the rows; pairs of runs. Which of them a report has depends on the kind of its suite."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from ablations.analysis.comparison import Comparison, Ladder
from ablations.report.figures.curves import draw_curves
from ablations.report.figures.differences import draw_differences
from ablations.report.figures.interactions import draw_interactions
from ablations.report.figures.ladder import draw_ladder
from ablations.report.figures.pairs import draw_pairs
from ablations.report.figures.ranks import draw_ranks
from ablations.report.figures.responses import draw_responses
from ablations.report.figures.staircase import draw_staircase
from ablations.report.figures.style import FORMATS, NARROW, WIDTH, save, spread_ticks, styled
from ablations.report.figures.svg import as_svg
from ablations.report.figures.training import draw_training
from ablations.report.kinds import ALL_FIGURES, figures_of

__all__ = [
    "ALL_FIGURES",
    "FORMATS",
    "NARROW",
    "as_svg",
    "draw",
    "draw_curves",
    "draw_differences",
    "draw_interactions",
    "draw_ladder",
    "draw_pairs",
    "draw_ranks",
    "draw_responses",
    "draw_staircase",
    "draw_training",
    "save",
    "spread_ticks",
    "styled",
]

_DRAW: dict[str, Callable[[Comparison], Figure | None]] = {
    "differences": draw_differences,
    "curves": draw_curves,
    "training": draw_training,
    "ranks": draw_ranks,
    "pairs": draw_pairs,
    "staircase": draw_staircase,
    "interactions": draw_interactions,
    "responses": draw_responses,
}


def draw(data: Comparison, width: float = WIDTH, ladder: Ladder | None = None) -> dict[str, Figure]:
    """Every figure that the data can fill, by name, of a width in inches."""
    with styled(width):
        figures = {name: _DRAW[name](data) for name in figures_of(data)}
        if ladder is not None:
            figures["ladder"] = draw_ladder(ladder)
        drawn = {name: figure for name, figure in figures.items() if figure is not None}
        for figure in drawn.values():
            spread_ticks(figure)
    return drawn
