"""The figures of a report as functions, for notebooks: from a comparison to a matplotlib figure.

Each takes the width in inches: 3.4, a column of a two-column page, unless told otherwise. ``staircase``,
``interactions`` and ``responses`` are of suites of one kind each (see docs/beyond.md); that of ``choices`` is
``differences``.
"""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from ablations.analysis.comparison import Comparison, Ladder, require_finished
from ablations.reporting import figures as drawings
from ablations.reporting.figures.style import WIDTH
from awd.errors import InputError

__all__ = [
    "curves",
    "differences",
    "interactions",
    "ladder",
    "pairs",
    "ranks",
    "responses",
    "staircase",
    "training",
]


def differences(data: Comparison, width: float = WIDTH) -> Figure:
    """What each part is worth: mean, 95% interval and every seed of each row, beside the paper's; of choices the best
    first.

    Raises:
        InputError: no row has a run of the same seed as one of the full model.

    >>> import ablations
    >>> figure = ablations.figures.differences(ablations.load("results/reference"))
    >>> figure.savefig("differences.png", dpi=200)
    >>> figure = ablations.figures.differences(ablations.load("results/reference", suite="optimizers"))
    """
    return _drawn(drawings.draw_differences, data, width, "no row has a run of the same seed as the full model")


def training(data: Comparison, width: float = WIDTH) -> Figure:
    """When each part starts to help: the difference to the full model while training, one panel per row.

    Raises:
        InputError: no two finished runs of the same seed have epochs.

    >>> import ablations
    >>> figure = ablations.figures.training(ablations.load("results/reference"), width=7)
    >>> float(figure.get_figwidth())
    7.0
    """
    return _drawn(drawings.draw_training, data, width, "no pair of finished runs has epochs")


def curves(data: Comparison, width: float = WIDTH) -> Figure:
    """Validation perplexity by epoch, one panel per row, every seed.

    Raises:
        InputError: no finished run has epochs.

    >>> import ablations
    >>> figure = ablations.figures.curves(ablations.load("results/reference", variants=["full", "no-ar-tar"]))
    """
    return _drawn(drawings.draw_curves, data, width, "no finished run has epochs")


def ranks(data: Comparison, width: float = WIDTH) -> Figure:
    """The order of the rows, ours beside the paper's.

    Raises:
        InputError: fewer than two rows have a published difference and one of ours.

    >>> import ablations
    >>> figure = ablations.figures.ranks(ablations.load("results/reference"))
    """
    return _drawn(drawings.draw_ranks, data, width, "fewer than two rows have both our number and a published one")


def pairs(data: Comparison, width: float = WIDTH) -> Figure:
    """Every seed: validation perplexity of each row against the full model's of the same seed.

    Raises:
        InputError: no row has two pairs of runs.

    >>> import ablations
    >>> figure = ablations.figures.pairs(ablations.load("results/reference"))
    """
    return _drawn(drawings.draw_pairs, data, width, "no row has two pairs of runs")


def staircase(data: Comparison, width: float = WIDTH) -> Figure:
    """What the parts of a build-up add, one after another as steps, and each alone.

    Raises:
        InputError: the suite is of another kind, or no run can be compared with everything off.

    >>> import ablations
    >>> steps = ["nothing", "+locked-dropout"]
    >>> data = ablations.run(suite="buildup", profile="smoke", variants=steps, settings={"training.epochs": 1})
    >>> figure = ablations.figures.staircase(data)
    """
    return _drawn(drawings.draw_staircase, data, width, "no run has the seed of one with everything off", "buildup")


def interactions(data: Comparison, width: float = WIDTH) -> Figure:
    """Whether two parts do the same job: the effect of removing both minus the sum of each, as a heatmap of all pairs.

    Raises:
        InputError: the suite is of another kind, or no pair is finished in the same seed as both alone.

    >>> import ablations
    >>> figure = ablations.figures.interactions(ablations.load("results/reference", suite="pairs"), width=5)
    """
    return _drawn(drawings.draw_interactions, data, width, "no pair has the seed of both removals alone", "pairs")


def responses(data: Comparison, width: float = WIDTH) -> Figure:
    """The change over the values of each field of a sweep, or, where it has rows, their difference to the full model.

    Raises:
        InputError: the suite is of another kind, or no difference exists.

    >>> import ablations
    >>> figure = ablations.figures.responses(ablations.load("results/reference", suite="strengths"))
    """
    return _drawn(drawings.draw_responses, data, width, "no two runs of the same seed can be compared", "sweep")


def ladder(data: Ladder, width: float = WIDTH) -> Figure:
    """How each effect grows with scale, one panel per row.

    >>> import ablations
    >>> figure = ablations.figures.ladder(ablations.ladder("results/reference", datasets="ptb"))
    """
    return drawings.finished(drawings.draw_ladder, data, width)


def _drawn(
    draw: Callable[[Comparison], Figure | None], data: Comparison, width: float, why_not: str, kind: str | None = None
) -> Figure:
    require_finished(data)
    if kind not in (None, data.suite.kind):
        raise InputError(f"this figure is of suites of kind {kind}; {data.suite.name} is of kind {data.suite.kind}")
    figure = drawings.finished(draw, data, width)
    if figure is None:
        raise InputError(f"this figure has nothing to show: {why_not}")
    return figure
