"""What a corpus is goes by its digest: a folder that is called like a published text is not that text, anywhere."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ablations.analysis.collect import collect
from ablations.analysis.comparison import Comparison
from ablations.analysis.ladder import ladder_around
from ablations.experiment.plan import Corpus, make_plan
from ablations.experiment.selection import select
from ablations.experiment.suite import load_suite
from ablations.reporting.captions import strengths
from ablations.reporting.page import page_text
from ablations.reporting.render import report_folder, terminal_table
from ablations.reporting.tables import latex_text, markdown_page
from ablations.storage.store import Store
from awd.corpus import corpus_identity
from tests.ablations.conftest import write_corpus
from tests.ablations.reporting.ladders import growing, ladder_of, record, rung
from tests.ablations.reporting.synthetic import report_data, write_run

FALSE = ("Penn Treebank,", "Penn Treebank:", "929,589", "of the paper's training", "its full model", "## Penn")


@pytest.fixture(scope="module")
def namesake(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """A text of the user's own in a folder called ``ptb``, at the profile of the paper's own protocol."""
    data = report_data(tmp_path_factory.mktemp("namesake"), scale="paper", datasets=["ptb"], seeds=2)
    return replace(data, runs=data.runs.assign(corpus_sha256="f" * 64))


def test_a_report_says_nothing_of_the_published_text(namesake: Comparison) -> None:
    written = io.StringIO()
    Console(file=written, width=200).print(terminal_table(namesake))
    texts = [markdown_page(namesake), latex_text(namesake), page_text(namesake, {}, [], ""), written.getvalue()]
    for text in texts:
        for wrong in FALSE:
            assert wrong not in text
        assert "What is called ptb here is another text than Penn Treebank." in " ".join(text.split())
    assert "## ptb\n" in texts[0]
    assert "its Penn Treebank columns, the point of comparison for ptb" in texts[0]
    assert "training text: all of it" in texts[0]
    assert "ours − paper" not in texts[0]


def test_it_neither_takes_the_place_of_the_published_report_nor_its_strengths(namesake: Comparison) -> None:
    of_both = {"ptb": "tuned for Penn Treebank"}
    tuned = replace(namesake, profile=replace(namesake.profile, datasets=("ptb",), strengths=of_both))
    real = replace(tuned, runs=tuned.runs.assign(corpus_sha256=corpus_identity("ptb")))
    assert report_folder(tuned, Path()) == Path("paper-ptb")
    assert report_folder(real, Path()) == Path("paper")
    assert (strengths(tuned, "ptb"), strengths(real, "ptb")) == ("", "Strengths: tuned for Penn Treebank.")


def test_the_published_text_in_a_folder_of_another_name_is_called_both(namesake: Comparison) -> None:
    runs = namesake.runs.assign(dataset="mine", corpus_sha256=corpus_identity("ptb"))
    assert replace(namesake, runs=runs).title("mine") == "mine (Penn Treebank)"


def test_it_is_no_rung_of_the_ladder(tmp_path: Path) -> None:
    small, long = rung("small"), rung("long")
    record(tmp_path, long, 0.01, growing(0.1))
    store = Store(tmp_path)
    for spec in make_plan(load_suite("table5"), small, [Corpus("ptb", "./ptb", "f" * 64)]):
        write_run(store, spec)
    ladder = ladder_of(tmp_path, [small, long], ["ptb"])
    assert ladder.rungs["profile"].tolist() == ["long"]
    assert "small is left out of Penn Treebank: ptb is another text there." in ladder.notes


def test_no_reference_of_another_text_stands_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "ptb")
    own, published = (select("table5", "smoke", [name], variants="full") for name in ("./ptb", "ptb"))
    mine, reference = Store(tmp_path / "mine"), Store(tmp_path / "reference")
    for selection, store in ((own, mine), (published, reference)):
        for spec in selection.plan(selection.corpora(), [1]):
            write_run(store, spec)
    data = collect(own, mine, reference)
    assert data.reference is None
    assert data.notes == ()
    assert ladder_around(data, mine) is None
    assert collect(published, mine, reference).reference is not None
