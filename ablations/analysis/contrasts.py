"""Sums and differences of variants' log-perplexities, paired by seed: what a part adds, what two have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis.comparison import Comparison
from ablations.analysis.statistics import mean_interval
from ablations.experiment.kinds import Curve
from ablations.experiment.variant import fields
from ablations.storage.status import Status
from ablations.storage.store import recorded_config


@dataclass(frozen=True)
class Contrast:
    """A mean over seeds, in nats, with its 95% interval; what does not exist is missing.

    Attributes:
        pairs: seeds in which all of its variants are finished.
    """

    pairs: int
    mean: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Point:
    """A curve at one value of its field; ``own`` is the value that the row has without the sweep."""

    value: Any
    own: bool
    contrast: Contrast


def log_perplexities(data: Comparison, dataset: str, split: str = "valid") -> pd.DataFrame:
    """Log-perplexities of finished runs: a row per seed, a column per variant."""
    runs = data.runs_on(dataset)
    done = runs[runs["status"].eq(Status.DONE)]
    logs = done.assign(log=np.log(done[f"{split}_ppl"].astype(float)))
    table = logs.pivot(index="seed", columns="variant", values="log")
    return table.reindex(columns=[variant.name for variant in data.suite.variants])


def contrast(logs: pd.DataFrame, weights: Sequence[tuple[int, str]], interval: str) -> Contrast:
    """The weighted sum of variants' log-perplexities, over the seeds in which all are finished.

    Args:
        logs: as :func:`log_perplexities`.
        weights: each with its variant, of which one may come twice.
        interval: which 95% interval (:func:`ablations.analysis.statistics.mean_interval`).
    """
    parts = [weight * logs[name] for weight, name in weights]
    values = sum(parts[1:], start=parts[0]).dropna().to_numpy()
    if not len(values):
        return Contrast(0, np.nan, np.nan, np.nan)
    return Contrast(len(values), float(values.mean()), *mean_interval(values, interval))


def difference(logs: pd.DataFrame, variant: str, other: str, interval: str) -> Contrast:
    """A variant's log-perplexity minus another's."""
    return contrast(logs, [(1, variant), (-1, other)], interval)


def interaction(logs: pd.DataFrame, both: str, one: str, other: str, full: str, interval: str) -> Contrast:
    """The effect of taking both away minus the sum of the effects of taking each away alone.

    ``(both - full) - (one - full) - (other - full)``. Above 0 the two do some of the same job: while one is there, the
    lack of the other costs less. Below 0 each is worth more beside the other.
    """
    return contrast(logs, [(1, both), (-1, one), (-1, other), (1, full)], interval)


def curve_points(data: Comparison, dataset: str, logs: pd.DataFrame, curve: Curve) -> list[Point]:
    """A curve of a sweep, by its field's value, with the point that the row has without the sweep.

    Of the full model it is the change compared with its own value; of another row the difference to the full model at
    the same value of the field.
    """
    is_full, swept = curve.row == data.suite.baseline, data.suite.layout
    full = [one for one in getattr(swept, "curves", ()) if one.field == curve.field and one.row == data.suite.baseline]
    others = [data.suite.baseline] * len(curve.points) if is_full else full[0].points
    points = [
        Point(_value(data, dataset, name, curve.field), False, difference(logs, name, other, data.interval))
        for name, other in zip(curve.points, others, strict=True)
    ]
    own = difference(logs, curve.row, data.suite.baseline, data.interval)
    points = [*points, Point(_value(data, dataset, curve.row, curve.field), True, own)]
    # what no run was recorded of has no value either
    known = [point for point in points if point.contrast.pairs]
    numbers = all(is_number(point.value) for point in known)
    return sorted(known, key=lambda point: point.value) if numbers else known


def is_number(value: Any) -> bool:
    """Whether a field's value has a place on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(data: Comparison, dataset: str, variant: str, field: str) -> Any:
    """The value that a field had in the runs of a variant."""
    recorded = data.runs_on(dataset, variant)["config"].dropna()
    return fields(recorded_config(recorded.iloc[0]))[field] if len(recorded) else None
