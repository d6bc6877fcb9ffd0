"""Whatever ends a sweep, calling it again gives the numbers of one that nobody disturbed: real signals, real kills."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from ablations.storage.store import Store
from awd.checkpoint import read_checkpoint
from tests.ablations.conftest import call, write_corpus, write_profile
from tests.ablations.sweeps import (
    Sweep,
    arguments,
    assert_equal_to_the_bit,
    kill_a_worker,
    numbers,
    running,
    to_the_end,
    undisturbed_numbers,
    wait_for,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")
TWO = ("full", "no-ntasgd")
SOME = ("--variants", ",".join(TWO))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("interruptions")
    write_profile(made / "tiny.yaml")
    write_corpus(made / "own-text")
    return made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return undisturbed_numbers(tmp_path_factory, *TWO)


@pytest.fixture(scope="module")
def undisturbed_all(folder: Path) -> pd.DataFrame:
    """Of all nine variants."""
    to_the_end(folder, "--all", "--results", "undisturbed-all")
    return numbers(folder / "undisturbed-all")


@pytest.fixture
def results(folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    path = folder / re.sub(r"\W", "-", request.node.name)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def kill_workers(folder: Path, results: Path, kills: int, seed: int, *options: object) -> str:
    draw = random.Random(seed)
    sweep = Sweep(folder, *options, "--results", results, "--jobs", 2, "--checkpoint-every", 1, "--max-restarts", 30)
    done = 0
    while done < kills and sweep.process.poll() is None:
        epochs = (done + 1) % 2  # while it trains, and while a process still starts
        wait_for(lambda epochs=epochs: running(results, epochs) or sweep.process.poll() is not None)
        time.sleep(draw.uniform(0, 0.7))
        done += kill_a_worker(results, draw.choice)
    code, errors = sweep.end(900)
    assert code == 0, errors
    assert done == kills, f"the sweep ended after {done} kills"
    return errors


def test_killed_workers_do_not_change_a_bit(folder: Path, results: Path, undisturbed: pd.DataFrame) -> None:
    errors = kill_workers(folder, results, 1, 1, *SOME)
    assert "a worker died (signal 9; out of memory?) while" in errors
    assert_equal_to_the_bit(results, undisturbed)


@pytest.mark.slow
def test_twenty_killed_workers_do_not_change_a_bit(folder: Path, results: Path, undisturbed_all: pd.DataFrame) -> None:
    kill_workers(folder, results, 20, 2, "--all")
    assert_equal_to_the_bit(results, undisturbed_all)
    assert Store(results).runs()["resumes"].sum() > 0


def kill_callers(folder: Path, results: Path, kills: int, *options: object) -> None:
    draw = random.Random(kills)
    for _ in range(kills):
        sweep = Sweep(folder, *options, "--results", results, "--jobs", 2, "--checkpoint-every", 1)
        wait_for(lambda sweep=sweep: running(results, epochs=0) or sweep.process.poll() is not None)
        time.sleep(draw.uniform(0, 1.5))
        sweep.process.send_signal(signal.SIGKILL)
        sweep.process.communicate()
        # its workers notice, save their runs, and end
        wait_for(lambda sweep=sweep: not sweep.processes(), 30)
    to_the_end(folder, *options, "--results", results)


def test_a_killed_caller_is_called_again(folder: Path, results: Path, undisturbed: pd.DataFrame) -> None:
    kill_callers(folder, results, 1, *SOME)
    assert_equal_to_the_bit(results, undisturbed)


@pytest.mark.slow
def test_callers_killed_twenty_times_are_called_again(
    folder: Path, results: Path, undisturbed_all: pd.DataFrame
) -> None:
    kill_callers(folder, results, 20, "--all")
    assert_equal_to_the_bit(results, undisturbed_all)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, id="SIGTERM to all, as Slurm does", marks=pytest.mark.slow),
    ],
)
def test_a_signal_pauses_and_the_same_command_goes_on(
    folder: Path, results: Path, undisturbed: pd.DataFrame, number: int
) -> None:
    sweep = Sweep(folder, *SOME, "--results", results, "--jobs", 2)
    wait_for(lambda: running(results))
    sweep.signal_group(number)
    code, errors = sweep.end(60)
    assert code == (130 if number == signal.SIGINT else 143), errors
    assert "the same command goes on" in errors
    wait_for(lambda: not sweep.processes(), 10)  # workers may end a moment after the caller
    runs = Store(results).runs()
    assert (runs["status"] == "paused").any()
    assert runs.loc[runs["status"] == "paused", "test_ppl"].isna().all(), "the test is for finished runs"
    for path in results.glob("checkpoints/*/*"):
        read_checkpoint(path)
    to_the_end(folder, *SOME, "--results", results)
    assert_equal_to_the_bit(results, undisturbed)
    assert Store(results).runs()["resumes"].sum() > 0


def test_a_second_ctrl_c_stops_at_once(folder: Path, results: Path) -> None:
    sweep = Sweep(folder, "--results", results, "--jobs", 1)
    wait_for(lambda: running(results))
    stopped = [int(str(entry["pid"])) for entry in running(results)]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)  # so that the first press cannot be obeyed
    try:
        sweep.signal_group(signal.SIGINT)
        time.sleep(1)
        assert sweep.process.poll() is None
        sweep.signal_group(signal.SIGINT)
        code, errors = sweep.end(30)
        assert code == 130, errors
        wait_for(lambda: not sweep.processes(), 20)
    finally:
        sweep.kill_all()


@pytest.mark.parametrize("callers", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_callers_share_a_folder(folder: Path, results: Path, undisturbed: pd.DataFrame, callers: int) -> None:
    sweeps = [Sweep(folder, *SOME, "--results", results, "--backend", "sequential") for _ in range(callers)]
    ends = [sweep.end() for sweep in sweeps]
    assert [code for code, _ in ends] == [0] * callers, ends
    lines = [line for _, errors in ends for line in errors.splitlines() if re.match(r"\[\d+/\d+\]", line)]
    assert len(lines) == 2 * callers, "each caller hears of every run"
    own = [line for line in lines if "by another caller" not in line]
    assert len(own) == 2, "each run was trained once"
    assert_equal_to_the_bit(results, undisturbed)


def test_a_time_limit_a_moved_folder_and_a_damaged_checkpoint_do_not_matter(
    folder: Path, results: Path, undisturbed: pd.DataFrame
) -> None:
    options = [*SOME, "--backend", "sequential", "--checkpoint-every", 1, "--time-limit"]
    for seconds in (0.5, 1, 2, 4, 8, 16, 32, 64):  # on a busy machine, so many until something is saved
        paused = call(folder, *arguments(folder, "--results", results, *options, f"{seconds}s"))
        assert paused.returncode == 3, paused.stderr
        assert "paused: some runs are not done; the same command goes on" in paused.stderr
        if list(results.glob("checkpoints/*/*")):
            break
    moved = results.rename(results.with_name("moved"))
    newest = [sorted(run.iterdir())[-1] for run in (moved / "checkpoints").iterdir()]
    for path in newest:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    errors = to_the_end(folder, *SOME, "--results", moved)
    assert errors.count("damaged") == len(newest) > 0
    assert_equal_to_the_bit(moved, undisturbed)
    moved.rename(results)
