"""Verdicts on our seeds, and that they err as rarely as they say."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from ablations.analysis.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED, judge
from ablations.experiment.hypotheses import Hypotheses, Hypothesis
from ablations.experiment.suite import Suite, Variant

THREE = Suite("three", "three rows", "full", tuple(Variant(name, name) for name in ("full", "first", "second")))


def runs(**changes: list[float]) -> pd.DataFrame:
    """Runs whose log-perplexities are 4 for the full model plus these, a list a row with an entry a seed."""
    count = max(map(len, changes.values()))
    rows = [
        ("text", name, seed, "done", math.exp(4 + change), math.exp(4 + change))
        for name, values in {"full": [0.0] * count, **changes}.items()
        for seed, change in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["dataset", "variant", "seed", "status", "valid_ppl", "test_ppl"])


def verdict(hypothesis: Hypothesis, frame: pd.DataFrame) -> pd.Series:
    found = judge(Hypotheses("here", (hypothesis,)), frame, THREE).set_index("split")
    assert found.loc["valid", "verdict"] == found.loc["test", "verdict"]
    return found.loc["valid"]


WORSE = Hypothesis("worse", "the row is worse", ("first",), more_than=3)
NOT_MUCH = Hypothesis("not much", "but not much", ("first",), less_than=3)
MOST = Hypothesis("most", "the row is worst", ("first",), more_than_others_by=0)
BOTH = Hypothesis("both", "both are worse", ("first", "second"), more_than=0)


def test_an_interval_on_one_side_decides() -> None:
    far, near = [0.10, 0.11, 0.12], [0.01, 0.011, 0.012]
    assert verdict(WORSE, runs(first=far))["verdict"] == SUPPORTED
    assert verdict(WORSE, runs(first=near))["verdict"] == CONTRADICTED
    assert verdict(NOT_MUCH, runs(first=far))["verdict"] == CONTRADICTED
    assert verdict(NOT_MUCH, runs(first=near))["verdict"] == SUPPORTED
    assert verdict(WORSE, runs(first=[0.0, 0.04, 0.10]))["verdict"] == UNDECIDED


def test_the_evidence_is_the_difference_and_its_interval() -> None:
    found = verdict(WORSE, runs(first=[0.10, 0.11, 0.12]))
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert found[["pairs", "row", "other", "bound"]].tolist() == [3, "first", "full", 0.03]
    assert found[["difference", "low", "high"]].tolist() == pytest.approx([0.11, 0.11 - half, 0.11 + half])
    turned = verdict(NOT_MUCH, runs(first=[0.10, 0.11, 0.12]))
    assert turned[["difference", "low", "high"]].tolist() == pytest.approx([0.11, 0.11 - half, 0.11 + half])


def test_one_seed_or_none_decides_nothing() -> None:
    assert verdict(WORSE, runs(first=[0.5]))["verdict"] == UNDECIDED
    none = verdict(WORSE, runs(second=[0.5, 0.6]))
    assert (none["verdict"], none["pairs"], none["row"]) == (UNDECIDED, 0, "first")
    assert pd.isna(none["seeds_needed"])


def test_the_evidence_is_of_one_row_with_its_own_number_of_pairs() -> None:
    some = runs(first=[0.05, 0.051], second=[0.05, 0.051, 0.06])
    found = verdict(BOTH, some[~(some["variant"].eq("first") & some["seed"].eq(1))])
    assert (found["row"], found["pairs"]) == ("first", 1)
    assert verdict(BOTH, runs(first=[0.05], second=[]))["row"] == "second", "least is known of a row without a run"


def test_equal_runs_decide_nothing() -> None:
    assert verdict(BOTH, runs(first=[0.0, 0.0], second=[0.1, 0.11]))["verdict"] == UNDECIDED


def test_unfinished_runs_do_not_count() -> None:
    frame = runs(first=[0.10, 0.11, 0.12])
    frame.loc[frame["variant"].eq("first") & frame["seed"].gt(0), "status"] = "paused"
    assert verdict(WORSE, frame)["pairs"] == 1


def test_rows_are_compared_with_each_other_seed_by_seed() -> None:
    together = [0.0, 0.1, 0.2]  # what seeds have in common falls away
    frame = runs(first=[0.02 + x for x in together], second=[0.01 + x - 0.001 * i for i, x in enumerate(together)])
    assert verdict(MOST, frame)["verdict"] == SUPPORTED
    assert verdict(BOTH, frame)["verdict"] == UNDECIDED


def test_all_must_hold_and_one_is_enough_against() -> None:
    good, bad, unclear = [0.05, 0.051, 0.052], [-0.05, -0.051, -0.052], [-0.01, 0.0, 0.02]
    assert verdict(BOTH, runs(first=good, second=good))["verdict"] == SUPPORTED
    assert verdict(BOTH, runs(first=good, second=unclear))["verdict"] == UNDECIDED
    against = verdict(BOTH, runs(first=unclear, second=bad))
    assert (against["verdict"], against["row"]) == (CONTRADICTED, "second"), "what speaks against it is shown"


def test_seeds_that_would_decide_are_counted_from_the_spread() -> None:
    found = verdict(WORSE, runs(first=[0.03 + x for x in (0.0, 0.01, 0.02)]))
    assert (found["verdict"], found["seeds_needed"]) == (UNDECIDED, 7), (
        "mean and sd are 0.01: as for t in test_statistics"
    )
    assert pd.isna(verdict(WORSE, runs(first=[0.10, 0.11, 0.12]))["seeds_needed"])
    assert pd.isna(verdict(WORSE, runs(first=[0.10]))["seeds_needed"])


def test_all_of_several_rows_need_as_many_seeds_as_the_slowest() -> None:
    slow, quick = [0.03 + x for x in (0.0, 0.01, 0.02)], [0.03 + x for x in (0.0, 0.01, 0.013)]
    first, second = (verdict(WORSE, runs(first=values))["seeds_needed"] for values in (slow, quick))
    assert first > second
    bound_of_both = verdict(BOTH, runs(first=[x - 0.03 for x in slow], second=[x - 0.03 for x in quick]))
    assert (bound_of_both["verdict"], bound_of_both["seeds_needed"]) == (UNDECIDED, first)


def test_more_seeds_decide_against_one_of_several_rows() -> None:
    # 95% of five leave out 0, but not the 97.5% that two rows ask for:
    # 0.0083 * 3.163 / sqrt(6) is above 0.0104, the mean,
    # and 0.0083 * 2.969 / sqrt(7) below
    unclear, below = [-0.04, 0.0, 0.05, 0.0, 0.01], [-0.022, -0.014, -0.010, -0.006, 0.0]
    found = verdict(BOTH, runs(first=unclear, second=below))
    assert found["verdict"] == UNDECIDED
    assert found["seeds_needed"] == 7


@pytest.mark.parametrize("seeds", [4])
@pytest.mark.parametrize(
    ("hypothesis", "true"),
    [(WORSE, {"first": 0.03}), (MOST, {"first": 0.1, "second": 0.1}), (BOTH, {"first": 0.0, "second": 0.0})],
    ids=["one", "of two rows", "two at once"],
)
def test_verdicts_err_as_rarely_as_they_say(hypothesis: Hypothesis, true: dict[str, float], seeds: int) -> None:
    # at the very bound either verdict is an error, and 2.5% of each is what is promised
    draw, frames = np.random.default_rng(11), []

    def study() -> pd.DataFrame:
        return runs(**{name: (value + 0.02 * draw.normal(size=seeds)).tolist() for name, value in true.items()})

    # 800 studies, every second one as the test split of the one before
    for place in range(400):
        valid, test = study(), study()
        frames.append(valid.assign(dataset=f"study {place}", test_ppl=test["valid_ppl"]))
    found = judge(Hypotheses("here", (hypothesis,)), pd.concat(frames), THREE)
    shares = found["verdict"].value_counts(normalize=True)
    assert len(found) == 800
    assert shares.get(SUPPORTED, 0.0) < 0.025 + 0.016
    assert 0.009 < shares.get(CONTRADICTED, 0.0) < 0.025 + 0.016
