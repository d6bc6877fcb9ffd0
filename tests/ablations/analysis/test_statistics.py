"""Means, paired differences, intervals and ranks, against numbers worked by hand and SciPy's own tests."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis.statistics import (
    BOOTSTRAP,
    holm,
    mean_interval,
    rank_correlations,
    seed_differences,
    seeds_needed,
    summarise,
    summarise_differences,
)


def runs_frame(*rows: tuple[str, int, str | None, float]) -> pd.DataFrame:
    """Rows of variant, seed, status and validation perplexity; the test's is ten less."""
    frame = pd.DataFrame(rows, columns=["variant", "seed", "status", "valid_ppl"])
    done = frame["status"].eq("done")
    frame["valid_ppl"] = frame["valid_ppl"].where(done)
    return frame.assign(dataset="text", test_ppl=frame["valid_ppl"] - 10, parameters=np.where(done, 24_221_600, np.nan))


@pytest.fixture
def runs() -> pd.DataFrame:
    return runs_frame(
        ("full", 1, "done", 100.0),
        ("full", 2, "done", 104.0),
        ("full", 3, "done", 108.0),
        ("less", 1, "done", 110.0),
        ("less", 2, "done", 114.4),
        ("less", 3, "diverged", math.nan),
        ("once", 1, "failed", math.nan),
        ("once", 2, None, math.nan),
        ("once", 3, "done", 120.0),
        ("never", 1, "diverged", math.nan),
        ("never", 2, None, math.nan),
        ("never", 3, None, math.nan),
    )


def test_mean_and_sd_are_over_finished_runs(runs):
    found = summarise(runs).set_index("variant")
    assert list(found.index) == ["full", "less", "once", "never"]
    assert found.loc["full", ["n", "valid_mean", "valid_sd", "test_mean"]].tolist() == [3, 104.0, 4.0, 94.0]
    assert found.loc["less", "valid_mean"] == pytest.approx(112.2)
    assert found.loc["less", "valid_sd"] == pytest.approx(4.4 / math.sqrt(2))
    assert found.loc["full", "parameters"] == 24_221_600


def test_one_run_has_no_spread_and_none_has_no_mean(runs):
    found = summarise(runs).set_index("variant")
    assert found.loc["once", "valid_mean"] == 120.0
    assert math.isnan(found.loc["once", "valid_sd"])
    assert found.loc["never", ["valid_mean", "test_sd", "parameters"]].isna().all()


def test_what_is_not_finished_is_counted_by_its_kind(runs):
    counts = summarise(runs).set_index("variant")[["planned", "n", "failed", "diverged", "missing"]]
    assert counts.loc["once"].tolist() == [3, 1, 1, 0, 1]
    assert counts.loc["never"].tolist() == [3, 0, 0, 1, 2]


def test_differences_are_paired_by_seed(runs):
    pairs = seed_differences(runs, "full")
    assert pairs[["variant", "seed"]].to_numpy().tolist() == [["less", 1], ["less", 2], ["once", 3]]
    assert pairs["valid_difference"].tolist() == pytest.approx([10.0, 10.4, 12.0])
    assert pairs["valid_log_difference"].tolist() == pytest.approx([math.log(1.1)] * 2 + [math.log(120 / 108)])
    assert pairs["test_difference"].tolist() == pytest.approx([10.0, 10.4, 12.0])


def test_pairs_never_cross_data_sets(runs):
    both = pd.concat([runs, runs.assign(dataset="other", valid_ppl=runs["valid_ppl"] * 2)])
    found = summarise_differences(seed_differences(both, "full")).set_index(["dataset", "variant"])
    assert found.loc[("text", "less"), "valid_difference"] == pytest.approx(10.2)
    assert found.loc[("other", "less"), "valid_difference"] == pytest.approx(20.4)


def test_the_interval_is_that_of_a_paired_t_test():
    ours, base = [110.0, 115.0, 123.0, 109.0], [100.0, 103.0, 108.0, 101.0]
    rows = [("full", seed, "done", value) for seed, value in enumerate(base)]
    rows += [("less", seed, "done", value) for seed, value in enumerate(ours)]
    found = summarise_differences(seed_differences(runs_frame(*rows), "full")).iloc[0]
    expected = stats.ttest_rel(np.log(ours), np.log(base)).confidence_interval(0.95)
    assert (found["valid_log_low"], found["valid_log_high"]) == pytest.approx((expected.low, expected.high))
    assert found["valid_log_sd"] == pytest.approx(np.std(np.log(ours) - np.log(base), ddof=1))
    assert found["pairs"] == 4


def test_two_pairs_have_the_interval_worked_by_hand():
    # differences of 0.1 and 0.3: mean 0.2, sd 0.1414, so 12.7062 * 0.1414 / sqrt(2) = 1.27062 to each side
    rows = [("full", seed, "done", 100.0) for seed in (1, 2)]
    rows += [("less", 1, "done", 100 * math.exp(0.1)), ("less", 2, "done", 100 * math.exp(0.3))]
    found = summarise_differences(seed_differences(runs_frame(*rows), "full")).iloc[0]
    assert found["valid_log_difference"] == pytest.approx(0.2)
    assert found["valid_log_high"] - 0.2 == pytest.approx(1.27062, abs=1e-5)


def test_one_pair_has_no_interval_and_equal_pairs_have_one_of_no_width(runs):
    found = summarise_differences(seed_differences(runs, "full")).set_index("variant")
    assert found.loc["once", ["valid_log_sd", "valid_log_low", "valid_log_high"]].isna().all()
    low, high = found.loc["less", ["valid_log_low", "valid_log_high"]]
    assert low == pytest.approx(math.log(1.1))
    assert high == pytest.approx(math.log(1.1))


def test_without_a_finished_baseline_there_are_no_differences(runs):
    runs.loc[runs["variant"].eq("full"), "status"] = "failed"
    assert summarise_differences(seed_differences(runs, "full")).empty


def differences(ours: list[float], published: list[float]) -> pd.DataFrame:
    frame = pd.DataFrame({"valid_log_difference": ours, "published_valid_log_difference": published})
    names = [f"row {place}" for place in range(len(ours))]
    return frame.assign(dataset="text", variant=names, test_log_difference=np.nan, published_test_log_difference=np.nan)


def test_ranks_agree_and_disagree_with_the_published():
    # one swap of neighbours among four: rho = 1 - 6 * 2 / (4 * 15) = 0.8, tau = (5 - 1) / 6
    found = rank_correlations(differences([1, 2, 4, 3], [0.1, 0.2, 0.3, 0.4])).set_index("split").loc["valid"]
    assert found[["rows", "spearman", "kendall"]].tolist() == pytest.approx([4, 0.8, 4 / 6])
    found = rank_correlations(differences([1, 2, 3], [3, 2, 1])).set_index("split").loc["valid"]
    assert found[["spearman", "kendall"]].tolist() == pytest.approx([-1, -1])


def test_rows_without_both_numbers_are_not_ranked():
    found = rank_correlations(differences([1, math.nan, 3, 4], [1, 2, math.nan, 5])).set_index("split")
    assert found.loc["valid", ["rows", "spearman"]].tolist() == pytest.approx([2, 1])
    assert found.loc["test", "rows"] == 0
    assert math.isnan(found.loc["test", "kendall"])


@pytest.mark.parametrize("ours", [[1.0], [2.0, 2.0, 2.0]])
def test_one_row_or_only_ties_have_no_correlation(ours):
    found = rank_correlations(differences(ours, list(range(len(ours)))))
    assert found["spearman"].isna().all()


def test_the_input_is_left_as_it_was(runs):
    before = runs.copy()
    summarise(runs)
    seed_differences(runs, "full")
    pd.testing.assert_frame_equal(runs, before)


def paired(ours: list[float], base: list[float]) -> pd.DataFrame:
    rows = [("full", seed, "done", value) for seed, value in enumerate(base)]
    rows += [("less", seed, "done", value) for seed, value in enumerate(ours)]
    return seed_differences(runs_frame(*rows), "full")


def test_a_row_says_how_often_it_is_worse_and_how_far_the_seeds_go_together():
    ours, base = [110.0, 102.0, 123.0, 109.0], [100.0, 103.0, 108.0, 101.0]
    found = summarise_differences(paired(ours, base)).iloc[0]
    assert found["valid_worse"] == 3 / 4
    assert found["valid_pairing"] == pytest.approx(np.corrcoef(np.log(ours), np.log(base))[0, 1])
    assert found["valid_p"] == pytest.approx(stats.ttest_rel(np.log(ours), np.log(base)).pvalue)
    assert found["valid_p_holm"] == found["valid_p"], "there is no other row"


def test_an_equal_seed_is_not_a_worse_one():
    found = summarise_differences(paired([110.0, 103.0, 107.0], [100.0, 103.0, 108.0])).iloc[0]
    assert (found["valid_worse"], found["valid_equal"]) == (1 / 3, 1 / 3)


def test_two_seeds_have_no_correlation_and_equal_differences_no_test():
    found = summarise_differences(paired([110.0, 121.0], [100.0, 110.0])).iloc[0]
    assert math.isnan(found["valid_pairing"])
    assert math.isnan(found["valid_p"]) or found["valid_p"] < 1e-6


def test_holm_adjusts_as_published():
    # Holm (1979), by hand: 4 * 0.005, 3 * 0.01, 2 * 0.03, and for 0.04 not less than that
    p = pd.Series([0.01, 0.04, 0.03, 0.005], index=list("abcd"))
    assert holm(p).to_dict() == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert holm(pd.Series([0.6, 0.7])).tolist() == [1.0, 1.0]
    with_missing = holm(pd.Series([0.01, math.nan, 0.02]))
    assert with_missing.tolist()[::2] == pytest.approx([0.02, 0.02])
    assert math.isnan(with_missing[1])


def test_rows_of_a_data_set_are_adjusted_together(runs):
    more = pd.concat(
        [runs, runs[runs["variant"].eq("less")].assign(variant="again", valid_ppl=[111.0, 118.0, math.nan])]
    )
    two = pd.concat([more, more.assign(dataset="other")])
    found = summarise_differences(seed_differences(two, "full")).set_index(["dataset", "variant"])
    for dataset in ("text", "other"):
        raw = found.loc[dataset, "valid_p"]
        assert found.loc[(dataset, "again"), "valid_p_holm"] == pytest.approx(holm(raw)["again"])


def simulated(count: int, seeds: int, mean: float = 0.0) -> np.ndarray:
    """Differences of many studies whose true mean is known, ``(count, seeds)``."""
    return np.random.default_rng(7).normal(mean, 0.02, size=(count, seeds))


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_t_intervals_cover_as_often_as_they_say(seeds):
    bounds = np.array([mean_interval(values) for values in simulated(4000, seeds, mean=0.03)])
    covered = ((bounds[:, 0] < 0.03) & (bounds[:, 1] > 0.03)).mean()
    assert covered == pytest.approx(0.95, abs=0.02)


def test_bootstrap_intervals_are_percentiles_and_rough_where_seeds_are_few():
    values = np.array([0.1, 0.2, 0.4])
    low, high = mean_interval(values, BOOTSTRAP)
    assert (low, high) == mean_interval(values, BOOTSTRAP), "the same at each call"
    # of 27 ordered samples of three one is 0.1 thrice: 3.7%, so that the 2.5% level is its mean
    assert (low, high) == pytest.approx((0.1, 0.4))
    studies = simulated(300, 3)
    covered = np.mean([low < 0 < high for low, high in (mean_interval(values, BOOTSTRAP) for values in studies)])
    assert covered < 0.9, "which is why reports call it rough"


def test_enough_seeds_make_the_interval_leave_out_the_bound():
    # by the tables of t: 2.571 * 1 / sqrt(6) = 1.0497 and 2.447 / sqrt(7) = 0.9249
    assert seeds_needed(1.0, 1.0) == 7
    assert seeds_needed(-1.0, 1.0) == 7
    # and 4.032 / sqrt(6) = 1.646, 4.604 / sqrt(5) = 2.059
    assert seeds_needed(2.0, 1.0, confidence=0.99) == 6
    assert seeds_needed(1.0, 0.0) == 2
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(1e-6, 1.0) is None
    assert seeds_needed(1.0, math.nan) is None


def test_what_a_seed_does_to_every_row_alike_changes_no_interval_of_ranks():
    table = np.random.default_rng(5).normal(np.arange(1, 9) / 100, 0.01, size=(5, 8))

    def intervals(of_seed: np.ndarray) -> pd.DataFrame:
        values = table + of_seed[:, None]
        rows = [("full", seed, "done", 100.0) for seed in range(5)]
        rows += [(f"row {row}", seed, "done", 100 * math.exp(change)) for (seed, row), change in np.ndenumerate(values)]
        return rank_correlations(
            differences(values.mean(axis=0).tolist(), (np.arange(1, 9) / 100).tolist()),
            seed_differences(runs_frame(*rows), "full"),
        )

    shifted = np.array([-0.1, -0.05, 0.0, 0.05, 0.1])
    columns = ["spearman_low", "spearman_high", "kendall_low", "kendall_high"]
    found, expected = (intervals(of_seed)[columns].iloc[0].tolist() for of_seed in (shifted, np.zeros(5)))
    assert found == pytest.approx(expected, abs=0.02)


def test_ranks_have_intervals_over_seeds():
    draw = np.random.default_rng(3)
    true = np.arange(1, 9) / 100
    rows = [("full", seed, "done", 100.0) for seed in range(5)]
    for variant, change in enumerate(true):
        rows += [(f"row {variant}", seed, "done", 100 * math.exp(change + 0.01 * draw.normal())) for seed in range(5)]
    seeds = seed_differences(runs_frame(*rows), "full")
    ours = summarise_differences(seeds)["valid_log_difference"].tolist()
    frame = differences(ours, true.tolist())
    found = rank_correlations(frame, seeds).set_index("split").loc["valid"]
    assert -1 <= found["spearman_low"] <= found["spearman"] <= found["spearman_high"] <= 1
    assert found["spearman_low"] < found["spearman_high"]
    assert found["kendall_low"] <= found["kendall"] <= found["kendall_high"]
    pd.testing.assert_frame_equal(rank_correlations(frame, seeds), rank_correlations(frame, seeds))
    # drawn one by one, from a two-way layout with 4 * 7 degrees of freedom
    table = seeds.pivot(index="seed", columns="variant", values="valid_log_difference").to_numpy()
    rest = [value - table[i].mean() - table[:, j].mean() + table.mean() for (i, j), value in np.ndenumerate(table)]
    error = math.sqrt(sum(value**2 for value in rest) / 28 / 5)
    for name, correlate in (("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
        apart = []
        for _ in range(1000):
            spread = error * math.sqrt(28 / draw.chisquare(28))
            apart.append(
                abs(correlate(table.mean(axis=0) + spread * draw.normal(size=8), true).statistic - found[name])
            )
        assert max(found[name] - np.quantile(apart, 0.95), -1) == pytest.approx(found[f"{name}_low"], abs=0.06)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6, 7], [0, 3, 2, 1, 4, 6, 5, 7]], ids=["the paper's", "another"])
def test_intervals_of_ranks_cover_as_often_as_they_say(order, seeds):
    # the paper's eight changes on Penn Treebank, half as large, and seeds 1.5 per cent apart beside what they share
    published = np.array([1.2, 10.0, 2.1, 8.2, 6.0, 4.4, 12.5, 17.0])
    true, draw, studies = published[order] / 200, np.random.default_rng(5), 150
    truth = [stats.spearmanr(true, published).statistic, stats.kendalltau(true, published).statistic]
    tables = true + 0.015 * draw.normal(size=(studies, seeds, 8)) + 0.02 * draw.normal(size=(studies, seeds, 1))
    by_seed = [
        {"dataset": f"study {study}", "seed": seed, "variant": f"row {row}", "valid_log_difference": value}
        for (study, seed, row), value in np.ndenumerate(tables)
    ]
    frames = [differences(list(table.mean(axis=0)), list(published)) for table in tables]
    frame = pd.concat([one.assign(dataset=f"study {study}") for study, one in enumerate(frames)])
    found = rank_correlations(frame, pd.DataFrame(by_seed).assign(test_log_difference=np.nan))
    found = found[found["split"].eq("valid")]
    for name, value in zip(("spearman", "kendall"), truth, strict=True):
        covers = found[f"{name}_low"].le(value + 1e-9) & found[f"{name}_high"].ge(value - 1e-9)
        assert covers.mean() > 0.9


@pytest.mark.filterwarnings("error")
def test_one_row_has_no_rank_and_no_interval_of_one():
    rows = [(variant, seed, "done", 100.0 + seed) for variant in ("full", "row 0") for seed in range(3)]
    found = rank_correlations(differences([1], [2]), seed_differences(runs_frame(*rows), "full"))
    assert found["rows"].tolist() == [1, 0]
    assert found[["spearman", "spearman_low", "kendall_high"]].isna().all(axis=None)


def test_seeds_that_lack_a_row_are_left_out_of_the_intervals_of_ranks(runs):
    frame = differences([1.0, 2.0], [1.0, 2.0]).assign(variant=["less", "once"])
    found = rank_correlations(frame, seed_differences(runs, "full")).set_index("split").loc["valid"]
    assert math.isnan(found["spearman_low"]), "no seed has both"
