"""What is published was made by committed code, is whole, and is what README shows."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ablations.plan import Corpus
from ablations.selection import select
from ablations.tuning.search import load_search
from ablations.tuning.study import open_study, write_summary
from awd.config import override
from awd.corpus import corpus_identity

ROOT = Path(__file__).resolve().parents[1]
RESULTS, REPORTS = ROOT / "results" / "reference", ROOT / "reports" / "reference"


def markdown_table(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]


def one(column: pd.Series[str]) -> str:
    """What every row holds."""
    (value,) = column.unique()
    return str(value)


def test_readme_shows_the_published_table() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split("<!-- demo table -->")[1].split("<!-- end of demo table -->")[0]
    table = markdown_table(REPORTS / "demo" / "table5.md")
    assert len(table) == 11
    assert [line for line in shown.splitlines() if line.startswith("|")] == table


def test_the_demo_runs_are_all_there_and_from_a_commit() -> None:
    runs = pd.read_parquet(RESULTS / "runs").query("profile == 'demo'")
    assert (runs["status"] == "done").all()
    assert not runs["git_dirty"].any()
    assert runs["git_commit"].nunique() == 1
    # on another processor "auto" may stand for another engine and precision
    corpus_sha256, engine, precision = one(runs["corpus_sha256"]), one(runs["engine"]), one(runs["precision"])
    selection = select("table5", "demo", engine=engine, precision=precision)
    corpora = [dataclasses.replace(corpus, sha256=corpus_sha256) for corpus in selection.corpora()]
    assert {spec.run_id for spec in selection.plan(corpora)} == set(runs["run_id"])


def test_the_published_report_is_made_from_the_published_runs(tmp_path: Path) -> None:
    recorded = pd.read_parquet(RESULTS / "runs").query("profile == 'demo'")["corpus_sha256"].unique()
    if list(recorded) != [corpus_identity("python-docs")]:
        pytest.skip("this Python carries another text; the report then has a note that says so")
    command = [sys.executable, "run_ablations.py", "report", "--results", RESULTS, "--reports", tmp_path]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    for suffix in ("md", "csv", "tex"):
        made, published = (folder / "demo" / f"table5.{suffix}" for folder in (tmp_path, REPORTS))
        assert made.read_bytes() == published.read_bytes()


@pytest.mark.parametrize("dataset", ["ptb"])
def test_the_small_profile_has_the_best_settings_of_its_study(dataset: str) -> None:
    study = RESULTS / "tuning" / f"small-{dataset}"
    settings = yaml.safe_load((study / "best.yaml").read_text(encoding="utf-8"))
    (spec,) = select("table5", "small", [dataset]).only_baseline().plan([Corpus(dataset, dataset, "")], [1])
    assert override(spec.config, settings, "best.yaml") == spec.config
    trials = pd.read_csv(study / "trials.csv")
    best = trials[trials["state"].eq("complete")].sort_values(["valid_ppl", "trial"]).iloc[0]
    for field in load_search("strengths").space:
        section, _, key = field.partition(".")
        assert settings[section][key] == best[field]


def test_the_summary_of_a_study_is_that_of_its_journal(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    for published in sorted((RESULTS / "tuning").iterdir()):
        copy = tmp_path / published.name
        copy.mkdir()
        shutil.copy(published / "study.journal", copy)
        write_summary(open_study(copy, load_search("strengths")), copy)
        for name in ("trials.csv", "best.yaml"):
            assert (copy / name).read_bytes() == (published / name).read_bytes()
