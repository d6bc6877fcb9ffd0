"""Which recorded runs a report shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ablations.analysis.collect import collect
from ablations.analysis.comparison import require_finished
from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection, select
from ablations.storage.store import Store
from awd.corpus import corpus_identity
from awd.errors import InputError

HERE = corpus_identity("python-docs")


@pytest.fixture
def selection() -> Selection:
    return select("table5", "smoke", variants="full,no-ar-tar")


def record(store: Store, specs: list[RunSpec], **fields: object) -> None:
    for spec in specs:
        columns = ("run_id", "profile", "dataset", "corpus_sha256", "variant", "suite", "engine", "precision")
        named = {name: getattr(spec, name) for name in columns}
        row = {**named, "seed": spec.seed, "status": "done", "valid_ppl": 50.0, "test_ppl": 51.0, **fields}
        store.write(row, [{"run_id": spec.run_id, "phase": "train", "epoch": 1, "valid_ppl": 50.0}])


def plan(selection: Selection, seeds: list[int], sha256: str = HERE) -> list[RunSpec]:
    corpora = [dataclasses.replace(corpus, sha256=sha256) for corpus in selection.corpora()]
    return selection.plan(corpora, seeds)


def test_runs_come_from_the_plan_and_missing_ones_stay(selection: Selection, tmp_path: Path) -> None:
    store = Store(tmp_path)
    record(store, plan(selection, [1])[:1])
    data = collect(selection, store)
    assert data.runs["variant"].tolist() == ["full", "no-ar-tar"]
    assert data.runs["status"].isna().tolist() == [False, True]
    assert data.epochs[["variant", "seed", "epoch"]].to_numpy().tolist() == [["full", 1, 1]]
    assert data.stale.empty


def test_nothing_finished_is_refused(selection: Selection, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for status, counts in (("", "2 not run"), ("failed", "2 failed")):
        if status:
            record(store, plan(selection, [1]), status=status)
        with pytest.raises(
            InputError,
            match=rf"{tmp_path}: no finished run of suite table5, profile smoke on python-docs \({counts}\); to train",
        ):
            require_finished(collect(selection, store))


def test_other_seeds_of_the_plan_are_shown_unless_some_were_asked_for(selection: Selection, tmp_path: Path) -> None:
    store = Store(tmp_path)
    record(store, plan(selection, [1, 4]))
    assert set(collect(selection, store).runs["seed"]) == {1, 4}
    asked = dataclasses.replace(selection, seeds=(1,))
    only = collect(asked, store, other_seeds=False)
    assert set(only.runs["seed"]) == {1}
    assert only.stale.empty, "a seed that was not asked for is not stale"


def test_runs_of_another_configuration_are_stale(selection: Selection, tmp_path: Path) -> None:
    store = Store(tmp_path)
    record(store, plan(selection, [1]))
    other = select("table5", "smoke", variants="full,no-ar-tar", assignments=["model.hidden_size=9"])
    record(store, plan(other, [2]))
    data = collect(selection, store)
    assert set(data.runs["seed"]) == {1}, "a seed whose runs are all of another configuration has no row here"
    assert data.stale["seed"].tolist() == [2, 2]
    assert collect(other, store).runs["status"].notna().sum() == 2


def test_runs_of_another_text_are_shown_with_a_note(selection: Selection, tmp_path: Path) -> None:
    store = Store(tmp_path)
    record(store, plan(selection, [1], sha256="f" * 64))
    data = collect(selection, store)
    assert (data.runs["status"] == "done").all()
    assert data.notes == (
        f"The runs are of another python-docs text (sha256 {'f' * 12}; this machine's is {HERE[:12]}).",
    )
    record(store, plan(selection, [1]))
    assert collect(selection, store).notes == (), "once there are runs of this machine's text, those are shown"


def test_the_reference_is_set_beside_and_says_if_its_text_is_another(selection: Selection, tmp_path: Path) -> None:
    mine, reference = Store(tmp_path / "mine"), Store(tmp_path / "reference")
    record(mine, plan(selection, [1]))
    assert collect(selection, mine, reference).reference is None
    record(reference, plan(selection, [1, 2], sha256="f" * 64), valid_ppl=60.0)
    data = collect(selection, mine, reference)
    assert data.reference is not None
    assert set(data.reference["valid_ppl"]) == {60.0}
    assert set(data.reference["seed"]) == {1, 2}
    assert [note.startswith("The reference runs are of another python-docs text") for note in data.notes] == [True]
    assert collect(selection, mine, mine).reference is None


def test_two_variants_that_are_one_run_both_show_it(tmp_path: Path) -> None:
    selection = select("table5", "smoke", variants="full,no-finetuning", assignments=["finetuning.epochs=0"])
    store = Store(tmp_path)
    record(store, plan(selection, [1])[:1])
    assert collect(selection, store).runs["valid_ppl"].tolist() == [50.0, 50.0]


def test_auto_shows_what_most_runs_were_computed_by_wherever_they_were_made(tmp_path: Path) -> None:
    store, variants = Store(tmp_path), "full,no-ar-tar"
    fast, plain = (
        select("table5", "smoke", variants=variants, engine=engine, precision=precision)
        for engine, precision in (("fast", "bf16"), ("torch", "fp32"))
    )
    record(store, plan(fast, [1]), valid_ppl=40.0)
    record(store, plan(plain, [1])[:1], valid_ppl=60.0)
    auto = collect(select("table5", "smoke", variants=variants), store)
    assert auto.runs["valid_ppl"].tolist() == [40.0, 40.0]
    assert auto.stale["valid_ppl"].tolist() == [60.0]
    assert collect(plain, store).runs["valid_ppl"].tolist()[0] == 60.0
    half = collect(select("table5", "smoke", variants=variants, precision="fp32"), store)
    assert half.runs["valid_ppl"].tolist()[0] == 60.0


def test_a_selection_resolves_auto_by_the_machine_once() -> None:
    auto = select("table5", "smoke")
    engine, precision = auto.computed_by
    assert engine == "fast"
    assert precision in ("fp32", "bf16")
    resolved = auto.resolved()
    assert (resolved.engine, resolved.precision) == (engine, precision)
    asked = select("table5", "smoke", engine="torch", precision="bf16")
    assert asked.computed_by == ("torch", "bf16")
    assert {(spec.engine, spec.precision) for spec in asked.plan(asked.corpora())} == {("torch", "bf16")}


def test_a_data_set_without_any_run_is_a_note_and_no_empty_table(tmp_path: Path) -> None:
    store = Store(tmp_path)
    both = select("table5", "paper", variants="full")
    assert set(collect(both, store).runs["dataset"]) == {"ptb", "wikitext-2"}, (
        "with none at all there is nothing to say"
    )
    ptb = select("table5", "paper", ["ptb"], variants="full")
    record(store, ptb.plan(ptb.corpora(), [1]))
    data = collect(both, store)
    assert set(data.runs["dataset"]) == {"ptb"}
    assert data.notes == ("No run on WikiText-2 is recorded yet.",)
    assert collect(ptb, store).notes == ()
