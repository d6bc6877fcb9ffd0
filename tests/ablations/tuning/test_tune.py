"""Tuning as a process: what it tries, what it leaves behind, and that it goes on where it was stopped or killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml
from typer.testing import CliRunner

from ablations.cli import tune as cli_tune
from ablations.cli.app import app
from ablations.execution.job import RunOptions
from ablations.experiment.selection import select
from ablations.experiment.suite import load_suite
from ablations.tuning import rows
from ablations.tuning.search import load_search
from ablations.tuning.study import best_settings, claim, open_study
from awd.config import Config, config_to_dict, override
from awd.corpus import load_corpus
from awd.corpus.text import encode
from awd.engine import make_engine
from awd.errors import InputError
from awd.trainer import Trainer
from tests.ablations import conftest
from tests.ablations.conftest import Started, environment, write_corpus, write_profile
from tests.ablations.sweeps import wait_for

pytest.importorskip("optuna")

SEARCH = """
name: few
title: a handful
trials: {trials}
startup_trials: 3
pruning: {{percentile: 50, startup_trials: 2, warmup_epochs: 1}}
start: [{{}}, {{regularization.weight_dropout: 0.2}}]
space:
  regularization.weight_dropout: {{low: 0.1, high: 0.6, step: 0.1}}
  optimizer.learning_rate: {{low: 1.0, high: 8.0, log: true}}
  training.batch_size: {{choices: [2, 4]}}
"""
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

ARGUMENTS = ("tune", "--dataset", "own-text", "--profile", "tiny.yaml", "--search", "few.yaml")
# trials in the caller's own process, as where the system has no semaphores: sooner, where workers are not the matter
ALONE = {"JOBLIB_MULTIPROCESSING": "0"}


def write_place(folder: Path) -> Path:
    """A folder with a corpus, a profile and a search."""
    write_corpus(folder / "own-text")
    write_profile(folder / "tiny.yaml")
    (folder / "few.yaml").write_text(SEARCH.format(trials=6), encoding="utf-8")
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return write_place(tmp_path)


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with a study of six trials, one at a time; read only."""
    folder = write_place(tmp_path_factory.mktemp("studied"))
    done = call(folder, "--jobs", 1, **ALONE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (folder / "study" / "best.yaml").read_text(encoding="utf-8")
    return folder


def call(folder: Path, *options: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return conftest.call(folder, *ARGUMENTS, "--study", "study", *options, **variables)


def trials(study: Path) -> pd.DataFrame:
    return pd.read_csv(study / "trials.csv")


def test_a_study_begins_with_the_start_and_finds_settings(studied: Path) -> None:
    told = trials(studied / "study")
    assert told["state"].isin(["complete", "pruned"]).all()
    assert told["trial"].tolist() == list(range(6))
    assert told["regularization.weight_dropout"].tolist()[:2] == [0.5, 0.2], "the profile's own, then the other start"
    assert told["training.batch_size"].tolist()[:2] == [4, 4]
    complete = told[told["state"].eq("complete")]
    assert (complete["epochs"] >= 4).all()
    best = complete.sort_values(["valid_ppl", "trial"]).iloc[0]
    text = (studied / "study" / "best.yaml").read_text(encoding="utf-8")
    assert (
        f"trial {best['trial']}, the best of 6 settings: validation perplexity {best['valid_ppl']:.3f} on own-text"
        in text
    )
    assert yaml.safe_load(text)["regularization"]["weight_dropout"] == best["regularization.weight_dropout"]


def test_it_goes_on_and_tries_nothing_twice(studied: Path, place: Path) -> None:
    shutil.copytree(studied / "study", place / "study")
    done = call(place, "--jobs", 2, "--trials", 8)
    assert done.returncode == 0, done.stderr
    both = trials(place / "study")
    pd.testing.assert_frame_equal(both.head(6), trials(studied / "study"), check_dtype=False)
    assert len(both) == 8
    settled = call(place, "--trials", 8)
    assert settled.returncode == 0, settled.stderr
    assert "trial " not in settled.stderr
    assert len(trials(place / "study")) == 8


def test_one_trial_at_a_time_is_the_same_again_and_the_test_split_plays_no_part(studied: Path, place: Path) -> None:
    # another test split is another corpus, with the same numbers
    (place / "own-text" / "test.txt").write_text("a cat sat\n" * 9, encoding="utf-8")
    done = call(place, "--jobs", 1, **ALONE)
    assert done.returncode == 0, done.stderr
    first, again = (trials(folder / "study").drop(columns="core_seconds") for folder in (studied, place))
    pd.testing.assert_frame_equal(again, first, check_exact=True)


def test_a_trials_value_is_its_best_epoch_on_validation(studied: Path) -> None:
    search = load_search(str(studied / "few.yaml"))
    selection = select("table5", str(studied / "tiny.yaml"), [str(studied / "own-text")]).only("full").resolved()
    (spec,) = selection.plan(selection.corpora(), [search.training_seed])
    settings = yaml.safe_load((studied / "study" / "best.yaml").read_text(encoding="utf-8"))
    config = override(spec.config, settings, "the best")
    corpus = encode(load_corpus(str(studied / "own-text")), config.corpus)
    engine = make_engine(spec.engine, spec.precision, "cpu")
    alone = Trainer(config, corpus, search.training_seed, engine=engine).run()
    best = best_settings(open_study(studied / "study", search))
    assert best is not None
    # sums may be taken in another order on more threads
    assert alone.valid_ppl == pytest.approx(best[1], rel=1e-4)


def test_another_studys_best_is_tried_first(studied: Path, place: Path) -> None:
    best = best_settings(open_study(studied / "study", load_search(str(studied / "few.yaml"))))
    assert best is not None
    done = call(place, "--jobs", 1, "--start-from", studied / "study", "--trials", 1, **ALONE)
    assert done.returncode == 0, done.stderr
    (row,) = trials(place / "study").to_dict("records")
    assert {field: row[field] for field in best[2]} == pytest.approx(best[2])


def test_a_start_that_is_not_there_is_refused(place: Path) -> None:
    none = call(place, "--start-from", "nowhere")
    assert none.returncode == 2
    assert "--start-from nowhere: no study with a finished trial is there" in none.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "model.hidden_size=9"), "study: holds a study with another config"),
        (("--engine", "torch"), "study: holds a study with another engine"),
    ],
)
def test_a_study_of_something_else_is_refused(studied: Path, options: tuple[str, ...], said: str) -> None:
    refused = call(studied, *options)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_damage_is_one_message(place: Path) -> None:
    (place / "study").mkdir()
    (place / "study" / "study.journal").write_bytes(b"not a journal\n")
    refused = call(place)
    assert refused.returncode == 2, refused.stderr
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: ")
    assert "study.journal: not a study of this program's, or damaged" in line


def test_trials_that_fail_or_diverge_are_told_and_do_not_stop_the_rest(place: Path) -> None:
    text = SEARCH.format(trials=5).replace("high: 8.0, log: true", "high: 1.0e+30, log: true")
    (place / "few.yaml").write_text(text.replace("[2, 4]", "[4, 5000]"), encoding="utf-8")
    done = call(place, "--jobs", 1, **ALONE)
    assert done.returncode == 0, done.stderr
    told = trials(place / "study")
    assert len(told) == 5
    failed = told[told["state"].eq("fail")]
    assert len(failed), "a batch of 5000 columns does not fit"
    assert failed["why"].str.contains("too few for 5000 columns").all()
    assert failed["training.batch_size"].eq(5000).all()


def begin(place: Path) -> Started:
    """A call in a process group of its own."""
    arguments = (*ARGUMENTS, "--study", "study", "--set", "training.epochs=100")
    return Started(place, arguments, environment(), session=True)


def reports(place: Path) -> int:
    """Epochs that trials have told the study of."""
    try:
        lines = (place / "study" / "study.journal").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum("intermediate_value" in json.loads(line) for line in lines if line.endswith("}"))


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_stopped_trials_are_tried_again(place: Path, number: signal.Signals) -> None:
    tuning = begin(place)
    wait_for(lambda: reports(place) > 4)
    os.killpg(tuning.pid, number)
    _, errors = tuning.communicate(timeout=120)
    assert "Traceback" not in errors, errors
    assert tuning.returncode == 128 + number, errors
    assert re.search(r"trial \d+: valid \d+\.\d+, stopped", errors), errors
    wait_for(lambda: not [child for child in psutil.process_iter() if child_of(child, tuning.pid)], 30)
    assert not list((place / "study" / "invocations").iterdir())


def child_of(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


@posix
def test_killed_it_goes_on_with_the_settings_it_had_begun(place: Path) -> None:
    tuning = begin(place)
    wait_for(lambda: reports(place) > 4)
    refused = call(place, "--set", "training.epochs=100")
    assert refused.returncode == 2
    assert "study: another call is tuning there" in refused.stderr
    os.killpg(tuning.pid, signal.SIGKILL)
    tuning.communicate()
    done = call(place, "--set", "training.epochs=100", "--trials", 2, **ALONE)
    assert done.returncode == 0, done.stderr
    assert "trials that an earlier call had not ended are tried again" in done.stderr
    told = trials(place / "study")
    again = told[told["state"].isin(["complete", "pruned"])]
    assert sorted(again["regularization.weight_dropout"]) == [0.2, 0.5]


def test_a_time_limit_stops_it(place: Path) -> None:
    done = call(place, "--set", "training.epochs=100000", "--time-limit", "2s", **ALONE)
    assert "no trial has finished" in done.stderr
    assert done.returncode == 3
    assert "time limit of 2 s" in done.stderr


def test_every_row_is_tuned_and_set_beside_the_rows_that_were_not(place: Path) -> None:
    arguments = (
        *("retune", "--dataset", "own-text", "--profile", "tiny.yaml", "--search", "few.yaml", "--trials", 2),
        *("--variants", "full,no-weight-drop,no-ar-tar", "--results", "r", "--reports", "s", "--no-audit"),
    )
    done = conftest.call(place, *arguments, **ALONE)
    assert done.returncode == 0, done.stderr
    studies = place / "r" / "tuning" / "tiny-own-text-table5"
    retuned = load_suite(str(studies / "retuned.yaml"))
    assert [variant.name for variant in retuned.variants] == ["full", "no-ar-tar", "no-weight-drop"]
    for variant in retuned.variants:
        tried = trials(studies / variant.name)
        assert len(tried) == 2
        assert ("regularization.weight_dropout" in tried) == (variant.name != "no-weight-drop")
        best = yaml.safe_load((studies / variant.name / "best.yaml").read_text(encoding="utf-8"))
        own = select("table5", str(place / "tiny.yaml")).suite.variant(variant.name).overrides
        assert variant.overrides == {
            section: best.get(section, {}) | own.get(section, {}) for section in variant.overrides
        }

    (table,) = (place / "s").rglob("retuned.csv")
    both = pd.read_csv(table)
    assert both["variant"].tolist() == [variant.label for variant in retuned.variants]
    for name, heading in (("table5", "nothing retuned"), (retuned.name, "each retuned")):
        (report,) = (place / "s").rglob(f"{name}.csv")
        expected = [f"{perplexity:.2f}" for perplexity in pd.read_csv(report)["test_mean"]]
        assert both[f"{heading}: perplexity"].map("{:.2f}".format).tolist() == expected

    # the same command goes on: nothing is left to do, and the files are the same
    before = table.read_bytes()
    again = conftest.call(place, *arguments, **ALONE)
    assert again.returncode == 0, again.stderr
    assert "trial " not in again.stderr
    assert table.read_bytes() == before


def test_one_time_limit_holds_for_the_tuning_and_both_sweeps(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    def tuned(*arguments: object) -> None:
        time.sleep(0.3)

    def swept(selection: object, options: RunOptions, *arguments: object, **named: object) -> None:
        given.append(options.time_limit or 0.0)
        time.sleep(0.3)
        if len(given) == 2:
            raise InputError("seen enough")

    monkeypatch.chdir(place)
    monkeypatch.setattr(rows, "tune_rows", tuned)
    monkeypatch.setattr(rows, "write_retuned", lambda *arguments: "table5")
    monkeypatch.setattr(cli_tune, "run_and_report", swept)
    arguments = ["retune", "--dataset", "own-text", "--profile", "tiny.yaml", "--search", "few.yaml"]
    CliRunner().invoke(app, [*arguments, "--time-limit", "100s"])
    assert given[0] <= 99.7
    assert given[1] <= 99.4


def test_each_optimizer_is_tuned_to_a_rate_of_its_own_also_where_its_row_has_one(place: Path) -> None:
    arguments = (
        *("retune", "--suite", "optimizers", "--search", "rates", "--dataset", "own-text", "--profile", "tiny.yaml"),
        *("--variants", "nt-asgd,sgd,adam-0.003", "--trials", 3, "--no-audit", "--backend", "sequential"),
        *("--set", "training.epochs=2"),
    )
    done = conftest.call(place, *arguments, **ALONE)
    assert done.returncode == 0, done.stderr
    studies = place / "results" / "tuning" / "tiny-own-text-optimizers"
    suite, rates = load_suite(str(studies / "retuned.yaml")), {}
    assert (suite.kind, suite.baseline) == ("choices", "nt-asgd")
    for variant in suite.variants:
        tried = trials(studies / variant.name)
        rates[variant.name] = variant.overrides["optimizer"]["learning_rate"]
        assert rates[variant.name] in tried["optimizer.learning_rate"].tolist()
        assert len(tried) == 3
    assert min(rates["nt-asgd"], rates["sgd"]) >= 1
    assert rates["adam-0.003"] < 0.03
    assert trials(studies / "adam-0.003")["optimizer.learning_rate"][0] == 0.003, "its own comes first"
    assert [one.label for one in suite.variants][:2] == ["NT-ASGD", "SGD"]
    assert suite.variants[2].label == f"Adam, rate 0.003 → learning rate {rates['adam-0.003']:.3g}"

    # rows stand beside themselves, whatever is best before and after
    (table,) = (place / "reports").rglob("retuned.csv")
    both = pd.read_csv(table).set_index("variant")
    for name, heading in (("optimizers", "nothing retuned"), (suite.name, "each retuned")):
        (report,) = (place / "reports").rglob(f"{name}.csv")
        found = pd.read_csv(report).set_index("variant")["test_mean"]
        for variant in select("optimizers", str(place / "tiny.yaml")).suite.variants:
            if variant.name in rates:
                assert both.loc[variant.label, f"{heading}: perplexity"] == pytest.approx(found[variant.name], abs=0.01)


def test_a_study_from_before_a_field_was_there_goes_on_at_its_default_alone(tmp_path: Path) -> None:
    study = open_study(tmp_path, load_search("rates"))
    now = {"config": config_to_dict(Config()), "space": {"optimizer.learning_rate": {}}}
    younger = {"mask_per", "embedding_drops", "recurrent_drops"}
    before = {key: value for key, value in now["config"]["regularization"].items() if key not in younger}
    claim(study, {**now, "config": now["config"] | {"regularization": before}}, {}, tmp_path)
    claim(study, now, {}, tmp_path)
    other = override(Config(), {"regularization": {"mask_per": "step"}}, "the test")
    with pytest.raises(InputError, match="holds a study with another config"):
        claim(study, {**now, "config": config_to_dict(other)}, {}, tmp_path)
