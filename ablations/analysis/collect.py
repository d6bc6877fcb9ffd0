"""From a selection and a results folder to what a report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from ablations.analysis.comparison import Comparison, dataset_title
from ablations.analysis.statistics import T
from ablations.experiment.plan import Corpus, RunSpec
from ablations.experiment.selection import AUTO, Selection, dataset_name
from ablations.storage.status import Status
from ablations.storage.store import Store
from awd.corpus import DATASETS, corpus_identity
from awd.errors import CorpusError
from awd.messages import one_line


def collect(
    selection: Selection,
    store: Store,
    reference: Store | None = None,
    *,
    other_seeds: bool = True,
    interval: str = T,
) -> Comparison:
    """Match the recorded runs with the plan.

    Args:
        reference: a store whose runs are set beside, if it has any of this plan.
        other_seeds: show every other seed, too, that has a run of this plan.
        interval: which 95% intervals, ``t`` or ``bootstrap``.

    Raises:
        StoreError: a shard cannot be read.
    """
    recorded = store.runs()
    selection, absent = _with_runs(selection, recorded)
    corpora, notes = _recorded_corpora(selection, recorded)
    notes += absent
    selection = as_recorded(selection, recorded)
    plan = _plan(selection, corpora, recorded, other_seeds)
    runs = join_runs(plan, recorded)
    of_profile = (recorded["profile"] == selection.profile.name) & (recorded["suite"] == selection.suite.name)
    stale = recorded[
        of_profile & ~recorded["run_id"].isin(runs["run_id"]) & _asked_for(selection, recorded, other_seeds)
    ]
    beside = None
    if reference is not None and reference.root.resolve() != store.root.resolve():
        beside, reference_notes = _reference(selection, reference)
        notes += [note for note in reference_notes if beside is not None]
    return Comparison(
        suite=selection.suite,
        profile=selection.profile,
        published=selection.published,
        runs=runs,
        epochs=join_epochs(plan, store),
        reference=beside,
        stale=stale.reset_index(drop=True),
        settings=selection.assignments,
        notes=tuple(notes),
        hypotheses=selection.hypotheses,
        interval=interval,
        store=store,
    )


def _with_runs(selection: Selection, recorded: pd.DataFrame) -> tuple[Selection, list[str]]:
    """The data sets of which a run of the profile is recorded, and a note for each other; all, where there is none."""
    known = set(recorded.loc[recorded["profile"] == selection.profile.name, "dataset"])
    present = tuple(source for source in selection.datasets if dataset_name(source) in known)
    if not present:
        return selection, []
    # ./ptb is a folder of that name, and has no title
    absent = [
        dataset_title(source) if source in DATASETS else one_line(dataset_name(source))
        for source in selection.datasets
        if source not in present
    ]
    notes = [f"No run on {name} is recorded yet." for name in absent]
    return replace(selection, datasets=present), notes


def _asked_for(selection: Selection, recorded: pd.DataFrame, other_seeds: bool) -> pd.Series[bool]:
    """Leave out what was only not asked for, such as another seed or variant: it is not stale."""
    asked = recorded["dataset"].isin([dataset_name(source) for source in selection.datasets])
    if not other_seeds:
        asked &= recorded["seed"].isin(_asked_seeds(selection))
    if selection.variants is not None:
        asked &= recorded["variant"].isin(selection.variants)
    return asked


def _recorded_corpora(selection: Selection, recorded: pd.DataFrame) -> tuple[list[Corpus], list[str]]:
    """This machine's corpora, or the recorded ones where no run is of this machine's, with a note that says so."""
    corpora, notes = [], []
    for source in selection.datasets:
        name = dataset_name(source)
        matching = recorded[(recorded["profile"] == selection.profile.name) & (recorded["dataset"] == name)]
        known = Counter(matching["corpus_sha256"])
        try:
            here = corpus_identity(source)
        except CorpusError:
            if not known:
                raise
            here = ""
        sha256 = here if here in known or not known else known.most_common(1)[0][0]
        if sha256 != here:
            mine = f"this machine's is {here[:12]}" if here else "this machine has none at hand"
            notes.append(f"The runs are of another {name} text (sha256 {sha256[:12]}; {mine}).")
        corpora.append(Corpus(name, source, sha256))
    return corpora, notes


def as_recorded(selection: Selection, recorded: pd.DataFrame) -> Selection:
    """The selection with ``auto`` resolved to what most of its profile's runs were computed by.

    What ``auto`` would be on this machine matters to training alone: a table of another machine's runs is still theirs.
    Where nothing is recorded, it is this machine's.
    """
    runs = recorded[recorded["profile"] == selection.profile.name]
    for column in ("engine", "precision"):
        asked = getattr(selection, column)
        if asked != AUTO:
            runs = runs[runs[column] == asked]
    if runs.empty:
        return selection
    (engine, precision), _ = Counter(zip(runs["engine"], runs["precision"], strict=True)).most_common(1)[0]
    return replace(selection, engine=engine, precision=precision)


def _asked_seeds(selection: Selection) -> tuple[int, ...]:
    return selection.profile.seeds if selection.seeds is None else selection.seeds


def _plan(selection: Selection, corpora: list[Corpus], recorded: pd.DataFrame, other_seeds: bool) -> list[RunSpec]:
    asked = _asked_seeds(selection)
    if not other_seeds:
        return selection.plan(corpora, asked)
    of_profile = recorded[recorded["profile"] == selection.profile.name]
    plan = selection.plan(corpora, list(dict.fromkeys([*asked, *sorted(of_profile["seed"])])))
    known = set(recorded["run_id"])
    with_runs = {(spec.dataset, spec.seed) for spec in plan if spec.run_id in known}
    return [spec for spec in plan if spec.seed in asked or (spec.dataset, spec.seed) in with_runs]


def _reference(selection: Selection, reference: Store) -> tuple[pd.DataFrame | None, list[str]]:
    recorded = reference.runs()
    try:
        corpora, notes = _recorded_corpora(selection, recorded)
    except CorpusError:
        return None, []
    # a name stands for one text, a folder of the user's own for whatever is in it
    same = [one for one in corpora if one.source in DATASETS or one.sha256 == corpus_identity(one.source)]
    plan = _plan(as_recorded(selection, recorded), same, recorded, other_seeds=True)
    runs = join_runs(plan, recorded)
    if not (runs["status"] == Status.DONE).any():
        return None, []
    return runs, [note.replace("The runs are", "The reference runs are") for note in notes]


_PLAN_COLUMNS = ["dataset", "corpus_sha256", "variant", "label", "seed", "run_id"]


def plan_frame(plan: Sequence[RunSpec]) -> pd.DataFrame:
    """The plan as a frame: ``dataset, corpus_sha256, variant, label, seed, run_id``."""
    rows = [[getattr(spec, column) for column in _PLAN_COLUMNS] for spec in plan]
    return pd.DataFrame(rows, columns=_PLAN_COLUMNS)


def join_runs(plan: Sequence[RunSpec], recorded: pd.DataFrame) -> pd.DataFrame:
    """One row per planned run, with what the store recorded of it.

    Names come from the plan, since two variants may be one run.
    """
    columns = ["run_id", *(column for column in recorded.columns if column not in _PLAN_COLUMNS)]
    return plan_frame(plan).merge(recorded[columns], on="run_id", how="left")


def join_epochs(plan: Sequence[RunSpec], store: Store) -> pd.DataFrame:
    """The epochs of every planned run that has some, with ``dataset, variant, seed`` from the plan."""
    frame = plan_frame(plan).drop(columns=["label", "corpus_sha256"])
    return frame.merge(store.epochs(dict.fromkeys(frame["run_id"])), on="run_id", how="inner")
