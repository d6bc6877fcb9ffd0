"""A comparison of variants, computed once: the planned runs with what the store says of them, and all that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pandas as pd

from ablations.analysis.statistics import (
    KEYS,
    SPLITS,
    T,
    rank_correlations,
    seed_differences,
    summarise,
    summarise_differences,
)
from ablations.analysis.training_curves import RUN, summarise_ends, training_ends
from ablations.analysis.verdicts import judge
from ablations.experiment.hypotheses import Hypotheses
from ablations.experiment.profile import Profile, load_profile
from ablations.experiment.suite import Published, Suite
from ablations.storage.status import Status
from ablations.storage.store import Store
from awd.corpus import DATASETS, corpus_identity
from awd.errors import CorpusError, InputError
from awd.messages import one_line

_TITLES = {"ptb": "Penn Treebank", "wikitext-2": "WikiText-2", "python-docs": "Python docs"}


@dataclass(frozen=True)
class Ladder:
    """Everything that the figure over scales and its table show. Differences are of validation log-perplexity, in nats.

    Attributes:
        suite: the rows.
        rungs: one row per data set of the paper and rung: ``dataset, profile``; ``text`` that was trained on, its
            ``title``, and whether that is the data set itself (``own_text``); ``tokens`` that a run of the full model
            trained on, a mean over seeds, and the ``share`` of the paper's that they are.
        points: one row per data set, variant and rung that has it: ``dataset, variant, profile, pairs, difference,
            low, high``; the ``variance`` of the mean difference; and the rung's ``text, own_text, share``.
        rows: one row per data set and variant but the baseline: ``dataset, variant, label``; ``published``, the
            paper's difference; ``at_full, at_full_low, at_full_high, slope, line_rungs`` of the straight line through
            the rungs of the data set itself (:func:`ablations.analysis.trend.fit_line`). What does not exist is
            missing.
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
class Comparison:
    """Everything a report shows; tables, captions, figures and the page read nothing else.

    What follows from the runs (``frame, differences, pairs, correlations, verdicts``) is computed once, when it is
    first asked for.

    Attributes:
        suite: the variants, in order, and the baseline.
        profile: the scale; ``profile.scale == "paper"`` alone may be compared with published perplexities.
        published: numbers published for the suite, or ``None``.
        hypotheses: what was concluded from them, or ``None``.
        interval: which 95% intervals (:func:`ablations.analysis.statistics.summarise_differences`).
        store: the results that it was read from.
        runs: one row per planned run: ``dataset, variant, label, seed, run_id`` from the plan, then the store's
            columns (see :data:`ablations.storage.store.RUN_SCHEMA`), missing values where the run is not recorded.
        epochs: the epochs of those runs with ``dataset, variant, seed`` beside the store's columns.
        reference: like ``runs`` but from the published reference results, or ``None``.
        stale: recorded runs of this profile that are not in the plan (the store's columns).
        settings: the ``--set`` options in force.
        notes: what a reader must know, a sentence each, such as a corpus that is not this machine's.
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
    interval: str = T
    store: Store | None = None

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, in the order of the plan."""
        return list(dict.fromkeys(self.runs["dataset"]))

    @property
    def baseline(self) -> str:
        """What the baseline is called in sentences."""
        return self.label(self.suite.baseline)

    def label(self, variant: str) -> str:
        """What a variant is called in sentences."""
        return one_line(self.suite.variant(variant).label)

    def known(self, dataset: str) -> str | None:
        """Which data set known by name these runs are of, by their digest, whatever their corpus is called."""
        recorded = self.runs_on(dataset)["corpus_sha256"].dropna()
        return None if recorded.empty else known_corpus(recorded.iloc[0])

    def is_namesake(self, dataset: str) -> bool:
        """Whether it goes by the name of a published text that it is not."""
        return dataset in DATASETS and bool(DATASETS[dataset].sha256) and self.known(dataset) != dataset

    def title(self, dataset: str) -> str:
        """How a data set is called in headings: by its own name where it is no other."""
        known = self.known(dataset)
        if known is None:
            return one_line(dataset)
        return dataset_title(known) if known == dataset else f"{one_line(dataset)} ({dataset_title(known)})"

    def runs_on(self, dataset: str, variant: str | None = None) -> pd.DataFrame:
        """The runs of one data set, and of one variant of it, if given."""
        runs = self.runs[self.runs["dataset"].eq(dataset)]
        return runs if variant is None else runs[runs["variant"].eq(variant)]

    def rows(self, dataset: str) -> pd.DataFrame:
        """The rows of the frame of one data set."""
        return self.frame[self.frame["dataset"].eq(dataset)]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All the numbers of a report.

        One row per data set and variant of the plan, in the suite's order: ``dataset, variant, label``; the columns of
        :func:`ablations.analysis.statistics.summarise` and :func:`ablations.analysis.statistics.summarise_differences`;
        ``published_dataset, published_valid, published_test`` and their ``_difference`` and ``_log_difference``;
        ``valid_minus_published, test_minus_published`` where absolute numbers may be compared (:meth:`comparable`);
        ``reference_n, reference_valid, reference_test``; the columns of
        :func:`ablations.analysis.training_curves.summarise_ends`. What does not exist is missing.
        """
        return _frame(self)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """Each run minus the baseline's of its seed (:func:`ablations.analysis.statistics.seed_differences`)."""
        return seed_differences(self.runs, self.suite.baseline)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """What each row changes, from :attr:`frame`: the baseline left out, one row per data set, variant and split.

        ``dataset, variant, label, split``; ``pairs`` of runs; ``difference`` in perplexity; ``log_difference`` in nats
        with its 95% interval, ``log_low`` to ``log_high``; ``p`` and ``p_holm``; ``published_log_difference``.
        """
        rows = self.frame[self.frame["variant"].ne(self.suite.baseline)]
        told = ("difference", "log_difference", "log_low", "log_high", "p", "p_holm")
        parts = []
        for split in SPLITS:
            names = {f"{split}_{name}": name for name in told}
            names[f"published_{split}_log_difference"] = "published_log_difference"
            part = rows[[*KEYS, "label", "pairs", *names]].rename(columns=names)
            part.insert(3, "split", split)
            parts.append(part)
        return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)

    @cached_property
    def correlations(self) -> pd.DataFrame:
        """How far the order of the rows is the paper's (:func:`ablations.analysis.statistics.rank_correlations`)."""
        return rank_correlations(self.frame, self.pairs)

    @cached_property
    def verdicts(self) -> pd.DataFrame | None:
        """Whether the runs support each hypothesis (:func:`ablations.analysis.verdicts.judge`); or ``None``."""
        return None if self.hypotheses is None else judge(self.hypotheses, self.runs, self.suite)

    def published_dataset(self, dataset: str) -> str | None:
        """The published column a data set is compared with: its own, else the first there is."""
        columns = [name for row in self.published.rows.values() for name in row] if self.published else []
        known = self.known(dataset)
        return known if known in columns else next(iter(columns), None)

    def comparable(self, dataset: str) -> bool:
        """Whether perplexities may be set against published ones: the paper's protocol, on its own text."""
        unchanged = self.profile == load_profile("paper") and not self.settings
        return unchanged and self.published_dataset(dataset) == dataset == self.known(dataset)


@cache
def known_corpus(sha256: str) -> str | None:
    """Which data set known by name has this digest; ``None`` for a text of somebody's own."""
    for name in DATASETS:
        try:
            if corpus_identity(name) == sha256:
                return name
        except CorpusError:  # a text that this Python does not carry
            continue
    return None


def dataset_title(name: str) -> str:
    """How a data set known by name is called in headings."""
    return _TITLES.get(name, name)


def require_finished(data: Comparison) -> None:
    """Refuse to report on nothing.

    Raises:
        InputError: no run of the selection is finished; the message counts what there is and says how to train some.
    """
    status = data.runs["status"]
    if status.eq(Status.DONE).any():
        return
    settings = "".join(f" --set {setting}" for setting in data.settings)
    counts = status.fillna("not run").value_counts(sort=False)
    where = f"{data.store.root}: " if data.store else ""
    raise InputError(
        f"{where}no finished run of suite {data.suite.name}, profile {data.profile.name}"
        f"{settings} on {', '.join(data.datasets)} "
        f"({', '.join(f'{amount} {name}' for name, amount in sorted(counts.items())) or 'none'}); to train them: "
        "python run_ablations.py --all, with the same --suite, --profile, --dataset, --set and --results"
    )


def _frame(data: Comparison) -> pd.DataFrame:
    order = {variant.name: place for place, variant in enumerate(data.suite.variants)}
    keys = data.runs[[*KEYS, "label"]].drop_duplicates(KEYS)
    place = keys["dataset"].map(data.datasets.index) * len(order) + keys["variant"].map(order)
    keys = keys.assign(place=place).sort_values("place").drop(columns="place")
    differences = summarise_differences(data.pairs, data.interval)
    frame = keys.merge(summarise(data.runs), on=KEYS).merge(differences, on=KEYS, how="left")
    frame["pairs"] = frame["pairs"].fillna(0).astype(int)
    frame = frame.merge(_published(data, keys), on=KEYS, how="left")
    alike = frame["dataset"].isin([dataset for dataset in data.datasets if data.comparable(dataset)])
    for split in SPLITS:
        frame[f"{split}_minus_published"] = (frame[f"{split}_mean"] - frame[f"published_{split}"]).where(alike)
    return frame.merge(_reference(data), on=KEYS, how="left").merge(_ends(data), on=KEYS, how="left")


def _published(data: Comparison, keys: pd.DataFrame) -> pd.DataFrame:
    rows = data.published.rows if data.published else {}
    found = []
    for dataset, variant in keys[KEYS].itertuples(index=False, name=None):
        column = data.published_dataset(dataset)
        numbers = rows.get(variant, {}).get(column or "")
        of_baseline = rows.get(data.suite.baseline, {}).get(column or "")
        row: dict[str, object] = {"dataset": dataset, "variant": variant, "published_dataset": column}
        for split in SPLITS:
            value = getattr(numbers, split, np.nan)
            base = getattr(of_baseline, split, np.nan) if variant != data.suite.baseline else np.nan
            row[f"published_{split}"] = value
            row[f"published_{split}_difference"] = value - base
            row[f"published_{split}_log_difference"] = np.log(value) - np.log(base)
        found.append(row)
    return pd.DataFrame(found)


def _reference(data: Comparison) -> pd.DataFrame:
    runs = data.runs.iloc[:0] if data.reference is None else data.reference
    columns = {"n": "reference_n", "valid_mean": "reference_valid", "test_mean": "reference_test"}
    return summarise(runs).rename(columns=columns)[[*KEYS, *columns.values()]]


def _ends(data: Comparison) -> pd.DataFrame:
    finished = data.runs.loc[data.runs["status"].eq(Status.DONE), RUN]
    return summarise_ends(training_ends(data.epochs.merge(finished, on=RUN)))
