"""Means, paired differences and rank correlations: pure functions from frames to frames.

Perplexities are compared as logarithms: the log-perplexity is the loss in nats a token, and its change (times 100,
about a percentage) can be compared between corpora and scales where a change in perplexity cannot.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from ablations.store import DIVERGED, DONE, FAILED, PAUSED

SPLITS = ("valid", "test")
CONFIDENCE = 0.95
KEYS = ["dataset", "variant"]


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """What each variant reached, over its finished runs.

    Args:
        runs: a row a planned run, as :attr:`ablations.report.data.ReportData.runs`.

    Returns:
        A row a data set and variant, in the order of ``runs``: ``dataset, variant``; ``planned`` runs; ``n`` of them
        finished; ``failed``, ``diverged``, ``paused`` and ``missing`` (not recorded) ones; ``valid_mean, valid_sd,
        test_mean, test_sd`` of perplexity (sd with n - 1; missing where there is nothing to take it of);
        ``parameters``.
    """
    runs = runs.assign(
        **{status: runs["status"].eq(status) for status in (DONE, FAILED, DIVERGED, PAUSED)},
        missing=runs["status"].isna(),
    )
    groups = runs.groupby(KEYS, sort=False)
    counts = groups.agg(
        planned=("seed", "size"),
        n=(DONE, "sum"),
        failed=(FAILED, "sum"),
        diverged=(DIVERGED, "sum"),
        paused=(PAUSED, "sum"),
        missing=("missing", "sum"),
    )
    done = runs[runs[DONE]].groupby(KEYS, sort=False)
    reached = done.agg(
        valid_mean=("valid_ppl", "mean"),
        valid_sd=("valid_ppl", "std"),
        test_mean=("test_ppl", "mean"),
        test_sd=("test_ppl", "std"),
        parameters=("parameters", "max"),
    )
    frame = counts.join(reached).reset_index()
    return frame.astype({"parameters": "Int64"})


def seed_differences(runs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Each finished run minus the baseline's run of the same data set and seed.

    Args:
        runs: as for :func:`summarise`.
        baseline: name of the variant that is subtracted.

    Returns:
        A row for each pair of which both are finished, the baseline itself left out: ``dataset, variant, seed``;
        ``valid_difference, test_difference`` in perplexity; ``valid_log_difference, test_log_difference`` in nats.
    """
    columns = [f"{split}_ppl" for split in SPLITS]
    done = runs.loc[runs["status"].eq(DONE), [*KEYS, "seed", *columns]]
    is_baseline = done["variant"].eq(baseline)
    of_baseline = done[is_baseline].drop(columns="variant")
    pairs = done[~is_baseline].merge(of_baseline, on=["dataset", "seed"], suffixes=("", "_of_baseline"))
    for split in SPLITS:
        ours, theirs = pairs[f"{split}_ppl"], pairs[f"{split}_ppl_of_baseline"]
        pairs[f"{split}_difference"] = ours - theirs
        pairs[f"{split}_log_difference"] = np.log(ours) - np.log(theirs)
    return pairs.drop(columns=[*columns, *(f"{column}_of_baseline" for column in columns)])


def summarise_differences(differences: pd.DataFrame) -> pd.DataFrame:
    """Mean paired differences with 95% t intervals.

    Args:
        differences: as :func:`seed_differences` gives them.

    Returns:
        A row a data set and variant: ``dataset, variant``; ``pairs`` of runs; then for ``valid`` and ``test`` each:
        ``_difference`` (mean, perplexity), ``_log_difference`` (mean), ``_log_sd``, ``_log_low`` and ``_log_high``
        (the interval; sd and bounds are missing for a single pair).
    """
    groups = differences.groupby(KEYS, sort=False)
    frame = groups.agg(pairs=("seed", "size"))
    for split in SPLITS:
        frame[f"{split}_difference"] = groups[f"{split}_difference"].mean()
        logs = groups[f"{split}_log_difference"]
        mean, sd = logs.mean(), logs.std()
        # not t.interval, which has no answer where all pairs differ by the same
        half = stats.t.ppf((1 + CONFIDENCE) / 2, frame["pairs"] - 1) * sd / np.sqrt(frame["pairs"])
        frame[f"{split}_log_difference"], frame[f"{split}_log_sd"] = mean, sd
        frame[f"{split}_log_low"], frame[f"{split}_log_high"] = mean - half, mean + half
    return frame.reset_index()


def rank_correlations(differences: pd.DataFrame) -> pd.DataFrame:
    """Whether two lists of differences put the variants in the same order.

    Args:
        differences: a row a data set and variant, with ``valid_log_difference, published_valid_log_difference`` and
            likewise for test; rows that lack either are left out.

    Returns:
        A row a data set and split: ``dataset, split``; ``rows`` that were ranked; ``spearman`` and ``kendall`` (tau-b),
        missing where fewer than two rows, or only ties, could be ranked.
    """
    found = []
    for dataset, group in differences.groupby("dataset", sort=False):
        for split in SPLITS:
            both = group[[f"{split}_log_difference", f"published_{split}_log_difference"]].dropna()
            found.append((dataset, split, len(both), *_correlate(both.iloc[:, 0], both.iloc[:, 1])))
    return pd.DataFrame(found, columns=["dataset", "split", "rows", "spearman", "kendall"])


def _correlate(ours: pd.Series[float], theirs: pd.Series[float]) -> tuple[float, float]:
    if ours.nunique() < 2 or theirs.nunique() < 2:
        return np.nan, np.nan
    return float(stats.spearmanr(ours, theirs).statistic), float(stats.kendalltau(ours, theirs).statistic)
