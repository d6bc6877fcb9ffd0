"""A straight line through the rungs of a ladder, and what it says of the paper's own size: a pure function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ablations.analysis.statistics import CONFIDENCE

FEWEST_RUNGS = 3


@dataclass(frozen=True)
class Line:
    """Difference against the decimal logarithm of the share of the paper's training.

    Attributes:
        at_full: its value at a share of 1, the paper's own training; ``low`` and ``high`` are its 95% interval.
        slope: change of the difference for ten times the training.
        rungs: how many it was drawn through.
    """

    at_full: float
    low: float
    high: float
    slope: float
    rungs: int

    def at(self, share: float) -> float:
        """Its value at another share."""
        return float(self.at_full + self.slope * np.log10(share))


def fit_line(
    shares: Sequence[float], means: Sequence[float], variances: Sequence[float], pairs: Sequence[int]
) -> Line | None:
    """Weighted least squares of mean differences on log10 of the share of the paper's training.

    The interval has the degrees of freedom of the rung with the fewest pairs. Where the rungs lie farther from the
    line than their seeds explain, it is widened by the square root of chi-squared over its degrees of freedom (Birge
    1932); it is never made narrower. That the truth is a straight line is assumed, and in no interval.

    Args:
        shares: of the paper's training, one a rung.
        means: of differences over seeds.
        variances: of those means; missing ones, of a single pair, leave their rung out.
        pairs: of runs that each mean is of.

    Returns:
        ``None`` where fewer than three rungs are left, where they lie at one share, or where the seeds of one are all
        the same: its weight would be infinite.
    """
    x, y, variance = np.log10(np.asarray(shares, float)), np.asarray(means, float), np.asarray(variances, float)
    known = np.isfinite(x) & np.isfinite(y) & np.isfinite(variance)
    x, y, variance = x[known], y[known], variance[known]
    if len(x) < FEWEST_RUNGS or np.ptp(x) == 0 or not (variance > 0).all():
        return None
    weight = 1 / variance
    middle, level = np.average(x, weights=weight), np.average(y, weights=weight)
    spread = (weight * (x - middle) ** 2).sum()
    slope = (weight * (x - middle) * (y - level)).sum() / spread
    at_full = level - slope * middle
    misfit = (weight * (y - at_full - slope * x) ** 2).sum() / (len(x) - 2)
    error = np.sqrt((1 / weight.sum() + middle**2 / spread) * max(1.0, misfit))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, np.asarray(pairs)[known].min() - 1) * error
    return Line(float(at_full), float(at_full - half), float(at_full + half), float(slope), len(x))
