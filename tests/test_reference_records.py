"""What is published was made by committed code, is whole, and is what README shows."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ablations.selection import select
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
