"""What is published was made by committed code, is whole, and is what README shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

import ablations
from ablations.experiment.plan import Corpus
from ablations.experiment.selection import select
from ablations.reporting.tables import csv_text, latex_text, markdown_page
from ablations.tuning.search import load_search
from ablations.tuning.study import open_study, write_summary
from awd.config import override
from awd.corpus import corpus_identity
from tests.ablations.conftest import call

ROOT = Path(__file__).resolve().parents[1]
RESULTS, REPORTS = ROOT / "results" / "reference", ROOT / "reports" / "reference"
PUBLISHED = [("demo", "python-docs", 3), ("long", "ptb", 5), ("small", "ptb", 5), ("small", "wikitext-2", 3)]
PROFILES = sorted({profile for profile, _, _ in PUBLISHED})


def markdown_table(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")]


def one(column: pd.Series[str]) -> str:
    """What every row holds."""
    (value,) = column.unique()
    return str(value)


@pytest.mark.parametrize("profile", ["demo", "long"])
def test_readme_shows_the_published_table(profile: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split(f"<!-- {profile} table -->")[1].split(f"<!-- end of {profile} table -->")[0]
    published = markdown_table(REPORTS / profile / "table5.md")
    # the first one in the file: of few columns, and of the first data set
    assert [line for line in shown.splitlines() if line.startswith("|")] == published[:11]
    assert published[0].count("|") == 5


@pytest.mark.parametrize(("profile", "dataset", "seeds"), PUBLISHED)
def test_the_runs_are_all_there_and_from_commits(profile: str, dataset: str, seeds: int) -> None:
    runs = pd.read_parquet(RESULTS / "runs").query("profile == @profile and dataset == @dataset")
    assert (runs["status"] == "done").all()
    assert not runs["git_dirty"].any()
    assert runs["git_commit"].str.fullmatch("[0-9a-f]{40}").all()
    # on another processor "auto" may stand for another engine and precision
    corpus_sha256, engine, precision = one(runs["corpus_sha256"]), one(runs["engine"]), one(runs["precision"])
    selection = select("table5", profile, [dataset], engine=engine, precision=precision)
    plan = selection.plan([Corpus(dataset, dataset, corpus_sha256)], range(1, seeds + 1))
    assert {spec.run_id for spec in plan} == set(runs["run_id"])


def skip_where_the_text_is_another(profile: str) -> None:
    recorded = pd.read_parquet(RESULTS / "runs").query("profile == @profile")
    of_text = recorded[["dataset", "corpus_sha256"]].drop_duplicates()
    if any(sha256 != corpus_identity(dataset) for dataset, sha256 in of_text.itertuples(index=False)):
        pytest.skip("this Python carries another text; the report then has a note that says so")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_published_tables_are_made_from_the_published_runs(profile: str) -> None:
    skip_where_the_text_is_another(profile)
    data = ablations.load(RESULTS, profile=profile)
    for suffix, text in (("md", markdown_page(data)), ("csv", csv_text(data)), ("tex", latex_text(data))):
        assert text == (REPORTS / profile / f"table5.{suffix}").read_bytes().decode(), suffix


# the others take as long, and show no more
@pytest.mark.parametrize("profile", ["demo", *(pytest.param(name, marks=pytest.mark.slow) for name in PROFILES[1:])])
def test_the_published_report_is_made_by_its_command(profile: str, tmp_path: Path) -> None:
    skip_where_the_text_is_another(profile)
    done = call(ROOT, "report", "--profile", profile, "--results", RESULTS, "--reports", tmp_path)
    assert done.returncode == 0, done.stderr
    for suffix in ("md", "csv", "tex"):
        made, published = (folder / profile / f"table5.{suffix}" for folder in (tmp_path, REPORTS))
        assert made.read_bytes() == published.read_bytes()
    assert {path.name for path in (tmp_path / profile).iterdir()} == {
        path.name for path in (REPORTS / profile).iterdir()
    }
    assert (REPORTS / profile / "index.html").stat().st_size < 3_000_000


def test_the_published_ladder_is_made_from_the_published_runs(tmp_path: Path) -> None:
    done = call(ROOT, "ladder", "--results", RESULTS, "--reports", tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("ladder.md", "ladder.csv"):
        assert (tmp_path / "ladder" / name).read_bytes() == (REPORTS / "ladder" / name).read_bytes()


@pytest.mark.parametrize("dataset", ["ptb", "wikitext-2"])
def test_the_small_profile_has_the_best_settings_of_its_study(dataset: str) -> None:
    study = RESULTS / "tuning" / f"small-{dataset}"
    settings = yaml.safe_load((study / "best.yaml").read_text(encoding="utf-8"))
    (spec,) = select("table5", "small", [dataset]).only("full").plan([Corpus(dataset, dataset, "")], [1])
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
