"""Sums and differences of variants, on numbers that can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ablations.analysis.comparison import Comparison
from ablations.analysis.contrasts import contrast, curve_points, difference, interaction, log_perplexities
from ablations.experiment.kinds import Sweep
from ablations.experiment.suite import load_suite
from tests.ablations.reporting.synthetic import report_data

LOGS = pd.DataFrame(
    {
        "full": [4.0, 4.1, 3.9],
        "one": [4.2, 4.3, 4.1],
        "other": [4.1, 4.2, 4.0],
        "both": [4.4, 4.6, 4.2],
    },
    index=pd.Index([1, 2, 3], name="seed"),
)


def test_an_interaction_is_the_effect_of_both_minus_the_sum_of_each() -> None:
    # both - full: 0.4, 0.5, 0.3; the sum of each: 0.3 in every seed; so 0.1, 0.2 and 0
    found = interaction(LOGS, "both", "one", "other", "full", "t")
    assert (found.pairs, found.mean) == (3, pytest.approx(0.1))
    half = 4.302653 * 0.1 / math.sqrt(3)  # t of 2 degrees of freedom, sd 0.1
    assert (found.low, found.high) == pytest.approx((0.1 - half, 0.1 + half))
    assert not found.decided


def test_effects_that_add_up_have_no_interaction_and_are_of_one_size_in_every_seed() -> None:
    logs = LOGS.assign(both=LOGS["full"] + 0.3)
    found = interaction(logs, "both", "one", "other", "full", "t")
    assert [found.mean, found.low, found.high] == pytest.approx([0, 0, 0], abs=1e-12)


def test_only_seeds_in_which_all_are_finished_count() -> None:
    logs = LOGS.copy()
    logs.loc[2, "other"] = math.nan
    found = interaction(logs, "both", "one", "other", "full", "t")
    assert (found.pairs, found.mean) == (2, pytest.approx(0.05))
    logs["other"] = math.nan
    nothing = interaction(logs, "both", "one", "other", "full", "t")
    assert (nothing.pairs, nothing.decided) == (0, False)
    assert math.isnan(nothing.mean)


def test_one_seed_has_no_interval_and_decides_nothing() -> None:
    found = difference(LOGS.loc[[1]], "one", "full", "t")
    assert (found.pairs, found.mean, found.decided) == (1, pytest.approx(0.2), False)


def test_a_variant_minus_itself_is_nothing() -> None:
    assert contrast(LOGS, [(1, "one"), (-1, "one")], "t").mean == 0
    assert difference(LOGS, "both", "full", "t").decided


@pytest.fixture(scope="module")
def widths(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return report_data(tmp_path_factory.mktemp("widths"), suite=load_suite("widths"), seeds=2)


def test_a_curve_is_in_order_of_its_values_with_the_profiles_own(widths: Comparison) -> None:
    assert isinstance(widths.suite.layout, Sweep)
    logs = log_perplexities(widths, "python-docs")
    full, other, *_ = widths.suite.layout.curves
    points = curve_points(widths, "python-docs", logs, full)
    assert [(point.value, point.own) for point in points] == [(288, False), (575, False), (1150, True), (2300, False)]
    assert points[2].contrast.mean == 0
    assert points[0].contrast.mean == pytest.approx((logs["hidden_size=0.25x"] - logs["full"]).mean())
    beside = curve_points(widths, "python-docs", logs, other)
    expected = (logs["no-weight-drop@hidden_size=2x"] - logs["hidden_size=2x"]).mean()
    assert beside[3].contrast.mean == pytest.approx(expected)
    assert beside[2].contrast.mean == pytest.approx((logs["no-weight-drop"] - logs["full"]).mean())


def test_what_has_not_run_is_no_point(tmp_path: Path) -> None:
    suite = load_suite("widths")
    missing = [("hidden_size=2x", seed) for seed in (1, 2)]
    data = report_data(tmp_path, suite=replace(suite, variants=suite.variants), seeds=2, without=missing)
    assert isinstance(suite.layout, Sweep)
    logs = log_perplexities(data, "python-docs")
    for curve in suite.layout.curves[:2]:
        assert [point.value for point in curve_points(data, "python-docs", logs, curve)] == [288, 575, 1150]
