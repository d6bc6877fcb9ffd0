"""What a paper concludes from its table, as inequalities that must hold in the table itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass as plain_dataclass
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ablations.experiment.kinds import HYPOTHESES_KEYS
from ablations.experiment.names import Label, Name
from ablations.experiment.suite import Published, Suite, find_file
from ablations.experiment.yaml_files import load_yaml
from awd.errors import ConfigError
from awd.messages import unknown

_FORBID_EXTRA = ConfigDict(extra="forbid", allow_inf_nan=False)
_SPLITS = ("valid", "test")


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Hypothesis:
    """Inequalities that must all hold. Each is about Δ, a row's 100 × log-perplexity minus the baseline's.

    Attributes:
        name: what it is called.
        says: the conclusion, in words.
        rows: the rows whose Δ it is about.
        more_than: Δ of each of them is above this.
        less_than: Δ of each of them is below this.
        more_than_others_by: Δ of each of them is above that of every other row, by more than this.
    """

    name: Name
    says: Label
    rows: Annotated[tuple[str, ...], Field(min_length=1)]
    more_than: float | None = None
    less_than: float | None = None
    more_than_others_by: float | None = None

    def inequalities(self, suite: Suite) -> Iterator[Inequality]:
        """Each inequality alone."""
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
class Hypotheses:
    """What a paper concludes.

    Attributes:
        source: where the paper says so.
        hypotheses: in the order of reading.
    """

    source: str
    hypotheses: Annotated[tuple[Hypothesis, ...], Field(min_length=1, validation_alias=HYPOTHESES_KEYS)]


def load_hypotheses(suite: Suite, suite_name: str, published: Published | None) -> Hypotheses | None:
    """The hypotheses that a suite names, tried on the published numbers they were drawn from.

    Raises:
        ConfigError: unreadable, about an unknown row, empty, or one does not hold in the published numbers.
    """
    if suite.hypotheses is None:
        return None
    path = find_file("suites", suite_name).parent / suite.hypotheses
    hypotheses = load_yaml(path, Hypotheses)
    names = [variant.name for variant in suite.variants]
    for hypothesis in hypotheses.hypotheses:
        for row in hypothesis.rows:
            if row not in names or row == suite.baseline:
                raise ConfigError(f"{path}: {hypothesis.name}: rows: {unknown('variant', row, names)}")
        if not list(hypothesis.inequalities(suite)):
            raise ConfigError(f"{path}: {hypothesis.name}: say more_than, less_than or more_than_others_by")
        for row in _unpublished(hypothesis, suite, published):
            raise ConfigError(f"{path}: {hypothesis.name}: the published numbers have no row {row!r} to try it on")
        for dataset, split, found in _broken(hypothesis, suite, published):
            apart = _published_difference(found, published, dataset, split) * 100
            raise ConfigError(
                f"{path}: {hypothesis.name}: does not hold in the published numbers, {dataset} {split}: "
                f"Δ({found.row}) and Δ({found.other}) are {apart:+.2f} apart"
            )
    return hypotheses


def _unpublished(hypothesis: Hypothesis, suite: Suite, published: Published | None) -> list[str]:
    """Rows that a hypothesis is about and the published numbers lack."""
    if published is None:
        return []
    about = {name for one in hypothesis.inequalities(suite) for name in (one.row, one.other)}
    return sorted(about - set(published.rows))


def _broken(hypothesis: Hypothesis, suite: Suite, published: Published | None) -> Iterator[tuple[str, str, Inequality]]:
    datasets = dict.fromkeys(name for row in published.rows.values() for name in row) if published else ()
    for dataset in datasets:
        for split in _SPLITS:
            for inequality in hypothesis.inequalities(suite):
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
