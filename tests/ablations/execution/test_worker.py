"""A run and what it left behind: which checkpoint it may go on from, and where it cannot begin at all; and processes
that carry runs: ended while they start, before they say a word, with their caller, or not there at all."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch

from ablations.execution.job import Context, Job, RunOptions, Summary
from ablations.execution.watch import Watch
from ablations.execution.worker import checkpoint_folder, execute, prepare_process
from ablations.experiment.selection import select
from ablations.storage.leases import Leases
from ablations.storage.provenance import collect_provenance
from ablations.storage.store import Store
from awd.checkpoint import Interval, pack, read_checkpoint
from awd.files import write_sealed
from tests.ablations.conftest import CommandLine, command, environment, write_corpus, write_profile
from tests.ablations.sweeps import (
    Sweep,
    arguments,
    assert_equal_to_the_bit,
    numbers,
    running,
    to_the_end,
    undisturbed_numbers,
    wait_for,
)

VARIANTS = ("full", "no-ntasgd", "no-weight-drop")
posix = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)  # a worker takes one


def make_job(folder: Path, results: Path, train_lines: int = 60, variant: str = "full", epochs: int = 20) -> Job:
    """A run on the corpus of a folder, called by nobody who could die."""
    profile, corpus = write_profile(folder / "tiny.yaml"), write_corpus(folder / "own-text", train_lines)
    settings = [f"training.epochs={epochs}"]
    selection = select("table5", str(profile), [str(corpus)], variant, assignments=settings).resolved()
    (spec,) = selection.plan(selection.corpora())
    invocation = results / "invocations" / "test"
    invocation.parent.mkdir(parents=True, exist_ok=True)
    invocation.touch()
    options = RunOptions(1, "cpu", interval=Interval(epochs=1), keep_weights=False)
    return Job(spec, options, Context(results, invocation, 0, collect_provenance()), audit="", known=None)


def pause(job: Job) -> Summary:
    """Train it until a few epochs are behind it, and ask it to stop as SIGTERM does."""

    def stop() -> None:
        wait_for(lambda: running(job.context.results, epochs=3))
        Watch.stop_this_process("SIGTERM")

    asking = threading.Thread(target=stop)
    asking.start()
    summary = execute(job)
    asking.join()
    return summary


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Of a run that is done."""
    folder = tmp_path_factory.mktemp("worker")
    made = make_job(folder, folder / "undisturbed")
    assert execute(made).status == "done"
    return made


@pytest.fixture
def undisturbed(job: Job) -> pd.DataFrame:
    return numbers(job.context.results)


@pytest.fixture
def paused(job: Job, tmp_path: Path) -> Job:
    """The same run in its middle, in a folder of its own."""
    invocation = tmp_path / "results" / "invocations" / "test"
    made = replace(job, context=replace(job.context, results=tmp_path / "results", invocation=invocation))
    invocation.parent.mkdir(parents=True)
    invocation.touch()
    assert pause(made).status == "paused"
    assert not list(made.context.results.rglob("*.tmp"))
    return made


def test_a_worker_computes_on_one_thread() -> None:
    torch.set_num_threads(2)
    assert prepare_process("cpu", (), 0) == "cpu"
    assert torch.get_num_threads() == 1


def row(job: Job) -> dict[str, object]:
    found = Store(job.context.results).run(job.spec.run_id)
    assert found is not None
    return found


def test_a_paused_run_says_how_far_it_is_and_goes_on(paused: Job, undisturbed: pd.DataFrame) -> None:
    here = row(paused)
    assert (here["status"], here["error"], here["test_ppl"]) == ("paused", "SIGTERM", None)
    epochs = Store(paused.context.results).epochs([paused.spec.run_id])
    assert len(epochs) == here["epochs"] >= 3
    assert here["valid_ppl"] == epochs["valid_ppl"].min()
    assert not Leases(paused.context.results).live()
    assert not running(paused.context.results, epochs=0)
    assert execute(paused).status == "done"
    assert_equal_to_the_bit(paused.context.results, undisturbed)
    assert row(paused)["resumes"] == 1


def test_asked_before_its_first_step_it_does_not_start(paused: Job) -> None:
    before = row(paused)
    paused.context.invocation.unlink()
    assert execute(paused).status == "not started"
    assert row(paused) == before


def test_another_caller_has_it_or_has_settled_it(paused: Job) -> None:
    lease = Leases(paused.context.results).take(paused.spec.run_id)
    assert lease is not None
    with lease:
        assert execute(paused).status == "claimed"
    assert not execute(paused).by_another
    stamps = {path: path.stat().st_mtime_ns for path in paused.context.results.rglob("*.parquet")}
    settled = execute(paused)
    assert (settled.status, settled.by_another) == ("done", True)
    assert settled.test_ppl == row(paused)["test_ppl"]
    assert stamps == {path: path.stat().st_mtime_ns for path in paused.context.results.rglob("*.parquet")}


def test_a_changed_corpus_is_another_run(paused: Job, tmp_path: Path) -> None:
    changed, anew = make_job(tmp_path, paused.context.results, 61), make_job(tmp_path, tmp_path / "anew", 61)
    assert changed.spec.run_id != paused.spec.run_id
    for one in (changed, anew):
        assert execute(one).status == "done"
    assert row(changed)["resumes"] == 0
    assert row(changed)["test_ppl"] == row(anew)["test_ppl"]
    assert row(paused)["status"] == "paused", "what was there stays, and is not used"


def test_a_corpus_that_changed_after_the_plan_gives_no_number(paused: Job, tmp_path: Path) -> None:
    planned = make_job(tmp_path, paused.context.results, 61)
    write_corpus(tmp_path / "own-text", train_lines=62)
    assert execute(planned).status == "failed"
    assert "the corpus changed after the runs were planned; start again" in str(row(planned)["error"])


def test_a_checkpoint_of_another_version_fails_with_the_way_out(paused: Job, undisturbed: pd.DataFrame) -> None:
    saved = checkpoint_folder(paused.context.results, paused.spec.run_id)
    for path in saved.iterdir():
        state = read_checkpoint(path)
        state["identity"]["PyTorch"] = "1.0"
        write_sealed(path, pack(state))
    summary = execute(paused)
    assert summary.status == row(paused)["status"] == "failed"
    assert f"of another PyTorch 1.0, not {torch.__version__}" in str(summary.error)
    assert f"delete {saved} to train this run from its start" in str(summary.error)
    shutil.rmtree(saved)
    assert execute(replace(paused, known=str(row(paused)["finished_at"]))).status == "done"
    assert_equal_to_the_bit(paused.context.results, undisturbed)


def test_checkpoints_of_a_done_run_do_no_harm(paused: Job, job: Job, undisturbed: pd.DataFrame) -> None:
    for name in ("runs", "epochs"):
        shutil.copytree(job.context.results / name, paused.context.results / name, dirs_exist_ok=True)
    assert execute(paused).by_another, "it is done, and is not trained"
    # trained again on purpose it goes on from them, unless the runner removes them first
    assert execute(replace(paused, known=str(row(paused)["finished_at"]))).status == "done"
    assert_equal_to_the_bit(paused.context.results, undisturbed)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    if os.name != "posix":
        pytest.skip("permissions of POSIX")
    path = tmp_path / "read-only"
    path.mkdir()
    if os.geteuid():
        path.chmod(0o555)
        yield path
        path.chmod(0o755)
        return
    # root may write anywhere, but not where the file system says no
    mount = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", path]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no read-only disk can be had here: {done.stderr.strip()}")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def test_a_read_only_folder_is_refused_before_anything_is_trained(
    cli: CommandLine, profile: Path, corpus: Path, read_only: Path
) -> None:
    done = cli("--all", "--profile", profile, "--dataset", corpus, "--results", read_only)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(rf"error: {re.escape(str(read_only))}: results cannot be written there \(.+\)", line)


def test_a_part_of_the_folder_that_cannot_be_written_is_named(
    cli: CommandLine, profile: Path, corpus: Path, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "invocations").touch()  # in the way: refused for every user, root included
    done = cli("--all", "--no-audit", "--profile", profile, "--dataset", corpus)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.match(r"error: results/invocations.*: cannot be written \(.+\)", done.stderr)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For sweeps of three variants."""
    made = tmp_path_factory.mktemp("workers")
    write_profile(made / "tiny.yaml")
    write_corpus(made / "own-text")
    return made


@pytest.fixture(scope="module")
def undisturbed_three(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return undisturbed_numbers(tmp_path_factory, *VARIANTS)


@pytest.fixture
def results(folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    path = folder / re.sub(r"\W", "-", request.node.name)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def call(results: Path, *options: object, **environ: str) -> Sweep:
    return Sweep(results.parent, "--results", results, "--variants", ",".join(VARIANTS), *options, environ=environ)


def statuses(results: Path) -> set[str]:
    return set(Store(results).statuses().values())


def stamps_of_done(results: Path) -> dict[Path, int]:
    done = {run_id for run_id, status in Store(results).statuses().items() if status == "done"}
    return {path: path.stat().st_mtime_ns for path in results.rglob("*.parquet") if path.stem in done}


@posix
def test_however_runs_are_asked_to_stop_none_is_trained_twice(results: Path, undisturbed_three: pd.DataFrame) -> None:
    # where the system has no semaphores, as in some containers, joblib trains in the caller's own process
    line = command(*arguments(results.parent, "--results", results, "--variants", ",".join(VARIANTS)))
    without = environment(JOBLIB_MULTIPROCESSING="0")  # read when joblib is imported
    with subprocess.Popen(line, cwd=results.parent, env=without, stderr=subprocess.PIPE, text=True) as fresh:
        wait_for(lambda: running(results, epochs=3))
        fresh.send_signal(signal.SIGINT)
        _, errors = fresh.communicate(timeout=280)
    assert fresh.returncode == 130, errors
    assert "Traceback" not in errors
    assert statuses(results) == {"paused"}

    one_at_a_time = call(results, "--jobs", 1)
    wait_for(lambda: "done" in statuses(results) and running(results))
    first = stamps_of_done(results)
    one_at_a_time.process.send_signal(signal.SIGTERM)  # the caller alone
    code, errors = one_at_a_time.end()
    assert code == 143, errors
    assert statuses(results) == {"done", "paused"}

    stopped_by_hand = call(results, "--backend", "sequential")
    wait_for(lambda: running(results))
    for invocation in (results / "invocations").iterdir():
        invocation.unlink()
    code, errors = stopped_by_hand.end()
    assert code == 3, errors
    assert "paused: some runs are not done; the same command goes on" in errors

    to_the_end(results.parent, "--results", results, "--variants", ",".join(VARIANTS))
    assert first.items() <= stamps_of_done(results).items()
    assert_equal_to_the_bit(results, undisturbed_three)


@posix
def test_what_a_killed_caller_had_claimed_goes_to_another(results: Path, undisturbed_three: pd.DataFrame) -> None:
    sweeps = [call(results, "--backend", "sequential") for _ in range(2)]
    wait_for(lambda: len(Leases(results).live()) == 2)
    sweeps[0].kill_all()  # as a reboot would
    code, errors = sweeps[1].end()
    assert code == 0, errors
    assert len(re.findall(r"^\[\d/3\]", errors, re.MULTILINE)) == 3
    assert_equal_to_the_bit(results, undisturbed_three)


@posix
def test_workers_that_die_before_they_say_a_word_do_not_start_for_ever(results: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif '--process-name' in sys.orig_argv:\n    os.kill(os.getpid(), 9)\n", encoding="utf-8"
    )
    code, errors = call(results, "--jobs", 2, "--max-restarts", 1, PYTHONPATH=str(tmp_path)).end()
    assert code == 1, errors
    assert Store(results).runs()["error"].tolist() == ["worker died (signal 9; out of memory?)"] * 3


def workers(sweep: Sweep) -> list[psutil.Process]:
    """Processes of a sweep that are there for runs, busy or still starting."""
    try:
        children = psutil.Process(sweep.process.pid).children()
        return [child for child in children if "--process-name" in child.cmdline()]
    except psutil.NoSuchProcess:  # or too young to say
        return []


def press_early(results: Path, seconds: float, times: int = 1) -> None:
    """Ctrl-C so many seconds after the workers were started."""
    sweep = call(results, "--jobs", 2)
    try:
        wait_for(lambda: len(workers(sweep)) == 2)
        time.sleep(seconds)
        for _ in range(times):
            sweep.signal_group(signal.SIGINT)
            time.sleep(0.05)
        code, errors = sweep.end(60)
        assert code == 130, errors
        wait_for(lambda: not sweep.processes(), 20)
    finally:
        sweep.kill_all()
    assert not list(results.rglob("*.tmp"))


@posix
@pytest.mark.parametrize("seconds", [0.0, pytest.param(1.0, marks=pytest.mark.slow)])
def test_ctrl_c_while_workers_start(results: Path, seconds: float) -> None:
    press_early(results, seconds)


@posix
@pytest.mark.slow
def test_ctrl_c_at_any_time_once_or_more(results: Path, undisturbed_three: pd.DataFrame) -> None:
    draw = random.Random(3)
    for _ in range(12):
        press_early(results, draw.uniform(0, 4), times=draw.choice([1, 1, 2, 5]))
    code, errors = call(results, "--jobs", 2).end()
    assert code == 0, errors
    assert_equal_to_the_bit(results, undisturbed_three)
