"""Means, paired differences and rank correlations: pure functions from frames to frames.

Perplexities are compared as logarithms: the log-perplexity is the loss in nats per token, and its change (times 100,
about a percentage) can be compared between corpora and scales where a change in perplexity cannot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ablations.storage.status import UNFINISHED, Status

SPLITS = ("valid", "test")
CONFIDENCE = 0.95
T, BOOTSTRAP = "t", "bootstrap"
RESAMPLES = 2000
MOST_SEEDS = 1000
ROUGH = 6  # seeds under which a bootstrap interval is too narrow to be believed
KEYS = ["dataset", "variant"]


def summarise(runs: pd.DataFrame) -> pd.DataFrame:
    """What each variant reached, over its finished runs.

    Args:
        runs: one row per planned run, as :attr:`ablations.analysis.comparison.Comparison.runs`.

    Returns:
        One row per data set and variant, in the order of ``runs``: ``dataset, variant``; ``planned`` runs; ``n``
        of them finished; ``failed``, ``diverged``, ``paused`` and ``missing`` (not recorded) ones; ``valid_mean,
        valid_sd, test_mean, test_sd`` of perplexity (sd with n - 1; missing where there is nothing to take it of);
        ``parameters``.
    """
    status = runs["status"].fillna(Status.MISSING)
    runs = runs.assign(**{name: status.eq(name) for name in (Status.DONE, *UNFINISHED)})
    groups = runs.groupby(KEYS, sort=False)
    counts = groups.agg(
        planned=("seed", "size"),
        n=(Status.DONE, "sum"),
        **{name: (name, "sum") for name in UNFINISHED},
    )
    done = runs[runs[Status.DONE]].groupby(KEYS, sort=False)
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
        A row for each pair of which both are finished, the baseline itself left out: ``dataset, variant, seed``; then
        for ``valid`` and ``test`` each ``_difference`` in perplexity, ``_log_difference`` in nats, and the two
        log-perplexities themselves, ``_log`` and ``_log_of_baseline``.
    """
    columns = [f"{split}_ppl" for split in SPLITS]
    done = runs.loc[runs["status"].eq(Status.DONE), [*KEYS, "seed", *columns]]
    is_baseline = done["variant"].eq(baseline)
    of_baseline = done[is_baseline].drop(columns="variant")
    pairs = done[~is_baseline].merge(of_baseline, on=["dataset", "seed"], suffixes=("", "_of_baseline"))
    for split in SPLITS:
        ours, theirs = pairs[f"{split}_ppl"], pairs[f"{split}_ppl_of_baseline"]
        pairs[f"{split}_difference"] = ours - theirs
        pairs[f"{split}_log"], pairs[f"{split}_log_of_baseline"] = np.log(ours), np.log(theirs)
        pairs[f"{split}_log_difference"] = pairs[f"{split}_log"] - pairs[f"{split}_log_of_baseline"]
    return pairs.drop(columns=[*columns, *(f"{column}_of_baseline" for column in columns)])


def summarise_differences(differences: pd.DataFrame, interval: str = T) -> pd.DataFrame:
    """Mean paired differences with 95% intervals.

    Args:
        differences: as :func:`seed_differences` gives them.
        interval: ``t``, of Student's t; or ``bootstrap``, over seeds, which is rough under six of them.

    Returns:
        One row per data set and variant: ``dataset, variant``; ``pairs`` of runs; then for ``valid`` and ``test`` each:
        ``_difference`` (mean, perplexity), ``_log_difference`` (mean), ``_log_sd``, ``_log_low`` and ``_log_high``
        (the interval), ``_worse`` and ``_equal`` (shares of pairs in which the variant is the worse, or as good),
        ``_pairing`` (correlation of its log-perplexities with the baseline's, over seeds), ``_p`` (two-sided paired t
        test) and ``_p_holm`` (adjusted for all variants of the data set). What one pair cannot tell is missing.
    """
    groups = differences.groupby(KEYS, sort=False)
    frame = groups.agg(pairs=("seed", "size"))
    for split in SPLITS:
        frame[f"{split}_difference"] = groups[f"{split}_difference"].mean()
        logs = groups[f"{split}_log_difference"]
        frame[f"{split}_log_difference"], frame[f"{split}_log_sd"] = logs.mean(), logs.std()
        bounds = {key: mean_interval(values.to_numpy(), interval) for key, values in logs}
        frame[f"{split}_log_low"] = pd.Series({key: low for key, (low, _) in bounds.items()}, dtype=float)
        frame[f"{split}_log_high"] = pd.Series({key: high for key, (_, high) in bounds.items()}, dtype=float)
        frame[f"{split}_worse"] = logs.agg(lambda values: (values > 0).mean())
        frame[f"{split}_equal"] = logs.agg(lambda values: (values == 0).mean())
        frame[f"{split}_pairing"] = pd.Series(
            {key: _correlation(pairs[f"{split}_log"], pairs[f"{split}_log_of_baseline"]) for key, pairs in groups},
            dtype=float,
        )
        error = frame[f"{split}_log_sd"] / np.sqrt(frame["pairs"])
        statistic = (frame[f"{split}_log_difference"] / error.replace(0.0, np.nan)).abs()
        frame[f"{split}_p"] = 2 * stats.t.sf(statistic, frame["pairs"] - 1)
        frame[f"{split}_p_holm"] = frame.groupby("dataset", sort=False)[f"{split}_p"].transform(holm)
    return frame.reset_index()


def mean_interval(values: np.ndarray, kind: str = T) -> tuple[float, float]:
    """The 95% interval of a mean; missing for fewer than two values.

    Args:
        values: independent ones, one per seed.
        kind: ``t``, or ``bootstrap``: the percentiles of the means of resampled values, the same at each call.
    """
    if len(values) < 2:
        return np.nan, np.nan
    if kind == BOOTSTRAP:
        found = stats.bootstrap(
            (values,), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=0
        ).confidence_interval
        return float(found.low), float(found.high)
    # not t.interval, which has no answer where all values are the same
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def holm(p: pd.Series[float]) -> pd.Series[float]:
    """P values adjusted for being several (Holm 1979): the smallest times their number, the next times one less, and so
    on, none smaller than the one before; missing ones do not count."""
    ordered = p.dropna().sort_values()
    adjusted = (ordered * np.arange(len(ordered), 0, -1)).cummax().clip(upper=1.0)
    return adjusted.reindex(p.index)


def seeds_needed(mean: float, sd: float, confidence: float = CONFIDENCE) -> int | None:
    """How many seeds make a t interval about this mean leave out 0, if mean and spread stay as they are.

    Returns:
        ``None`` where no reasonable number does, or nothing is known of the spread.
    """
    distance = abs(mean)
    if not distance > 0 or not np.isfinite(sd):
        return None
    counts = np.arange(2, MOST_SEEDS + 1)
    enough = stats.t.ppf((1 + confidence) / 2, counts - 1) * sd / np.sqrt(counts) < distance
    return int(counts[enough.argmax()]) if enough.any() else None


def rank_correlations(differences: pd.DataFrame, seeds: pd.DataFrame | None = None) -> pd.DataFrame:
    """Whether two lists of differences put the variants in the same order.

    Args:
        differences: one row per data set and variant, with ``valid_log_difference, published_valid_log_difference`` and
            likewise for test; rows that lack either are left out.
        seeds: our differences by seed (:func:`seed_differences`), for intervals.

    Returns:
        One row per data set and split: ``dataset, split``; ``rows`` that were ranked; ``spearman`` and ``kendall``
        (tau-b), missing where fewer than two rows, or only ties, could be ranked; and of each ``_low`` and ``_high``, a
        95% interval over seeds, missing where fewer than two seeds have all rows.
    """
    found = []
    for dataset, group in differences.groupby("dataset", sort=False):
        for split in SPLITS:
            both = group[["variant", f"{split}_log_difference", f"published_{split}_log_difference"]].dropna()
            ours, theirs = both.iloc[:, 1].to_numpy(), both.iloc[:, 2].to_numpy()
            table = _by_seed(seeds, dataset, list(both["variant"]), split)
            found.append((dataset, split, len(both), *_correlate(ours, theirs), *_correlation_intervals(table, theirs)))
    names = ["spearman", "kendall", "spearman_low", "spearman_high", "kendall_low", "kendall_high"]
    return pd.DataFrame(found, columns=["dataset", "split", "rows", *names])


def _by_seed(seeds: pd.DataFrame | None, dataset: Any, variants: list[str], split: str) -> np.ndarray:
    """Differences in log-perplexity, ``(seeds, variants)``, of the seeds that have all."""
    if seeds is None:
        return np.empty((0, len(variants)))
    of_dataset = seeds[seeds["dataset"].eq(dataset)]
    table = of_dataset.pivot(index="seed", columns="variant", values=f"{split}_log_difference")
    return table.reindex(columns=variants).dropna().to_numpy()


def _correlation_intervals(table: np.ndarray, theirs: np.ndarray) -> tuple[float, ...]:
    """Symmetric intervals (Hall 1988) over draws around the means, ``table`` being ``(seeds, rows)``.

    The spread is that of all rows together, what a seed does to every row alike left out, since it changes no order.
    Percentiles of resampled seeds would not do: noise only worsens a perfect order, and few seeds resample too little.
    """
    seeds, rows = table.shape
    ours = table.mean(axis=0) if seeds > 1 else np.full(rows, np.nan)
    reached = _correlate(ours, theirs)
    if np.isnan(reached).any():
        return (np.nan,) * 4
    residuals = table - table.mean(axis=1, keepdims=True) - ours + table.mean()
    freedom = (seeds - 1) * (rows - 1)
    draw = np.random.default_rng(0)
    heavy = np.sqrt(freedom / draw.chisquare(freedom, size=(RESAMPLES, 1)))  # of Student's t
    error = np.sqrt(np.square(residuals).sum() / freedom / seeds)
    drawn = ours + error * heavy * draw.standard_normal((RESAMPLES, rows))
    bounds = []
    for found, mean in zip(_correlate_all(drawn, theirs), reached, strict=True):
        half = np.quantile(np.abs(found - mean), CONFIDENCE)
        bounds += [max(mean - half, -1.0), min(mean + half, 1.0)]
    return tuple(bounds)


def _correlate_all(ours: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spearman and Kendall (tau-b) of each row of ``ours``, ``(draws, rows)``, with ``theirs``, ``(rows,)``."""
    ranks, to = stats.rankdata(ours, axis=1), stats.rankdata(theirs)
    ranks, to = ranks - ranks.mean(axis=1, keepdims=True), to - to.mean()
    spearman = ranks @ to / np.sqrt(np.square(ranks).sum(axis=1) * np.square(to).sum())
    first, second = np.triu_indices(len(theirs), 1)
    order, of = np.sign(ours[:, first] - ours[:, second]), np.sign(theirs[first] - theirs[second])
    kendall = order @ of / np.sqrt(np.abs(order).sum(axis=1) * np.abs(of).sum())
    return spearman, kendall


def _correlate(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    if len(np.unique(ours)) < 2 or len(np.unique(theirs)) < 2:
        return np.nan, np.nan
    return float(stats.spearmanr(ours, theirs).statistic), float(stats.kendalltau(ours, theirs).statistic)


def _correlation(ours: pd.Series[float], theirs: pd.Series[float]) -> float:
    # of two seeds it is 1 or -1 and says nothing
    if len(ours) < 3 or ours.nunique() < 2 or theirs.nunique() < 2:
        return np.nan
    return float(stats.pearsonr(ours, theirs).statistic)
