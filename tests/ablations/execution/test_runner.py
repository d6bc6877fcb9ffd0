"""What goes wrong in one run stays there: a worker that always dies, no memory, no space; and how runs are carried."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from ablations.execution.worker import weights_folder
from ablations.storage.store import Store
from awd.corpus import load_corpus
from awd.corpus.batching import batchify
from awd.corpus.text import encode
from awd.evaluation import evaluate, perplexity
from awd.model import AWDLSTM
from awd.pretrained import load_pretrained
from tests.ablations.conftest import call, write_corpus, write_profile
from tests.ablations.sweeps import (
    Sweep,
    arguments,
    assert_equal_to_the_bit,
    numbers,
    running,
    to_the_end,
    undisturbed_sweep,
    wait_for,
)

VICTIM = "no-weight-drop"
ALONE = ("--backend", "sequential")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("runner")
    write_profile(made / "tiny.yaml")
    write_corpus(made / "own-text")
    return made


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a few variants, one after another in the caller's own process, weights kept."""
    return undisturbed_sweep(tmp_path_factory)


@pytest.fixture(scope="module")
def undisturbed(alone: Path) -> pd.DataFrame:
    return numbers(alone)


@pytest.fixture
def results(folder: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    path = folder / re.sub(r"\W", "-", request.node.name)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def of(undisturbed: pd.DataFrame, *variants: str) -> pd.DataFrame:
    return undisturbed[undisturbed["variant"].isin(variants)].reset_index(drop=True)


def test_the_weights_kept_are_those_of_the_result(folder: Path, alone: Path) -> None:
    runs = Store(alone).runs().set_index("variant")
    corpus = encode(load_corpus(str(folder / "own-text")))
    for variant in ("full", "full-size-embedding"):
        kept = weights_folder(alone, str(runs.loc[variant, "run_id"]))
        model = AWDLSTM.from_pretrained(kept)
        assert load_pretrained(kept).words == corpus.words
        test = batchify(torch.tensor(corpus.test), 2, "test")
        assert perplexity(evaluate(model, test)) == runs.loc[variant, "test_ppl"]


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_a_run_whose_worker_always_dies_fails_alone(
    folder: Path, results: Path, alone: Path, undisturbed: pd.DataFrame
) -> None:
    runs = Store(alone).runs().set_index("variant")["run_id"]
    options = ["--results", results, "--variants", f"{VICTIM},full", "--jobs", 2]
    sweep = Sweep(folder, *options, "--max-restarts", 1)
    over = threading.Event()

    def kill_the_victim() -> None:
        while not over.wait(0.02):
            for entry in running(results, epochs=0):
                if entry["run_id"] == runs[VICTIM]:
                    try:
                        os.kill(int(str(entry["pid"])), 9)
                    except ProcessLookupError:
                        continue

    killer = threading.Thread(target=kill_the_victim)
    killer.start()
    try:
        code, errors = sweep.end()
    finally:
        over.set()
        killer.join()
    assert code == 1, errors
    assert "restart 1 of 1" in errors
    rows = Store(results).runs().set_index("variant")
    assert rows.loc["full", "status"] == "done", "it only stood beside"
    assert rows.loc[VICTIM, "status"] == "failed"
    assert rows.loc[VICTIM, "error"] == "worker died (signal 9; out of memory?)"
    to_the_end(folder, *options, "--retry-failed")
    assert_equal_to_the_bit(results, of(undisturbed, "full", VICTIM))


def test_a_run_too_big_for_memory_fails_with_advice(folder: Path, results: Path) -> None:
    (folder / "two.yaml").write_text(
        """
        name: two
        title: one that fits and one that cannot
        baseline: fits
        variants:
          - {name: fits, label: fits}
          - {name: huge, label: huge, overrides: {model: {hidden_size: 1000000}}}
        """,
        encoding="utf-8",
    )
    options = ["--results", results, "--suite", "two.yaml", "--all", *ALONE]
    done = call(folder, *arguments(folder, *options))
    assert done.returncode == 1, done.stderr
    rows = Store(results).runs().set_index("variant")
    assert rows.loc["fits", "status"] == "done"
    assert rows.loc["huge", "status"] == "failed"
    assert rows.loc["huge", "error"].startswith("out of memory (")
    assert "try fewer --jobs, or a smaller training.batch_size" in rows.loc["huge", "error"]


@pytest.fixture
def small_disk(results: Path) -> Iterator[Path]:
    results.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", results], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be had here: {done.stderr.strip()}")
    yield results
    subprocess.run(["umount", "--lazy", results], check=True)


def test_a_full_disk_loses_nothing(folder: Path, small_disk: Path, undisturbed: pd.DataFrame) -> None:
    options = ["--results", small_disk, "--variants", f"full,{VICTIM}", "--checkpoint-every", 5]
    options += ["--keep-weights", "none"]
    sweep = Sweep(folder, *options, *ALONE)
    wait_for(lambda: running(small_disk) or sweep.process.poll() is not None)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(itertools.repeat(bytes(512)))
    code, errors = sweep.end()
    assert code in (1, 2), errors
    assert "No space left on device" in errors
    assert (Store(small_disk).runs()["status"] == "done").all(), "what is recorded is whole"
    filler.unlink()
    to_the_end(folder, *options)
    assert_equal_to_the_bit(small_disk, of(undisturbed, "full", VICTIM))
    assert not (small_disk / "weights").exists()


def test_forced_runs_start_from_their_beginning(folder: Path, results: Path, undisturbed: pd.DataFrame) -> None:
    options = ["--results", results, "--variants", "full", "--force"]
    assert call(folder, *arguments(folder, *options, *ALONE, "--time-limit", "0.1s")).returncode == 3
    stopped = Sweep(folder, *options, *ALONE, "--checkpoint-every", 1)
    wait_for(lambda: running(results, epochs=2))
    stopped.process.send_signal(signal.SIGTERM)
    assert stopped.end()[0] == 143
    assert list(results.glob("checkpoints/*/*")), "or there is nothing to go on from"
    for _ in range(2):
        assert "[1/1]" in to_the_end(folder, *options)
        assert Store(results).runs()["resumes"].tolist() == [0]
    assert_equal_to_the_bit(results, of(undisturbed, "full"))
