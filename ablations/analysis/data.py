"""What a report is made from: the planned runs with what the store says of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ablations.analysis.statistics import T
from ablations.experiment.hypotheses import Hypotheses
from ablations.experiment.plan import RunSpec
from ablations.experiment.profile import Profile
from ablations.experiment.suite import Published, Suite
from ablations.storage.store import DONE, Store
from awd.errors import InputError


@dataclass(frozen=True)
class Ladder:
    """Everything that the figure over scales and its table show. Differences are of validation log-perplexity, in nats.

    Attributes:
        suite: the rows.
        rungs: a row a data set of the paper and rung: ``dataset, profile``; ``text`` that was trained on, and whether
            that is the data set itself (``own_text``); ``tokens`` that a run of the full model trained on, a mean over
            seeds, and the ``share`` of the paper's that they are.
        points: a row a data set, variant and rung that has it: ``dataset, variant, profile, pairs, difference, low,
            high``; the ``variance`` of the mean difference; and the rung's ``text, own_text, share``.
        rows: a row a data set and variant but the baseline: ``dataset, variant, label``; ``published``, the paper's
            difference; ``at_full, at_full_low, at_full_high, slope, line_rungs`` of the straight line through the
            rungs of the data set itself (:func:`ablations.analysis.trend.fit_line`). What does not exist is missing.
        notes: what is left out and why, a sentence each.
        interval: which 95% intervals the points have.
    """

    suite: Suite
    rungs: pd.DataFrame
    points: pd.DataFrame
    rows: pd.DataFrame
    notes: tuple[str, ...] = ()
    interval: str = T

    @property
    def datasets(self) -> list[str]:
        """The paper's data sets that have a rung."""
        return list(dict.fromkeys(self.rungs["dataset"]))

    def only(self, datasets: Sequence[str]) -> Ladder:
        """The part of some data sets."""
        parts = {name: getattr(self, name) for name in ("rungs", "points", "rows")}
        parts = {name: part[part["dataset"].isin(datasets)] for name, part in parts.items()}
        return Ladder(self.suite, **parts, notes=self.notes, interval=self.interval)


@dataclass(frozen=True)
class ReportData:
    """Everything a table or figure shows; reports read nothing else.

    Attributes:
        suite: the variants, in order, and the baseline.
        profile: the scale; ``profile.scale == "paper"`` alone may be compared with published perplexities.
        published: numbers published for the suite, or ``None``.
        hypotheses: what was concluded from them, or ``None``.
        interval: which 95% intervals (:func:`ablations.analysis.statistics.summarise_differences`).
        runs: a row a planned run: ``dataset, variant, label, seed, run_id`` from the plan, then the store's columns
            (see :data:`ablations.storage.store.RUN_SCHEMA`), missing values where the run is not recorded.
        epochs: the epochs of those runs with ``dataset, variant, seed`` beside the store's columns.
        reference: like ``runs`` but from the published reference results, or ``None``.
        stale: recorded runs of this profile that are not in the plan (the store's columns).
        settings: the ``--set`` options in force.
        notes: what a reader must know, a sentence each, such as a corpus that is not this machine's.
        ladder: the same table at several scales, for the page, or ``None``.
    """

    suite: Suite
    profile: Profile
    published: Published | None
    runs: pd.DataFrame
    epochs: pd.DataFrame
    reference: pd.DataFrame | None
    stale: pd.DataFrame
    settings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    hypotheses: Hypotheses | None = None
    interval: str = "t"
    ladder: Ladder | None = None


_PLAN_COLUMNS = ["dataset", "variant", "label", "seed", "run_id"]


def plan_frame(plan: Sequence[RunSpec]) -> pd.DataFrame:
    """The plan as a frame: ``dataset, variant, label, seed, run_id``."""
    rows = [[getattr(spec, column) for column in _PLAN_COLUMNS] for spec in plan]
    return pd.DataFrame(rows, columns=_PLAN_COLUMNS)


def join_runs(plan: Sequence[RunSpec], recorded: pd.DataFrame) -> pd.DataFrame:
    """A row a planned run, with what the store recorded of it.

    Names come from the plan, since two variants may be one run.
    """
    columns = ["run_id", *(column for column in recorded.columns if column not in _PLAN_COLUMNS)]
    return plan_frame(plan).merge(recorded[columns], on="run_id", how="left")


def join_epochs(plan: Sequence[RunSpec], store: Store) -> pd.DataFrame:
    """The epochs of every planned run that has some, with ``dataset, variant, seed`` from the plan."""
    frame = plan_frame(plan).drop(columns="label")
    return frame.merge(store.epochs(dict.fromkeys(frame["run_id"])), on="run_id", how="inner")


def require_finished(data: ReportData, results: Path | None = None) -> None:
    """Refuse to report on nothing.

    Args:
        results: the folder to name.

    Raises:
        InputError: no run of the selection is finished; the message counts what there is and says how to train some.
    """
    status = data.runs["status"]
    if status.eq(DONE).any():
        return
    settings = "".join(f" --set {setting}" for setting in data.settings)
    counts = status.fillna("not run").value_counts(sort=False)
    raise InputError(
        f"{f'{results}: ' if results else ''}no finished run of suite {data.suite.name}, profile {data.profile.name}"
        f"{settings} on {', '.join(data.runs['dataset'].unique())} "
        f"({', '.join(f'{amount} {name}' for name, amount in sorted(counts.items())) or 'none'}); to train them: "
        "python run_ablations.py --all, with the same --suite, --profile, --dataset, --set and --results"
    )
