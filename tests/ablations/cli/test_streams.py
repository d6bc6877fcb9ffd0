"""Standard streams that are closed, full or no longer read, as those of cron and daemons may be."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from tests.ablations.conftest import command, environment

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="streams of Linux")
LOST = "standard output cannot be written (No space left on device): what it should say is lost\n"


def shell(folder: Path, redirections: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = f"set -o pipefail; {shlex.join(command(*arguments))} {redirections}"
    run = ["bash", "-c", line]
    return subprocess.run(run, cwd=folder, env=environment(), capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("redirections", "backend"),
    [
        ("<&- >&- 2>&-", "loky"),
        (">/dev/full 2>/dev/full", "sequential"),
        pytest.param("2>&1 | head -n 1", "sequential", marks=pytest.mark.slow),  # test_exit_codes has it of a command
    ],
)
def test_a_sweep_trains_stores_and_reports(
    tmp_path: Path, profile: Path, corpus: Path, redirections: str, backend: str
) -> None:
    arguments = ["--variants", "full", "--profile", profile, "--dataset", corpus, "--backend", backend, "--no-audit"]
    done = shell(tmp_path, redirections, "run", *arguments)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert pd.read_parquet(tmp_path / "results" / "runs")["status"].tolist() == ["done"]
    assert (tmp_path / "reports" / "tiny-own-text" / "table5.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "redirections", "code"),
    [
        (["list"], ">&-", 0),
        (["--help"], "2>&-", 0),
        (["status", "--profile", "smoke"], "| head -n 1", 1),
        (["run", "--variants", "none"], ">/dev/full", 2),
        (["run", "--variants", "none"], "2>/dev/full", 2),
    ],
)
def test_exit_codes_are_those_of_the_work(tmp_path: Path, arguments: list[str], redirections: str, code: int) -> None:
    done = shell(tmp_path, redirections, *arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_a_table_that_a_full_disk_cuts_is_missed(tmp_path: Path) -> None:
    done = shell(tmp_path, ">/dev/full", "list")
    assert (done.returncode, done.stderr) == (0, LOST)


def test_a_reader_who_lets_wait_is_waited_for(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader) as pipe:
        os.write(writer, b"." * (1 << 16))  # full
        process = subprocess.Popen(command("list"), stdout=writer, cwd=tmp_path, env=environment())
        os.close(writer)
        assert "wikitext-2" in pipe.read()
    assert process.wait(timeout=60) == 0
