"""A report is whole files, the same bytes for the same results, or one clear message."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from ablations.experiment.suite import Suite, Variant
from ablations.reporting import figures
from ablations.reporting.render import render_report, report_folder
from awd.errors import InputError
from tests.ablations.reporting.synthetic import report_data, user_suite

TABLES = ["table5.md", "table5.csv", "table5.tex"]
FIGURES = [
    f"{name}.{suffix}" for name in ("differences", "curves", "training", "ranks", "pairs") for suffix in ("png", "pdf")
]
PAGE = ["index.html"]


def test_a_report_is_tables_and_figures(rendered):
    assert [path.name for path in rendered] == TABLES + FIGURES + PAGE
    assert sorted(path.name for path in rendered[0].parent.iterdir()) == sorted(TABLES + FIGURES + PAGE)
    for path in rendered:
        head = path.read_bytes()[:8]
        assert path.suffix != ".png" or head == b"\x89PNG\r\n\x1a\n"
        assert path.suffix != ".pdf" or head.startswith(b"%PDF-")


def test_the_same_results_give_the_same_bytes(demo, rendered, tmp_path):
    shuffled = replace(demo, epochs=demo.epochs.iloc[::-1].reset_index(drop=True))
    for before, after in zip(rendered, render_report(shuffled, tmp_path), strict=True):
        assert before.read_bytes() == after.read_bytes(), before.name
        assert b"CreationDate" not in before.read_bytes()


def test_a_figure_that_cannot_be_drawn_any_more_does_not_stay(tmp_path):
    old = tmp_path / "report" / "ranks.png"
    old.parent.mkdir()
    old.touch()
    paths = render_report(report_data(tmp_path / "results", suite=user_suite(2), seeds=1), old.parent)
    assert [path.name for path in paths] == ["mine.md", "mine.csv", "mine.tex", *FIGURES[:6], *PAGE]
    assert not old.exists()


def test_the_suite_names_the_tables_whatever_it_is_called(tmp_path):
    suite = Suite("../my suite", "Mine", "a", (Variant("a", "A"), *user_suite(2).variants[1:]))
    paths = render_report(report_data(tmp_path / "results", suite=suite, seeds=1), tmp_path / "report")
    assert paths[0].name == "my-suite.md"


def test_no_finished_run_is_one_clear_message(demo, tmp_path):
    runs = demo.runs[demo.runs["variant"].isin(["no-ntasgd", "no-ar-tar"])]
    with pytest.raises(
        InputError, match=r"^no finished run of suite .* profile demo --set .* on python-docs \(3 diverged, 3 not run\)"
    ):
        render_report(replace(demo, runs=runs), tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_folder_that_cannot_be_written_is_one_clear_message(demo, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken: the report cannot be written there"):
        render_report(demo, tmp_path / "taken")


def test_nothing_half_written_is_left(demo, tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figures, "save", full_disk)
    with pytest.raises(InputError, match="No space left on device"):
        render_report(demo, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(TABLES)


def test_terminal_tables_do_without_matplotlib():
    code = "import sys, ablations.reporting.render, ablations.reporting.ladder; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_another_suite_or_text_has_a_folder_of_its_own(demo, tmp_path):
    assert report_folder(demo, tmp_path) == tmp_path / "demo"
    assert report_folder(replace(demo, suite=user_suite(2)), tmp_path) == tmp_path / "demo-mine"
    own = replace(demo, runs=demo.runs.assign(dataset="my/../text"))
    assert report_folder(own, tmp_path) == tmp_path / "demo-my-..-text"
