"""The one frame that every table and figure is read from: a row a data set and variant."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ablations.analysis.data import ReportData
from ablations.analysis.statistics import KEYS, SPLITS, seed_differences, summarise, summarise_differences
from ablations.analysis.training_curves import RUN, summarise_ends, training_ends
from ablations.experiment.profile import load_profile
from ablations.experiment.suite import Published
from ablations.storage.status import Status
from awd.corpus import DATASETS, corpus_identity

_TITLES = {"ptb": "Penn Treebank", "wikitext-2": "WikiText-2", "python-docs": "Python docs"}


def dataset_title(name: str) -> str:
    """How a data set is called in headings."""
    return _TITLES.get(name, name)


def comparison_frame(data: ReportData) -> pd.DataFrame:
    """All the numbers of a report.

    Returns:
        A row a data set and variant of the plan, in the suite's order: ``dataset, variant, label``; the columns of
        :func:`ablations.analysis.statistics.summarise` and :func:`ablations.analysis.statistics.summarise_differences`;
        ``published_dataset, published_valid, published_test`` and their ``_difference`` and ``_log_difference``;
        ``valid_minus_published, test_minus_published`` where absolute numbers may be compared
        (:func:`comparable`); ``reference_n, reference_valid, reference_test``; the columns of
        :func:`ablations.analysis.training_curves.summarise_ends`. What does not exist is missing.
    """
    order = {variant.name: place for place, variant in enumerate(data.suite.variants)}
    keys = data.runs[[*KEYS, "label"]].drop_duplicates(KEYS)
    place = [list(dict.fromkeys(keys["dataset"])).index(dataset) * len(order) for dataset in keys["dataset"]]
    keys = keys.assign(place=place + keys["variant"].map(order)).sort_values("place").drop(columns="place")
    differences = summarise_differences(seed_differences(data.runs, data.suite.baseline), data.interval)
    frame = keys.merge(summarise(data.runs), on=KEYS).merge(differences, on=KEYS, how="left")
    frame["pairs"] = frame["pairs"].fillna(0).astype(int)
    frame = frame.merge(_published(data, keys), on=KEYS, how="left")
    alike = [dataset for dataset in dict.fromkeys(frame["dataset"]) if comparable(data, dataset)]
    for split in SPLITS:
        gap = frame[f"{split}_mean"] - frame[f"published_{split}"]
        frame[f"{split}_minus_published"] = gap.where(frame["dataset"].isin(alike))
    return frame.merge(_reference(data), on=KEYS, how="left").merge(_ends(data), on=KEYS, how="left")


def published_dataset(published: Published | None, dataset: str) -> str | None:
    """The published column a data set is compared with: its own, else the first there is."""
    known = list(dict.fromkeys(name for row in published.rows.values() for name in row)) if published else []
    return dataset if dataset in known else next(iter(known), None)


def comparable(data: ReportData, dataset: str) -> bool:
    """Whether perplexities on a data set may be set against published ones: the paper's protocol, on its own text."""
    unchanged = data.profile == load_profile("paper") and not data.settings
    if not unchanged or data.published is None or published_dataset(data.published, dataset) != dataset:
        return False
    recorded = data.runs.loc[data.runs["dataset"].eq(dataset), "corpus_sha256"].dropna()
    return dataset in DATASETS and recorded.eq(corpus_identity(dataset)).all().item()


def _published(data: ReportData, keys: pd.DataFrame) -> pd.DataFrame:
    rows = data.published.rows if data.published else {}
    found = []
    for dataset, variant in keys[KEYS].itertuples(index=False, name=None):
        column = published_dataset(data.published, dataset)
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


def _reference(data: ReportData) -> pd.DataFrame:
    runs = data.runs.iloc[:0] if data.reference is None else data.reference
    columns = {"n": "reference_n", "valid_mean": "reference_valid", "test_mean": "reference_test"}
    return summarise(runs).rename(columns=columns)[[*KEYS, *columns.values()]]


def _ends(data: ReportData) -> pd.DataFrame:
    finished = data.runs.loc[data.runs["status"].eq(Status.DONE), RUN]
    return summarise_ends(training_ends(data.epochs.merge(finished, on=RUN)))
