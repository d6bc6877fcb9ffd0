"""A real Dask scheduler and a real worker on loopback."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from ablations.execution.backends import make_backend
from ablations.execution.job import Context, Job, RunOptions
from ablations.experiment.plan import Corpus
from ablations.experiment.selection import select
from ablations.storage.provenance import collect_provenance
from ablations.storage.store import Store
from awd.errors import ConfigError, InputError
from tests.ablations.conftest import environment, write_corpus, write_profile
from tests.ablations.sweeps import (
    Sweep,
    assert_equal_to_the_bit,
    kill_a_worker,
    running,
    to_the_end,
    undisturbed_numbers,
    wait_for,
)

pytest.importorskip("distributed", reason="the extra [cluster] is not installed")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")
SOME = ("--variants", "full,no-ntasgd")


@dataclass
class Cluster:
    """A scheduler and its worker, each in a process group of its own.

    Attributes:
        file: of the scheduler.
    """

    folder: Path
    file: Path
    processes: list[subprocess.Popen[bytes]]

    def start(self, module: str, *options: object) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *map(str, options)]
        process = subprocess.Popen(
            [*command, "--scheduler-file", str(self.file)],
            cwd=self.folder,
            env=environment(PYTHONPATH=str(Path(__file__).parents[4])),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in reversed(self.processes):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    from distributed import Client

    folder = tmp_path_factory.mktemp("dask")
    write_profile(folder / "tiny.yaml")
    write_corpus(folder / "own-text")
    made = Cluster(folder, folder / "scheduler.json", [])
    try:
        made.start("dask_scheduler", "--port", 0, "--host", "127.0.0.1")
        wait_for(made.file.exists)
        made.start("dask_worker", "--nthreads", 1)
        with Client(scheduler_file=str(made.file), set_as_default=False) as client:
            client.wait_for_workers(1)
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return undisturbed_numbers(tmp_path_factory, "full", "no-ntasgd")


def on_the_cluster(cluster: Cluster, results: str, *options: object) -> Sweep:
    place = ("--results", results, "--backend", "dask", "--scheduler", cluster.file)
    return Sweep(cluster.folder, *SOME, *place, *options)


def test_a_killed_worker_and_ctrl_c_do_not_change_a_bit(cluster: Cluster, undisturbed: pd.DataFrame) -> None:
    results = cluster.folder / "disturbed"
    sweep = on_the_cluster(cluster, "disturbed", "--checkpoint-every", 1, "--max-restarts", 20)
    draw, kills = random.Random(1), 0
    while kills < 1 and sweep.process.poll() is None:
        wait_for(lambda: running(results) or sweep.process.poll() is not None)
        assert {entry["pid"] for entry in running(results)} != {sweep.process.pid}, "the cluster's one worker trains"
        time.sleep(draw.uniform(0, 0.5))
        kills += kill_a_worker(results, draw.choice)
    assert kills == 1
    # one that trains on: what was killed has written for the last time
    before = {(entry["pid"], entry["epoch"]) for entry in running(results, epochs=0)}
    wait_for(lambda: {(entry["pid"], entry["epoch"]) for entry in running(results)} - before)
    sweep.signal_group(signal.SIGINT)
    code, errors = sweep.end(60)
    assert code == 130, errors
    assert (Store(results).runs()["status"] == "paused").any(), errors
    # not the cluster's alone: another backend goes on with them
    to_the_end(cluster.folder, *SOME, "--results", "disturbed")
    assert_equal_to_the_bit(results, undisturbed)


def test_gpus_that_no_worker_declares_are_refused_at_once(cluster: Cluster) -> None:
    with pytest.raises(InputError, match=r"no worker there declares the resource GPU=1.*--resources GPU=1"):
        make_backend("dask", 1, str(cluster.file), gpus_per_run=1)


def test_a_scheduler_that_is_not_there_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablations.execution.backends.dask.WAIT_SECONDS", 2)
    with pytest.raises(InputError, match=r"--scheduler tcp://127\.0\.0\.1:9: no Dask scheduler answers there"):
        make_backend("dask", 1, "tcp://127.0.0.1:9")
    damaged = tmp_path / "scheduler.json"
    damaged.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"scheduler\.json: no Dask scheduler answers there"):
        make_backend("dask", 1, str(damaged))
    with pytest.raises(ConfigError, match="say where with --scheduler"):
        make_backend("dask", 1)
    with pytest.raises(ConfigError, match="are for --backend dask, not loky"):
        make_backend("loky", 1, "tcp://127.0.0.1:9")


def test_a_scheduler_file_is_a_path_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "s.json").write_text("{}", encoding="utf-8")
    for given, said in (
        ("~/s.json", "'address'"),
        ("~no-such-user/s.json", "no home folder"),
        ("~", "this is a folder"),
    ):
        with pytest.raises(InputError, match=f"--scheduler .*{said}"):
            make_backend("dask", 1, given, 0)


def test_what_is_sent_to_a_worker_is_small(tmp_path: Path) -> None:
    selection = select("table5", "paper", ("ptb",))
    spec = selection.resolved().plan([Corpus("ptb", "ptb", "0" * 64)])[0]
    context = Context(tmp_path, tmp_path / "invocations" / "x", 0, collect_provenance())
    job = Job(spec, RunOptions(None, "cpu"), context, audit="passed", known=None)
    assert len(pickle.dumps(job)) < 5_000
