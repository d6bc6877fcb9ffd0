"""What a paper concludes from its table, as inequalities; and whether our seeds support or contradict them.

Of each inequality we ask whether the 95% t interval of the paired difference lies on one side of its bound, so that a
wrong verdict "supported" or "contradicted" comes out at most once in forty times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from scipy import stats

from ablations.statistics import CONFIDENCE, SPLITS, mean_interval, seeds_needed
from ablations.store import DONE
from ablations.suite import Published, Suite, find_file
from ablations.yaml_files import load_yaml
from awd.errors import ConfigError
from awd.messages import unknown

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"
_FORBID_EXTRA = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Claim:
    """Inequalities that must all hold, of Δ, a row's change in 100 × log-perplexity to the baseline.

    Attributes:
        name: how it is called.
        says: the conclusion, in words.
        rows: whose Δ it is about.
        more_than: Δ of each exceeds so much.
        less_than: Δ of each is below so much.
        more_than_others_by: Δ of each exceeds that of every row not named, by so much.
    """

    name: str
    says: str
    rows: Annotated[tuple[str, ...], Field(min_length=1)]
    more_than: float | None = None
    less_than: float | None = None
    more_than_others_by: float | None = None

    def inequalities(self, suite: Suite) -> Iterator[Inequality]:
        """Each by itself."""
        named = {*self.rows, suite.baseline}
        others = [variant.name for variant in suite.variants if variant.name not in named]
        for row in self.rows:
            if self.more_than is not None:
                yield Inequality(row, suite.baseline, self.more_than / 100, 1)
            if self.less_than is not None:
                yield Inequality(row, suite.baseline, self.less_than / 100, -1)
            if self.more_than_others_by is not None:
                yield from (Inequality(row, other, self.more_than_others_by / 100, 1) for other in others)

    def written(self) -> str:
        """The inequalities as a reader sees them."""
        delta = f"Δ({self.rows[0]})" if len(self.rows) == 1 else "Δ"
        parts = []
        if self.more_than is not None:
            parts.append(f"{delta} > {self.more_than:g}")
        if self.less_than is not None:
            parts.append(f"{delta} < {self.less_than:g}")
        if self.more_than_others_by is not None:
            margin = f" + {self.more_than_others_by:g}" if self.more_than_others_by else ""
            parts.append(f"{delta} > Δ(every other row){margin}")
        return " and ".join(parts) + ("" if len(self.rows) == 1 else f" for each of {', '.join(self.rows)}")


@plain_dataclass(frozen=True)
class Inequality:
    """``sign * (log-perplexity of row - that of other - bound) > 0``, in nats."""

    row: str
    other: str
    bound: float
    sign: int


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Claims:
    """The claims of a paper.

    Attributes:
        source: where they are made.
        claims: in the order of reading.
    """

    source: str
    claims: Annotated[tuple[Claim, ...], Field(min_length=1)]


def load_claims(suite: Suite, suite_name: str, published: Published | None) -> Claims | None:
    """The claims that a suite names, tried on the published numbers they were drawn from.

    Raises:
        ConfigError: unreadable, about an unknown row, empty, or one does not hold in the published numbers.
    """
    if suite.claims is None:
        return None
    path = find_file("suites", suite_name).parent / suite.claims
    claims = load_yaml(path, Claims)
    names = [variant.name for variant in suite.variants]
    for claim in claims.claims:
        for row in claim.rows:
            if row not in names or row == suite.baseline:
                raise ConfigError(f"{path}: {claim.name}: rows: {unknown('variant', row, names)}")
        if not list(claim.inequalities(suite)):
            raise ConfigError(f"{path}: {claim.name}: say more_than, less_than or more_than_others_by")
        for dataset, split, found in _broken(claim, suite, published):
            raise ConfigError(
                f"{path}: {claim.name}: does not hold in the published numbers, {dataset} {split}: Δ({found.row}) and "
                f"Δ({found.other}) are {_published_difference(found, published, dataset, split) * 100:+.2f} apart"
            )
    return claims


def _broken(claim: Claim, suite: Suite, published: Published | None) -> Iterator[tuple[str, str, Inequality]]:
    datasets = dict.fromkeys(name for row in published.rows.values() for name in row) if published else ()
    for dataset in datasets:
        for split in SPLITS:
            for inequality in claim.inequalities(suite):
                difference = _published_difference(inequality, published, dataset, split)
                if inequality.sign * (difference - inequality.bound) <= 0:
                    yield dataset, split, inequality


def _published_difference(inequality: Inequality, published: Published | None, dataset: str, split: str) -> float:
    assert published is not None
    row, other = (
        getattr(published.rows.get(name, {}).get(dataset), split, np.nan) for name in (inequality.row, inequality.other)
    )
    return float(np.log(row) - np.log(other))


def judge(claims: Claims, runs: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """Whether finished runs support each claim, data set by data set.

    A claim of several inequalities is supported when every one is, and contradicted when one is beyond what their
    number explains (Bonferroni); each claim is judged by itself.

    Args:
        runs: a row a planned run, as :attr:`ablations.report.data.ReportData.runs`.

    Returns:
        A row a data set, split and claim: ``dataset, split, claim, verdict``; ``pairs``, the fewest seeds of an
        inequality; then the inequality that stands weakest, ``row, other, bound``, and the difference between the two
        in log-perplexity, ``difference, low, high``; ``seeds_needed`` for a verdict if mean and spread stay as they
        are, missing where there is one or no number would do.
    """
    finished = dict(iter(runs[runs["status"].eq(DONE)].groupby("dataset")))
    found = []
    for dataset in dict.fromkeys(runs["dataset"]):
        for split in SPLITS:
            table = _by_variant(finished.get(dataset, runs.iloc[:0]), split)
            found += [
                {"dataset": dataset, "split": split, "claim": claim.name, **_judge(claim, table, suite)}
                for claim in claims.claims
            ]
    return pd.DataFrame(found).astype({"seeds_needed": "Int64"})


def _by_variant(runs: pd.DataFrame, split: str) -> dict[Any, np.ndarray]:
    """Log-perplexities of each variant, ``(seeds,)``, the same seeds in the same places; missing where not finished."""
    table = runs.pivot(index="seed", columns="variant", values=f"{split}_ppl")
    return {name: np.log(table[name].to_numpy(float)) for name in table}


def _judge(claim: Claim, table: dict[Any, np.ndarray], suite: Suite) -> dict[str, object]:
    tried = [_try(inequality, table) for inequality in claim.inequalities(suite)]
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
        "pairs": min(one.pairs for one in tried),
        "row": inequality.row,
        "other": inequality.other,
        "bound": inequality.bound,
        "difference": inequality.sign * weakest.mean + inequality.bound,
        "low": bounds[0],
        "high": bounds[1],
        "seeds_needed": None if verdict != UNDECIDED else _seeds_needed(tried),
    }


@plain_dataclass(frozen=True)
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


def _is_weak(one: _Tried) -> tuple[bool, float]:
    """First that of which least is known."""
    return not math.isnan(one.low), one.mean if math.isnan(one.low) else one.low


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
    p_below = float(stats.t.cdf(mean / error, len(values) - 1)) if error > 0 else float(mean > 0)
    return _Tried(inequality, len(values), mean, sd, low, high, p_below)


def _seeds_needed(tried: Sequence[_Tried]) -> int | None:
    """For what the means point at: all inequalities, or the first of those that speak against it."""
    against = [one for one in tried if one.mean < 0]
    needed = [seeds_needed(one.mean, one.sd) for one in against or [one for one in tried if not one.low > 0]]
    known = [count for count in needed if count is not None]
    if against:
        return min(known, default=None)
    return max(known) if known and len(known) == len(needed) else None
