"""The line through the rungs, against a case worked by hand and NumPy's own fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ablations.analysis.trend import fit_line

SHARES = [0.001, 0.01, 0.1]  # -3, -2, -1 in decimal logarithms
T2 = stats.t.ppf(0.975, 2)  # of three seeds


def test_a_case_worked_by_hand() -> None:
    # means 1, 2, 4 of equal weight: slope 3/2 about (-2, 7/3), so 7/3 + 3 = 16/3 at 0; residuals 1/6, -1/3, 1/6
    line = fit_line(SHARES, [1.0, 2.0, 4.0], [1.0, 1.0, 1.0], [3, 3, 3])
    assert line is not None
    assert (line.slope, line.at_full, line.rungs) == (pytest.approx(1.5), pytest.approx(16 / 3), 3)
    # the variance at 0 is 1/3 + 2²/2; chi-squared 1/6 at one degree of freedom widens nothing
    half = T2 * math.sqrt(7 / 3)
    assert (line.low, line.high) == (pytest.approx(16 / 3 - half), pytest.approx(16 / 3 + half))
    assert line.at(0.01) == pytest.approx(7 / 3)


def test_rungs_off_the_line_widen_the_interval() -> None:
    # the same means, a hundredth of the variance: chi-squared is 100/6
    line = fit_line(SHARES, [1.0, 2.0, 4.0], [0.01] * 3, [3, 3, 3])
    assert line is not None
    half = T2 * math.sqrt(7 / 3 * 0.01 * 100 / 6)
    assert line.high - line.at_full == pytest.approx(half)
    assert line.at_full - line.low == pytest.approx(half)


@pytest.mark.parametrize("scale", [0.2, 5.0])
def test_it_is_numpys_weighted_fit(scale: float) -> None:
    draw = np.random.default_rng(4)
    x, sd = np.array([-3.4, -3.0, -2.4, -1.1, -0.9]), np.array([0.03, 0.01, 0.012, 0.004, 0.02])
    y = 0.08 + 0.02 * x + scale * sd * draw.standard_normal(5)
    line = fit_line((10**x).tolist(), y.tolist(), (sd**2).tolist(), [5, 3, 4, 3, 5])
    assert line is not None
    (slope, at_full), unscaled = np.polyfit(x, y, 1, w=1 / sd, cov="unscaled")
    _, scaled = np.polyfit(x, y, 1, w=1 / sd, cov=True)
    assert (line.slope, line.at_full) == (pytest.approx(slope), pytest.approx(at_full))
    half = T2 * math.sqrt(max(unscaled[1, 1], scaled[1, 1]))
    assert (line.low, line.high) == (pytest.approx(at_full - half), pytest.approx(at_full + half))


def test_the_rung_with_the_smaller_spread_decides() -> None:
    line = fit_line(SHARES, [0.0, 0.0, 1.0], [1e-8, 1e-8, 1.0], [3, 3, 3])
    assert line is not None
    assert line.at_full == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("shares", "means", "variances"),
    [
        (SHARES[:2], [1.0, 2.0], [1.0, 1.0]),
        (SHARES, [1.0, 2.0, math.nan], [1.0, 1.0, 1.0]),
        (SHARES, [1.0, 2.0, 3.0], [1.0, 1.0, math.nan]),  # a single pair
        (SHARES, [1.0, 2.0, 3.0], [1.0, 1.0, 0.0]),  # every seed the same
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0]),
        ([], [], []),
    ],
)
def test_there_is_none_where_little_is_known(shares: list[float], means: list[float], variances: list[float]) -> None:
    assert fit_line(shares, means, variances, [3] * len(shares)) is None


def test_a_rung_of_one_pair_is_left_out() -> None:
    three = fit_line(SHARES, [1.0, 2.0, 4.0], [1.0, 2.0, 3.0], [3, 3, 3])
    assert three == fit_line([*SHARES, 0.5], [1.0, 2.0, 4.0, 99.0], [1.0, 2.0, 3.0, math.nan], [3, 3, 3, 1])


def test_the_interval_covers_where_the_truth_is_a_line() -> None:
    draw = np.random.default_rng(0)
    x, spread = np.array([-3.0, -2.5, -1.0]), np.array([0.02, 0.01, 0.01])
    covered = 0
    for _ in range(600):
        seeds = 0.05 + 0.01 * x + spread * draw.standard_normal((3, 3))
        line = fit_line((10**x).tolist(), seeds.mean(0).tolist(), (seeds.var(0, ddof=1) / 3).tolist(), [3, 3, 3])
        assert line is not None
        covered += line.low < 0.05 < line.high
    assert covered / 600 > 0.95
