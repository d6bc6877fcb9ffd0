"""How long it will take, beside how long it takes."""

from __future__ import annotations

import inspect
import io
import itertools
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from ablations.cli.listing import print_plan
from ablations.execution.estimate import Estimate, estimate
from ablations.execution.job import RunOptions
from ablations.execution.sizes import sizes
from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection, select
from ablations.storage.store import Store
from awd.corpus import load_corpus
from awd.corpus.text import encode
from awd.engine import make_engine
from awd.errors import CorpusError, InputError
from awd.trainer import Trainer
from awd.windows import Window
from tests.ablations.conftest import ROOT, CommandLine, environment, write_corpus

QUIET = Console(file=io.StringIO())
# seconds for what a command times; a tenth is enough where it need not be exact
USUAL = inspect.signature(estimate).parameters["budget"].default


def estimates(selection: Selection, budget: float = 0.1) -> dict[str, Estimate]:
    """By variant, of one seed."""
    plan = selection.plan(selection.corpora(), seeds=[1])
    found = estimate(plan, sizes(plan, selection), "cpu", QUIET, budget=budget)
    return {spec.variant: found[spec.run_id] for spec in plan}


def trainer_of(spec: RunSpec) -> Trainer:
    corpus = encode(load_corpus(spec.source), spec.config.corpus)
    engine = make_engine(spec.engine, spec.precision, "cpu")
    return Trainer(spec.config, corpus, spec.seed, engine=engine)


def fast(selection: Selection) -> Selection:
    return replace(selection, engine="fast", precision="fp32", device="cpu")


@pytest.fixture
def few_epochs() -> Selection:
    """The demo's model and text, three epochs, one of them of fine-tuning."""
    return fast(select("table5", "demo", assignments=["training.epochs=2", "finetuning.epochs=1"], variants="full"))


def test_an_estimate_is_within_a_factor_of_two_of_the_run(few_epochs: Selection) -> None:
    (spec,) = few_epochs.plan(few_epochs.corpora(), seeds=[1])
    ratios = []
    for _ in range(3):  # other processes come and go
        expected = estimates(few_epochs, USUAL)["full"]
        trainer = trainer_of(spec)
        started = time.perf_counter()
        result = trainer.run()
        taken = time.perf_counter() - started
        assert len(result.epochs) == 3
        epoch = sum(record.seconds for record in result.epochs) / 3
        ratios.append((expected.seconds / taken, expected.seconds_an_epoch / epoch))
        if all(0.5 < ratio < 2 for ratio in ratios[-1]):
            return
    pytest.fail(f"estimated over real seconds, of a run and of an epoch: {ratios}")


def test_variants_of_one_cost_share_a_timing(corpus: Path, profile: Path) -> None:
    found = estimates(fast(select("table5", str(profile), [str(corpus)])))
    same = ["full", "no-finetuning", "no-ntasgd", "no-embedding-dropout", "no-weight-decay", "no-ar-tar"]
    # two timings never agree to the last bit
    assert len({found[name].seconds_a_step for name in [*same, "no-weight-drop"]}) == 1
    assert len({found[name].seconds_a_step for name in ("full", "full-size-embedding")}) == 2
    # three epochs and two of fine-tuning; validation and test are the same
    full, without = found["full"], found["no-finetuning"]
    assert full.seconds - without.seconds == pytest.approx(2 * full.seconds_an_epoch)
    assert 5 < full.seconds / full.seconds_an_epoch < 6
    assert found["no-ntasgd"] == without


def test_a_slow_first_step_is_not_taken_for_every_one(few_epochs: Selection, monkeypatch: pytest.MonkeyPatch) -> None:
    step, calls = Trainer.step, itertools.count()

    def slow_at_first(trainer: Trainer, window: Window) -> None:
        time.sleep(0 if next(calls) else 0.5)
        step(trainer, window)

    monkeypatch.setattr(Trainer, "step", slow_at_first)
    plan = few_epochs.plan(few_epochs.corpora())
    found = estimate(plan, sizes(plan, few_epochs), "cpu", QUIET, budget=0.05)
    assert found[plan[0].run_id].seconds_a_step < 0.25


def test_seeds_share_all(few_epochs: Selection) -> None:
    plan = few_epochs.plan(few_epochs.corpora(), seeds=[1, 2, 3])
    found = estimate(plan, sizes(plan, few_epochs), "cpu", QUIET, budget=0.1)
    assert len(found) == 3
    assert len(set(found.values())) == 1


def test_a_text_of_two_rows_is_enough_and_one_is_not(corpus: Path, profile: Path) -> None:
    tokens = len(load_corpus(str(corpus)).train)

    def found(batch_size: int) -> Estimate:
        settings = [f"training.batch_size={batch_size}"]
        return estimates(fast(select("table5", str(profile), [str(corpus)], "full", assignments=settings)))["full"]

    assert 0 < found(tokens // 2).seconds < 60
    with pytest.raises(CorpusError, match=rf"the train split has {tokens} tokens, too few for {tokens} columns"):
        found(tokens)


def test_threads_and_random_numbers_are_left_as_they_were(corpus: Path, profile: Path) -> None:
    chosen = fast(select("table5", str(profile), [str(corpus)], "full"))
    too_big = fast(select("table5", str(profile), [str(corpus)], "full", assignments=["model.hidden_size=1000000"]))
    torch.set_num_threads(2)
    try:
        before = torch.get_rng_state()
        estimates(chosen)
        with pytest.raises(InputError):
            estimates(too_big)
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_num_threads(1)


def test_what_does_not_fit_into_memory_is_one_error_that_names_the_variant(cli: CommandLine) -> None:
    settings = ("--set", "model.hidden_size=1000000")
    done = cli("--variants", "no-ar-tar", "--profile", "paper", "--dataset", "ptb", "--dry-run", *settings)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "ptb no-ar-tar: does not fit into the memory of cpu (at least " in line
    assert "training.batch_size" in line


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process' memory")
def test_memory_that_is_refused_is_the_same_error() -> None:
    program = """
import resource, sys
from ablations.cli.app import main
import ablations.execution.estimate, ablations.cli.listing, ablations.execution.runner
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**29, resource.RLIM_INFINITY))
sys.argv = ["run_ablations.py", *sys.argv[1:]]
main()
"""
    arguments = ["--all", "--profile", "paper", "--dataset", "ptb", "--dry-run", "--device", "cpu"]
    settings = ["--set", "model.hidden_size=4000", "--engine", "fast"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments, *settings],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2, done.stderr
    assert "ptb full: does not fit into the memory of cpu (" in done.stderr
    assert "at least" not in done.stderr, "the machine has the memory; this process may not have it"
    assert "Traceback" not in done.stderr


def printed(selection: Selection, store: Store, jobs: int) -> str:
    output = Console(file=io.StringIO(), width=200)
    print_plan(selection, store, RunOptions(jobs, "cpu"), output, QUIET)
    assert isinstance(output.file, io.StringIO)
    return output.file.getvalue()


HOURS = r"about ([<\d.e-]+) hours one after another, ([<\d.e-]+) with 2 at a time \(at most: fine-tuning usually stops"


def test_a_plan_says_how_many_hours(few_epochs: Selection, tmp_path: Path) -> None:
    long = replace(few_epochs, settings={"training": {"epochs": 20_000}}, seeds=(1, 2, 3, 4))
    text = printed(long, Store(tmp_path), jobs=2)
    found = re.search(HOURS, text)
    assert found, text
    alone, together = map(float, found.groups())
    assert together == pytest.approx(alone / 2, rel=0.1)
    columns = [line.split()[-2] for line in text.splitlines() if line.startswith("full ")]
    assert sum(map(float, columns)) == pytest.approx(alone, rel=0.1)
    assert "at a time" not in printed(few_epochs, Store(tmp_path), jobs=1)


def test_one_run_is_no_faster_with_more_at_a_time(few_epochs: Selection, tmp_path: Path) -> None:
    found = re.search(HOURS, printed(replace(few_epochs, seeds=(1,)), Store(tmp_path), jobs=2))
    assert found
    assert found[1] == found[2]


def test_what_is_done_costs_nothing_and_nothing_is_written(cli: CommandLine, profile: Path, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "own-text")
    arguments = ["--variants", "full,no-ar-tar", "--profile", profile, "--dataset", corpus]
    selection = select("table5", str(profile), [str(corpus)], "full")
    (spec,) = selection.plan(selection.corpora())
    assert Store(tmp_path / "results").write({"run_id": spec.run_id, "status": "done"}, [])

    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    before = files()
    places = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME")}
    done = cli(*arguments, "--dry-run", **places)
    assert done.returncode == 0, done.stderr
    assert "2 runs, 1 to train" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith(("full ", "no-ar-tar "))]
    hours = {row[0]: row[-2] for row in rows}
    assert hours["full"] == "-"
    assert hours["no-ar-tar"] != "-"
    again = cli(*arguments[:1], "full", *arguments[2:], "--dry-run", **places)
    assert "1 run, 0 to train: at most 0 tokens. Dry run" in again.stdout
    assert files() == before


@pytest.mark.slow
def test_the_papers_model_is_estimated_from_a_step_or_two(tmp_path: Path) -> None:
    selection = fast(select("table5", "paper", ["ptb"]))
    started = time.perf_counter()
    found = estimates(selection, USUAL)
    assert time.perf_counter() - started < 120
    full, wide = found["full"], found["full-size-embedding"]
    # 24 million multiplications and additions a token, three times over, at 4 billion to 4 trillion a second
    assert 0.1 < full.seconds_a_step < 100
    assert 330 < (full.seconds_an_epoch / full.seconds_a_step) < 420
    assert 1.2 < wide.seconds / full.seconds < 4

    spec = selection.plan(selection.corpora(), seeds=[1])[0]
    words = 10_000
    small = encode(load_corpus(str(write_corpus(tmp_path / "small"))))
    encoded = replace(small, words=["word"] * words, train=torch.randint(words, (40 * 200,)).tolist())
    trainer = Trainer(spec.config, encoded, 1, engine=make_engine("fast", "fp32", "cpu"))
    trainer.step(Window(0, 70, 1.0))
    started = time.perf_counter()
    trainer.step(Window(70, 70, 1.0))
    assert 0.5 < found["no-variable-length"].seconds_a_step / (time.perf_counter() - started) < 2
