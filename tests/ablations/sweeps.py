"""Real sweeps of short runs as processes of their own, to be disturbed, and what an undisturbed one gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from ablations.storage.store import Store
from tests.ablations.conftest import Started, call, environment, write_corpus, write_profile

# of each run that says how far it is: some 25 ms an epoch on a quiet machine
EPOCHS = 40
# of nine variants, unless a test asks for --all: with and without averaging, fine-tuning and dropped weights
FEW = "full,no-ntasgd,no-weight-drop,full-size-embedding"


class Sweep:
    """A sweep in a process group of its own, so that a signal reaches it as Ctrl-C in a terminal would.

    Args:
        folder: holds ``tiny.yaml`` and ``own-text``; where it runs.
        options: of the command line.
        environ: variables set for it.
    """

    def __init__(self, folder: Path, *options: object, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.process = Started(folder, arguments(folder, *options), environment(**(environ or {})), session=True)

    def end(self, seconds: float = 280) -> tuple[int, str]:
        """Wait for it; its exit code, and what it said on standard error."""
        _, errors = self.process.communicate(timeout=seconds)
        assert "Traceback" not in errors, errors
        assert self.process.returncode is not None
        return self.process.returncode, errors

    def signal_group(self, number: int) -> None:
        """What a terminal does at Ctrl-C, and Slurm at the end of a job."""
        os.killpg(self.process.pid, number)

    def processes(self) -> list[int]:
        """Numbers of the living processes of the group."""
        found = subprocess.run(["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in found.splitlines()]
        return [int(pid) for pid, group, state in rows if int(group) == self.process.pid and state[0] != "Z"]

    def kill_all(self) -> None:
        """End whatever is left of it."""
        if self.processes():
            os.killpg(self.process.pid, signal.SIGKILL)


def arguments(folder: Path, *options: object) -> list[object]:
    """What every sweep here is called with; a few variants, unless some are named."""
    settings = ["--set", f"training.epochs={EPOCHS}", "--reference", folder / "none"]
    every = [] if {"--variants", "--all"} & set(map(str, options)) else ["--variants", FEW]
    profile = ["--profile", folder / "tiny.yaml", "--dataset", folder / "own-text"]
    return ["run", *every, "--no-audit", "--no-report", *profile, *settings, *options]


def undisturbed_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a few variants, one after another in one process; made once for all of pytest's workers, read only."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "undisturbed-sweep"
    with FileLock(shared / "undisturbed-sweep.lock"):
        if not folder.exists():
            folder.mkdir()
            write_profile(folder / "tiny.yaml")
            write_corpus(folder / "own-text")
            to_the_end(folder, "--results", "results")
    return folder / "results"


def undisturbed_numbers(tmp_path_factory: pytest.TempPathFactory, *variants: str) -> pd.DataFrame:
    """What an undisturbed sweep of these variants, some of the few, gives."""
    few = numbers(undisturbed_sweep(tmp_path_factory))
    return few[few["variant"].isin(variants)].reset_index(drop=True)


def to_the_end(folder: Path, *options: object) -> str:
    """What a call says that goes on with a sweep and is not disturbed: in one process, whatever began it."""
    done = call(folder, *arguments(folder, *options, "--backend", "sequential"))
    assert done.returncode == 0, done.stderr
    return done.stderr


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def running(results: Path, epochs: int = 1) -> list[dict[str, object]]:
    """What runs say of themselves, once they have so many epochs behind them."""
    found = []
    for path in (results / "progress").glob("*.json"):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue  # just ended
    return [entry for entry in found if entry["epoch"] >= epochs]


def kill_a_worker(results: Path, choose: Callable[[Sequence[int]], int]) -> bool:
    """SIGKILL a process that trains; whether there was one."""
    pids = sorted({int(str(entry["pid"])) for entry in running(results, epochs=0)})
    if not pids:
        return False
    try:
        os.kill(choose(pids), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def numbers(results: Path) -> pd.DataFrame:
    """All that must be equal to the bit, whatever happened on the way: perplexities, and every epoch but its time."""
    store = Store(results)
    runs = store.runs()
    assert (runs["status"] == "done").all(), runs[["variant", "status", "error"]]
    # whole numbers become fractions where one is missing
    runs["averaging_started"] = runs["averaging_started"].astype("float64")
    epochs = store.epochs(runs["run_id"]).drop(columns="seconds")
    return epochs.merge(runs[["run_id", "variant", "valid_ppl", "test_ppl", "averaging_started"]], on="run_id")


def assert_equal_to_the_bit(results: Path, undisturbed: pd.DataFrame) -> None:
    """No run is missing, none differs."""
    pd.testing.assert_frame_equal(numbers(results), undisturbed, check_exact=True)
    assert not list(results.rglob("*.tmp"))
    assert not list(results.glob("checkpoints/*/*"))
