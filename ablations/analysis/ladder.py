"""The same table at several scales: each row's difference to the full model against the share of the paper's training.

A rung is a profile with finished runs. Its numbers are those of its own report (:mod:`ablations.analysis.collect`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis.collect import collect
from ablations.analysis.comparison import Comparison, Ladder, dataset_title
from ablations.analysis.statistics import T
from ablations.analysis.trend import fit_line
from ablations.experiment.paper import paper_datasets, paper_tokens
from ablations.experiment.profile import Profile, load_profile
from ablations.experiment.selection import Selection, dataset_name
from ablations.experiment.suite import Published, Suite, named_files
from ablations.storage.status import Status
from ablations.storage.store import Store
from awd.errors import ConfigError, InputError
from awd.messages import one_line, unknown

RUNGS = ("demo", "small", "long", "medium")  # in the order of reading
MEANINGLESS = ("smoke",)  # its numbers mean nothing
NOT_RUN = ("paper-short",)  # by anybody yet: a rung by default once its runs are published

_RUNG_COLUMNS = ["dataset", "profile", "text", "title", "own_text", "tokens", "share"]
_LINE_COLUMNS = ["at_full", "at_full_low", "at_full_high", "slope", "line_rungs"]
_POINT_COLUMNS = ["dataset", "variant", "profile", "pairs", "difference", "low", "high", "variance"]


def ladder_profiles(names: str | None = None) -> list[Profile]:
    """The rungs that may be: those named, or every reduced profile that comes with the package and means something.

    Args:
        names: with commas between them, or paths of .yaml files.

    Raises:
        ConfigError: a name does not exist, none was given, or two profiles have the same.
    """
    if names is None:
        known = named_files("profiles")
        shipped = [load_profile(name) for name in dict.fromkeys([*RUNGS, *known]) if name in known]
        return [one for one in shipped if one.scale == "reduced" and one.name not in (*MEANINGLESS, *NOT_RUN)]
    given = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not given:
        raise ConfigError(f"--profiles {names!r}: no profile was named; `list` shows them")
    profiles = [load_profile(name) for name in given]
    called = [profile.name for profile in profiles]
    repeated = next((name for name in called if called.count(name) > 1), None)
    if repeated is not None:
        raise ConfigError(f"--profiles {names!r}: two profiles are called {repeated!r}")
    return profiles


def ladder_datasets(names: Sequence[str] | None = None) -> list[str]:
    """The texts of the paper that a ladder is drawn for: those named, or all.

    Raises:
        ConfigError: one is not the paper's, so that nothing says how much the paper trained on it.
    """
    known = [name for name in paper_datasets() if paper_tokens(name) is not None]
    asked = [name for given in names or known for name in given.split(",") if name]
    for name in asked:
        if name not in known:
            raise ConfigError(f"--dataset: a ladder leads to the paper's own texts: {unknown('data set', name, known)}")
    return list(dict.fromkeys(asked)) or known


def collect_ladder(
    suite: Suite,
    published: Published | None,
    profiles: Sequence[Profile],
    datasets: Sequence[str],
    store: Store,
    *,
    interval: str = T,
    data_dir: Path | None = None,
    known: Comparison | None = None,
) -> Ladder:
    """Read every rung that the store has.

    Args:
        profiles: as :func:`ladder_profiles` gives them; those without runs are left out, with a note.
        datasets: as :func:`ladder_datasets` gives them.
        interval: which 95% intervals, ``t`` or ``bootstrap``.
        known: a report that is at hand, whose numbers are taken where a rung has the same runs.

    Raises:
        StoreError: a shard cannot be read.
    """
    rungs: list[dict[str, Any]] = []
    points: list[pd.DataFrame] = []
    notes, left_out = [], []
    for profile in profiles:
        data = _collect_rung(suite, published, profile, datasets, store, interval, data_dir)
        notes += [f"{profile.name}: {note}" for note in (data.notes if data else ())]
        for dataset in datasets:
            rung, why = _rung(data, profile, dataset)
            if data is None or rung is None:
                left_out.append((profile.name, why, dataset_title(dataset)))
                continue
            is_known = known is not None and set(known.runs["run_id"]) == set(data.runs["run_id"])
            of_rung = _points(known if known and is_known else data, rung)
            notes += _lacking(of_rung, suite, rung)
            rungs.append(rung)
            points.append(of_rung.dropna(subset="difference"))
    table = pd.DataFrame(rungs, columns=_RUNG_COLUMNS)
    found = pd.concat(points, ignore_index=True) if points else pd.DataFrame(columns=_POINT_COLUMNS)
    found = found.merge(table.drop(columns="tokens"), on=["dataset", "profile"], how="left")
    rows = _rows(suite, published, list(dict.fromkeys(table["dataset"])), found)
    return Ladder(suite, table, found, rows, (*_told(left_out), *notes), interval)


def ladder_around(data: Comparison, store: Store) -> Ladder | None:
    """The ladder that a report's profile is a rung of, for the report's data sets.

    Returns:
        ``None`` where the profile is not a rung as it is shipped, no data set has two rungs, or a row of the suite
        does not fit the profile of another.
    """
    profiles = ladder_profiles()
    if data.profile not in profiles or data.settings:
        return None
    own = [name for name in ladder_datasets() if name in set(map(data.known, data.datasets))]
    try:
        ladder = collect_ladder(
            data.suite,
            data.published,
            profiles,
            own or ladder_datasets(),
            store,
            interval=data.interval,
            known=data,
        )
    except ConfigError:  # a row that cannot be at another scale is no matter of this report
        return None
    of_profile = set(ladder.rungs.loc[ladder.rungs["profile"].eq(data.profile.name), "dataset"])
    several = [name for name, count in ladder.rungs["dataset"].value_counts(sort=False).items() if count > 1]
    shown = [str(name) for name in several if name in of_profile]
    return ladder.only(shown) if shown else None


def require_rungs(ladder: Ladder, profiles: Sequence[Profile], datasets: Sequence[str], results: Path) -> None:
    """Refuse to draw nothing.

    Args:
        profiles: that were looked for; likewise ``datasets``, in the folder ``results``.

    Raises:
        InputError: there is no difference to show; the message says how to train some.
    """
    if len(ladder.points):
        return
    raise InputError(
        f"{results}: no finished pair of runs of suite {ladder.suite.name} on {', '.join(datasets)}, profile "
        f"{', '.join(profile.name for profile in profiles)}: there is nothing to show; to train a rung: "
        "python run_ablations.py --all --profile NAME, with the same --suite and --results"
    )


def _collect_rung(
    suite: Suite,
    published: Published | None,
    profile: Profile,
    datasets: Sequence[str],
    store: Store,
    interval: str,
    data_dir: Path | None,
) -> Comparison | None:
    """What the profile's own report shows; ``None`` where no run of it is recorded."""
    recorded = store.runs()
    known = set(recorded.loc[recorded["profile"].eq(profile.name), "dataset"])
    wanted = dict.fromkeys([*datasets, *profile.datasets])
    sources = tuple(source for source in wanted if dataset_name(source) in known)
    if not sources:
        return None
    return collect(Selection(suite, published, profile, sources, data_dir=data_dir), store, interval=interval)


def _rung(data: Comparison | None, profile: Profile, dataset: str) -> tuple[dict[str, Any] | None, str]:
    """A rung of a data set; or ``None``, and why there is none."""
    nothing = "no finished run"
    if data is None:
        return None, nothing
    done = data.runs[data.runs["status"].eq(Status.DONE)]
    # a profile for another text, such as the demo's, stands in for all of the paper's
    others = [dataset_name(source) for source in profile.datasets if source not in paper_datasets()]
    found = [name for name in (dataset, *others) if name in set(done["dataset"])]
    text = next((name for name in found if name != dataset or data.known(name) == dataset), None)
    if text is None:
        return None, f"{dataset} is another text there" if found else nothing
    done = done[done["dataset"].eq(text)]
    baseline = done[done["variant"].eq(data.suite.baseline)]
    epochs = data.epochs[data.epochs["run_id"].isin(baseline["run_id"]) & data.epochs["dataset"].eq(text)]
    epochs = epochs[epochs["variant"].eq(data.suite.baseline)]
    tokens, papers = epochs.groupby("seed")["tokens"].sum().mean(), paper_tokens(dataset)
    if papers is None or not tokens > 0:
        return None, f"no finished run of {one_line(data.suite.variant(data.suite.baseline).label)}"
    values = (dataset, profile.name, text, data.title(text), text == dataset, float(tokens), float(tokens) / papers)
    return dict(zip(_RUNG_COLUMNS, values, strict=True)), ""


def _points(data: Comparison, rung: dict[str, Any]) -> pd.DataFrame:
    """Every row but the baseline, with missing numbers where the rung lacks it."""
    rows = data.rows(rung["text"])
    rows = rows[rows["variant"].ne(data.suite.baseline)]
    named = {"valid_log_difference": "difference", "valid_log_low": "low", "valid_log_high": "high"}
    points = rows.assign(
        dataset=rung["dataset"],
        profile=rung["profile"],
        variance=rows["valid_log_sd"] ** 2 / rows["pairs"].where(rows["pairs"].gt(0)),
    )
    return points.rename(columns=named)[_POINT_COLUMNS]


def _lacking(points: pd.DataFrame, suite: Suite, rung: dict[str, Any]) -> list[str]:
    lacking = [one_line(suite.variant(name).label) for name in points.loc[points["difference"].isna(), "variant"]]
    if not lacking:
        return []
    return [f"{rung['profile']} on {rung['title']} has no finished pair of: {', '.join(lacking)}."]


def _told(left_out: Sequence[tuple[str, str, str]]) -> list[str]:
    """One sentence per profile and reason."""
    of: dict[tuple[str, str], list[str]] = {}
    for name, why, title in left_out:
        of.setdefault((name, why), []).append(title)
    return [f"{name} is left out of {' and '.join(titles)}: {why}." for (name, why), titles in of.items()]


def _rows(suite: Suite, published: Published | None, datasets: Sequence[str], points: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for dataset in datasets:
        for variant in suite.variants:
            if variant.name != suite.baseline:
                of_row = points[points["dataset"].eq(dataset) & points["variant"].eq(variant.name)]
                papers = _published(suite, published, dataset, variant.name)
                rows.append((dataset, variant.name, one_line(variant.label), papers, *_line(of_row)))
    return pd.DataFrame(rows, columns=["dataset", "variant", "label", "published", *_LINE_COLUMNS])


def _published(suite: Suite, published: Published | None, dataset: str, variant: str) -> float:
    """The paper's difference on that data set itself."""
    rows = published.rows if published else {}
    ours, baseline = (rows.get(name, {}).get(dataset) for name in (variant, suite.baseline))
    return float(np.log(ours.valid) - np.log(baseline.valid)) if ours and baseline else np.nan


def _line(points: pd.DataFrame) -> tuple[float, ...]:
    """The values of ``_LINE_COLUMNS``."""
    own = points[points["own_text"].eq(True)]
    line = fit_line(own["share"].tolist(), own["difference"].tolist(), own["variance"].tolist(), own["pairs"].tolist())
    if line is None:
        return (np.nan,) * len(_LINE_COLUMNS)
    return line.at_full, line.low, line.high, line.slope, line.rungs
