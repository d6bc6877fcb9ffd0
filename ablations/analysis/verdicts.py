"""Whether our seeds support or contradict what a paper concludes (:mod:`ablations.experiment.hypotheses`).

Of each inequality we ask whether the 95% t interval of the paired difference lies on one side of its bound, so that a
wrong verdict "supported" or "contradicted" comes out at most once in forty times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.statistics import CONFIDENCE, SPLITS, mean_interval, seeds_needed
from ablations.experiment.hypotheses import Hypotheses, Hypothesis, Inequality
from ablations.experiment.suite import Suite
from ablations.storage.status import Status

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"


def judge(hypotheses: Hypotheses, runs: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """Whether finished runs support each hypothesis, data set by data set.

    A hypothesis of several inequalities is supported when every one is, and contradicted when one is beyond what their
    number explains (Bonferroni); each hypothesis is judged by itself.

    Args:
        runs: one row per planned run, as :attr:`ablations.analysis.comparison.Comparison.runs`.

    Returns:
        One row per data set, split and hypothesis: ``dataset, split, hypothesis, verdict``; then the inequality that
        stands weakest, ``row, other, bound``, with its ``pairs`` of runs, and the difference between the two in
        log-perplexity, ``difference, low, high``; ``seeds_needed`` for a verdict if mean and spread stay as they are,
        missing where there is one, no number would do or nothing is known of the spread.
    """
    finished = dict(iter(runs[runs["status"].eq(Status.DONE)].groupby("dataset")))
    found = []
    for dataset in dict.fromkeys(runs["dataset"]):
        for split in SPLITS:
            table = _by_variant(finished.get(dataset, runs.iloc[:0]), split)
            found += [
                {"dataset": dataset, "split": split, "hypothesis": hypothesis.name, **_judge(hypothesis, table, suite)}
                for hypothesis in hypotheses.hypotheses
            ]
    return pd.DataFrame(found).astype({"seeds_needed": "Int64"})


def _by_variant(runs: pd.DataFrame, split: str) -> dict[Any, np.ndarray]:
    """Log-perplexities of each variant, ``(seeds,)``, the same seeds in the same places; missing where not finished."""
    table = runs.pivot(index="seed", columns="variant", values=f"{split}_ppl")
    return {name: np.log(table[name].to_numpy(float)) for name in table}


def _judge(hypothesis: Hypothesis, table: dict[Any, np.ndarray], suite: Suite) -> dict[str, object]:
    tried = [_try(inequality, table) for inequality in hypothesis.inequalities(suite)]
    level = (1 - CONFIDENCE) / 2
    if all(one.low > 0 for one in tried):
        verdict = SUPPORTED
    elif any(one.p_below < level / len(tried) for one in tried):
        verdict = CONTRADICTED
    else:
        verdict = UNDECIDED
    weakest = min(tried, key=_speaks_against if verdict == CONTRADICTED else _is_weak)
    inequality = weakest.inequality
    bounds = sorted(inequality.sign * value + inequality.bound for value in (weakest.low, weakest.high))
    return {
        "verdict": verdict,
        "pairs": weakest.pairs,
        "row": inequality.row,
        "other": inequality.other,
        "bound": inequality.bound,
        "difference": inequality.sign * weakest.mean + inequality.bound,
        "low": bounds[0],
        "high": bounds[1],
        "seeds_needed": None if verdict != UNDECIDED else _seeds_needed(tried),
    }


@dataclass(frozen=True)
class _Tried:
    """An inequality on our seeds, turned so that above 0 speaks for it; interval and chance are missing for one."""

    inequality: Inequality
    pairs: int
    mean: float
    sd: float
    low: float
    high: float
    p_below: float


def _speaks_against(one: _Tried) -> float:
    return math.inf if math.isnan(one.p_below) else one.p_below


def _is_weak(one: _Tried) -> tuple[int, float]:
    """First that of which least is known: no pair, a single one, the lowest bound of an interval."""
    return min(one.pairs, 2), -math.inf if one.pairs == 0 else one.mean if one.pairs == 1 else one.low


def _try(inequality: Inequality, table: dict[Any, np.ndarray]) -> _Tried:
    nothing = np.full(1, np.nan)
    row, other = (table.get(name, nothing) for name in (inequality.row, inequality.other))
    values = inequality.sign * (row - other - inequality.bound)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        mean = values.mean() if len(values) else np.nan
        return _Tried(inequality, len(values), mean, np.nan, np.nan, np.nan, np.nan)
    low, high = mean_interval(values)
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    error = sd / np.sqrt(len(values))
    # of a mean so low by chance, where the true one is the bound
    p_below = float(stats.t.cdf(mean / error, len(values) - 1)) if error > 0 else float(mean >= 0)
    return _Tried(inequality, len(values), mean, sd, low, high, p_below)


def _seeds_needed(tried: Sequence[_Tried]) -> int | None:
    """For what the means point at: all inequalities, or the first of those that speak against it."""
    against = [one for one in tried if one.mean < 0]
    if against:
        level = 1 - (1 - CONFIDENCE) / len(tried)
        known = [seeds_needed(one.mean, one.sd, level) for one in against]
        return min((count for count in known if count is not None), default=None)
    needed = [seeds_needed(one.mean, one.sd) for one in tried if not one.low > 0]
    return None if None in needed else max(filter(None, needed), default=None)
