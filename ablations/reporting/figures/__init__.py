"""The figures of a report: differences to the full model, at the end and while training; learning curves; the order of
the rows; pairs of runs. Which of them a report has depends on the kind of its suite."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from matplotlib.figure import Figure

from ablations.analysis.comparison import Comparison, Ladder
from ablations.reporting.figures.curves import draw_curves
from ablations.reporting.figures.differences import draw_differences
from ablations.reporting.figures.interactions import draw_interactions
from ablations.reporting.figures.ladder import draw_ladder
from ablations.reporting.figures.pairs import draw_pairs
from ablations.reporting.figures.ranks import draw_ranks
from ablations.reporting.figures.responses import draw_responses
from ablations.reporting.figures.staircase import draw_staircase
from ablations.reporting.figures.style import FORMATS, NARROW, WIDTH, save, spread_ticks, styled
from ablations.reporting.figures.svg import as_svg
from ablations.reporting.figures.training import draw_training
from ablations.reporting.kinds import ALL_FIGURES, figures_of

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
    "finished",
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


_Shown = TypeVar("_Shown")
_Drawn = TypeVar("_Drawn", Figure, Figure | None)


def finished(draw_one: Callable[[_Shown], _Drawn], data: _Shown, width: float = WIDTH) -> _Drawn:
    """A figure in this project's style and laid out for good, of a width in inches."""
    with styled(width):
        figure = draw_one(data)
        if figure is not None:
            spread_ticks(figure)
    return figure


def draw(data: Comparison, width: float = WIDTH, ladder: Ladder | None = None) -> dict[str, Figure]:
    """Every figure that the data can fill, by name, of a width in inches."""
    figures = {name: finished(_DRAW[name], data, width) for name in figures_of(data)}
    if ladder is not None:
        figures["ladder"] = finished(draw_ladder, ladder, width)
    return {name: figure for name, figure in figures.items() if figure is not None}
