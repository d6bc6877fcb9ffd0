"""The command line, and a small corpus of the user's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection, select
from ablations.storage.store import Store

ROOT = Path(__file__).resolve().parents[2]
CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**extra: str) -> dict[str, str]:
    """The environment without any data folder of the developer's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AWD_")}
    return {**kept, **extra}


def command(*arguments: object) -> list[str]:
    """For what a start shows; ``cli`` takes a tenth of the time."""
    return [sys.executable, str(ROOT / "run_ablations.py"), *map(str, arguments)]


@cache
def _server() -> subprocess.Popen[str]:
    """``warm.py``, once for each of pytest's workers; it ends when their pipe to it does."""
    server = [sys.executable, "-m", "tests.ablations.warm"]
    pipe = subprocess.PIPE
    # of one width, whatever the terminal that the tests run in
    return subprocess.Popen(server, cwd=ROOT, env=environment(COLUMNS="200"), stdin=pipe, stdout=pipe, text=True)


class Started:
    """A call of the command line that was begun. Process, streams, variables and exit code are real; the imports were
    done. Its methods are those of ``subprocess.Popen``.

    Args:
        folder: where it runs.
        arguments: of the command line.
        variables: all that it has.
        session: in a process group of its own.
    """

    def __init__(
        self, folder: Path, arguments: Sequence[object], variables: dict[str, str], session: bool = False
    ) -> None:
        self._streams = tempfile.TemporaryDirectory()
        self._output, self._errors = (Path(self._streams.name, name) for name in ("output", "errors"))
        request = {"folder": str(folder), "arguments": list(map(str, arguments)), "variables": variables}
        request |= {"output": str(self._output), "errors": str(self._errors), "session": session}
        self.pid = int(_ask(request))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = json.loads(_ask(self.pid))
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.send_signal(signal.SIGKILL)
                pytest.fail(f"no end after {timeout} s; it said: {self._errors.read_text(encoding='utf-8')}")
            time.sleep(0.005)
        with self._streams:
            return self._output.read_text(encoding="utf-8"), self._errors.read_text(encoding="utf-8")


def _ask(request: object) -> str:
    """What the server answers."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    print(json.dumps(request), file=server.stdin, flush=True)
    return server.stdout.readline()


def call(folder: Path, *arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
    """Call the command line in a folder, and wait for its end."""
    started = Started(folder, arguments, environment(COLUMNS="200", **extra))
    output, errors = started.communicate()
    assert started.returncode is not None
    return subprocess.CompletedProcess(arguments, started.returncode, output, errors)


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    """Call the command line in an empty folder, with ``AWD_...`` variables as keywords; 200 columns wide."""
    return partial(call, tmp_path)


def write_corpus(folder: Path, train_lines: int = 60) -> Path:
    """A closed vocabulary of ten words in sentences that can be learned."""
    sentences = ("the cat sat on a mat", "a dog sat on the mat", "the dog saw a cat", "one cat saw that dog")
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train_lines), ("valid", 20), ("test", 20)):
        lines = [sentences[(index * index + index // 3) % 4] for index in range(count)]
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "own-text")


def write_profile(path: Path) -> Path:
    """A profile that trains a variant on the small corpus in a fraction of a second."""
    path.write_text(
        """
        name: tiny
        title: seconds on a handful of sentences
        scale: reduced
        datasets: [python-docs]
        seeds: [1]
        config:
          model: {embedding_size: 6, hidden_size: 8, num_layers: 2}
          windows: {length: 10}
          optimizer: {learning_rate: 5.0, nonmonotone_interval: 1}
          finetuning: {epochs: 2}
          training: {epochs: 3, batch_size: 4, valid_batch_size: 4, test_batch_size: 2}
        """,
        encoding="utf-8",
    )
    return path


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    return write_profile(tmp_path / "tiny.yaml")


@pytest.fixture
def selection(profile: Path, corpus: Path) -> Selection:
    """Table 5 on the small corpus."""
    return select("table5", str(profile), (str(corpus),), engine="torch", precision="fp32")


@pytest.fixture
def plan(selection: Selection) -> list[RunSpec]:
    return selection.plan(selection.corpora())


def record(store: Store, spec: RunSpec, status: str, **columns: Any) -> None:
    """Store a run that nobody trained."""
    names = ("run_id", "suite", "profile", "dataset", "corpus_sha256", "variant", "label", "seed", "engine")
    row = {name: getattr(spec, name) for name in (*names, "precision")}
    row |= {"config": spec.config_json, "status": status, "epochs": 0, "seconds": 10.0}
    store.write({**row, "finished_at": "2026-01-01T00:00:00+00:00", **columns}, [])
