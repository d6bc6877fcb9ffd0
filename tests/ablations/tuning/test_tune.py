"""Tuning as a process: what it tries, what it leaves behind, and that it goes on where it was stopped or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import psutil
import pytest
import yaml

from ablations.plan import Corpus
from ablations.selection import select
from ablations.tuning.search import load_search
from ablations.tuning.study import best_settings, open_study
from awd.config import override
from awd.corpus import load_corpus
from awd.corpus.text import encode
from awd.engine import make_engine
from awd.trainer import Trainer
from tests.ablations.conftest import CommandLine, command, environment, write_corpus, write_profile

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


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a corpus, a profile and a search."""
    write_corpus(tmp_path / "own-text")
    write_profile(tmp_path / "tiny.yaml")
    (tmp_path / "few.yaml").write_text(SEARCH.format(trials=6), encoding="utf-8")
    return tmp_path


ARGUMENTS = ("tune", "--dataset", "own-text", "--profile", "tiny.yaml", "--search", "few.yaml", "--study", "study")


def trials(place: Path) -> pd.DataFrame:
    return pd.read_csv(place / "study" / "trials.csv")


def test_a_study_finds_settings_and_goes_on(cli: CommandLine, place: Path) -> None:
    done = cli(*ARGUMENTS, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    first = trials(place)
    assert first["state"].isin(["complete", "pruned"]).all()
    assert first["trial"].tolist() == list(range(6))
    assert first["regularization.weight_dropout"].tolist()[:2] == [0.5, 0.2], "the profile's own, then the other start"
    assert first["training.batch_size"].tolist()[:2] == [4, 4]
    assert (first.loc[first["state"].eq("complete"), "epochs"] >= 4).all()
    best = first[first["state"].eq("complete")].sort_values(["valid_ppl", "trial"]).iloc[0]
    text = (place / "study" / "best.yaml").read_text(encoding="utf-8")
    assert done.stdout == text
    assert f"trial {best['trial']} of 6: validation perplexity {best['valid_ppl']:.3f} on own-text" in text
    settings = yaml.safe_load(text)
    assert settings["regularization"]["weight_dropout"] == best["regularization.weight_dropout"]

    again = cli(*ARGUMENTS, "--jobs", 2, "--trials", 8)
    assert again.returncode == 0, again.stderr
    both = trials(place)
    pd.testing.assert_frame_equal(both.head(6), first, check_dtype=False)
    assert len(both) == 8
    stamp = (place / "study" / "study.journal").stat().st_size
    settled = cli(*ARGUMENTS, "--trials", 8)
    assert settled.returncode == 0, settled.stderr
    assert "trial " not in settled.stderr, "nothing is tried twice"
    assert (place / "study" / "study.journal").stat().st_size > stamp, "but who looked is noted"


def test_one_trial_at_a_time_is_the_same_again(cli: CommandLine, place: Path) -> None:
    found = []
    for study in ("first", "second"):
        done = cli(*ARGUMENTS, "--jobs", 1, "--study", study)
        assert done.returncode == 0, done.stderr
        found.append(pd.read_csv(place / study / "trials.csv").drop(columns="core_seconds"))
    pd.testing.assert_frame_equal(*found)


def test_a_trials_value_is_its_best_epoch_on_validation_and_the_test_split_plays_no_part(
    cli: CommandLine, place: Path
) -> None:
    assert cli(*ARGUMENTS, "--jobs", 1).returncode == 0
    # a study on a corpus with another test split has another digest, but the same numbers
    other = write_corpus(place / "other" / "own-text")
    (other / "test.txt").write_text("a a a a\n" * 9, encoding="utf-8")
    assert cli(*ARGUMENTS, "--jobs", 1, "--study", "again", "--dataset", other).returncode == 0
    again = pd.read_csv(place / "again" / "trials.csv").drop(columns="core_seconds")
    pd.testing.assert_frame_equal(again, trials(place).drop(columns="core_seconds"))

    search = load_search(str(place / "few.yaml"))
    selection = select("table5", str(place / "tiny.yaml"), [str(place / "own-text")]).only_baseline().resolved()
    (spec,) = selection.plan([Corpus("own-text", str(place / "own-text"), "")], [search.training_seed])
    settings = yaml.safe_load((place / "study" / "best.yaml").read_text(encoding="utf-8"))
    config = override(spec.config, settings, "the best")
    corpus = encode(load_corpus(str(place / "own-text")), config.corpus)
    engine = make_engine(spec.engine, spec.precision, "cpu")
    alone = Trainer(config, corpus, search.training_seed, engine=engine).run()
    best = best_settings(open_study(place / "study", search))
    assert best is not None
    # the same run on more threads may round differently
    assert alone.valid_ppl == pytest.approx(best[1], rel=1e-4)


def test_another_studys_best_is_tried_first(cli: CommandLine, place: Path) -> None:
    assert cli(*ARGUMENTS, "--jobs", 1).returncode == 0
    best = best_settings(open_study(place / "study", load_search(str(place / "few.yaml"))))
    assert best is not None
    done = cli(*ARGUMENTS, "--jobs", 1, "--study", "next", "--start-from", "study", "--trials", 1)
    assert done.returncode == 0, done.stderr
    (row,) = pd.read_csv(place / "next" / "trials.csv").to_dict("records")
    assert {field: row[field] for field in best[2]} == pytest.approx(best[2])
    none = cli(*ARGUMENTS, "--study", "third", "--start-from", "nowhere")
    assert none.returncode == 2
    assert "--start-from nowhere: no study with a finished trial is there" in none.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--set", "model.hidden_size=9"), "study: holds a study with another config"),
        (("--precision", "bf16"), "study: holds a study with another precision"),
    ],
)
def test_a_study_of_something_else_is_refused(
    cli: CommandLine, place: Path, options: tuple[str, ...], said: str
) -> None:
    assert cli(*ARGUMENTS, "--trials", 1, "--precision", "fp32").returncode == 0
    refused = cli(*ARGUMENTS, "--precision", "fp32", *options)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_damage_is_one_message(cli: CommandLine, place: Path) -> None:
    (place / "study").mkdir()
    (place / "study" / "study.journal").write_bytes(b"not a journal\n")
    refused = cli(*ARGUMENTS)
    assert refused.returncode == 2, refused.stderr
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: ")
    assert "study.journal: not a study of this program's, or damaged" in line


def test_trials_that_fail_or_diverge_are_told_and_do_not_stop_the_rest(cli: CommandLine, place: Path) -> None:
    text = SEARCH.format(trials=5).replace("high: 8.0, log: true", "high: 1.0e+30, log: true")
    (place / "few.yaml").write_text(text.replace("[2, 4]", "[4, 5000]"), encoding="utf-8")
    done = cli(*ARGUMENTS, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    told = trials(place)
    assert len(told) == 5
    failed = told[told["state"].eq("fail")]
    assert len(failed), "a batch of 5000 columns does not fit"
    assert failed["why"].str.contains("too few for 5000 columns").all()
    assert failed["training.batch_size"].eq(5000).all()


class Tuning:
    """A call in a process group of its own."""

    def __init__(self, place: Path, *options: object) -> None:
        self.process = subprocess.Popen(
            command(*ARGUMENTS, "--set", "training.epochs=400", *options),
            cwd=place,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        _, errors = self.process.communicate(timeout=120)
        assert "Traceback" not in errors, errors
        return self.process.returncode, errors


def reports(place: Path) -> int:
    """Epochs that trials have told the study of."""
    try:
        lines = (place / "study" / "study.journal").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum("intermediate_value" in json.loads(line) for line in lines if line.endswith("}"))


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_trials_are_tried_again(cli: CommandLine, place: Path, number: signal.Signals) -> None:
    tuning = Tuning(place)
    tuning.wait_until(lambda: reports(place) > 4)
    os.killpg(tuning.process.pid, number)
    code, errors = tuning.end()
    assert code == 128 + number, errors
    assert not [child for child in psutil.process_iter() if child_of(child, tuning.process.pid)]
    assert not list((place / "study" / "invocations").iterdir())


def child_of(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


@posix
def test_killed_it_goes_on_with_the_settings_it_had_begun(cli: CommandLine, place: Path) -> None:
    tuning = Tuning(place)
    tuning.wait_until(lambda: reports(place) > 4)
    refused = cli(*ARGUMENTS, "--set", "training.epochs=400")
    assert refused.returncode == 2
    assert "study: another call is tuning there" in refused.stderr
    os.killpg(tuning.process.pid, signal.SIGKILL)
    tuning.process.communicate()
    done = cli(*ARGUMENTS, "--set", "training.epochs=400", "--trials", 2)
    assert done.returncode == 0, done.stderr
    assert "trials that an earlier call had not ended are tried again" in done.stderr
    told = trials(place)
    again = told[told["state"].isin(["complete", "pruned"])]
    assert sorted(again["regularization.weight_dropout"]) == [0.2, 0.5]


def test_a_time_limit_stops_it(cli: CommandLine, place: Path) -> None:
    done = cli(*ARGUMENTS, "--set", "training.epochs=100000", "--time-limit", "8s")
    assert "no trial has finished" in done.stderr
    assert done.returncode == 3
    assert "time limit of 8 s" in done.stderr
