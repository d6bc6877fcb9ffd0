"""What a paper concludes from its table, as inequalities that must hold in the table itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass as plain_dataclass
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ablations.experiment.names import Label, Name
from ablations.experiment.suite import Published, Suite, find_file
from ablations.experiment.yaml_files import load_yaml
from awd.errors import ConfigError
from awd.messages import unknown

_FORBID_EXTRA = ConfigDict(extra="forbid", allow_inf_nan=False)
_SPLITS = ("valid", "test")


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

    name: Name
    says: Label
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
        for row in _unpublished(claim, suite, published):
            raise ConfigError(f"{path}: {claim.name}: the published numbers have no row {row!r} to try it on")
        for dataset, split, found in _broken(claim, suite, published):
            raise ConfigError(
                f"{path}: {claim.name}: does not hold in the published numbers, {dataset} {split}: Δ({found.row}) and "
                f"Δ({found.other}) are {_published_difference(found, published, dataset, split) * 100:+.2f} apart"
            )
    return claims


def _unpublished(claim: Claim, suite: Suite, published: Published | None) -> list[str]:
    """Rows that a claim is about and the published numbers lack."""
    if published is None:
        return []
    about = {name for one in claim.inequalities(suite) for name in (one.row, one.other)}
    return sorted(about - set(published.rows))


def _broken(claim: Claim, suite: Suite, published: Published | None) -> Iterator[tuple[str, str, Inequality]]:
    datasets = dict.fromkeys(name for row in published.rows.values() for name in row) if published else ()
    for dataset in datasets:
        for split in _SPLITS:
            for inequality in claim.inequalities(suite):
                difference = _published_difference(inequality, published, dataset, split)
                if inequality.sign * (difference - inequality.bound) <= 0:
                    yield dataset, split, inequality


def _published_difference(inequality: Inequality, published: Published | None, dataset: str, split: str) -> float:
    assert published is not None
    row, other = (
        getattr(published.rows.get(name, {}).get(dataset), split, math.nan)
        for name in (inequality.row, inequality.other)
    )
    return math.log(row) - math.log(other)
