"""Accounts as containers have them: a user without a name, without a home, on a disk that is read only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ablations.conftest import ROOT, command

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become a user without a name"
)
# may read what only root can, where Python or this checkout is root's
NOBODY = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
READING = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
NO_ACCOUNT = [*NOBODY, *READING, "env", "-i", f"PYTHONPATH={ROOT}", f"PATH={Path(sys.executable).parent}"]


def run(*arguments: object, cwd: Path, prefix: list[str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*prefix, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def require(prefix: list[str]) -> None:
    """Skip where the machine lacks the tool, or forbids its use."""
    if shutil.which(prefix[0]) is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip(f"{prefix[0]} does not work here")


@pytest.fixture
def folder(tmp_path: Path, corpus: Path, profile: Path) -> Path:
    """A folder that anyone may write, with a corpus and a profile."""
    for path in [tmp_path, *tmp_path.parents]:
        if path.is_relative_to("/tmp") and path != Path("/tmp"):
            path.chmod(0o777)
    return tmp_path


def test_without_an_account_runs_are_trained(folder: Path) -> None:
    require(NOBODY)
    options = ["--profile", "tiny.yaml", "--dataset", "own-text", "--variants", "full", "--no-audit", "--no-report"]
    done = run(*command("run", *options, "--jobs", 1), cwd=folder, prefix=NO_ACCOUNT)
    assert done.returncode == 0, done.stderr
    assert list(folder.glob("results/runs/*.parquet"))


@pytest.mark.slow  # matplotlib, which can keep nothing, looks for every font again
@pytest.mark.parametrize("home", [[], ["HOME=/nonexistent"]])
def test_without_an_account_runs_are_audited_and_reported(folder: Path, home: list[str]) -> None:
    require(NOBODY)
    options = ["--profile", "tiny.yaml", "--dataset", "own-text", "--variants", "full"]
    done = run(*command("run", *options, "--jobs", 1), cwd=folder, prefix=[*NO_ACCOUNT, *home])
    assert done.returncode == 0, done.stderr
    assert list(folder.glob("reports/*/index.html"))


def test_a_home_that_is_not_there_is_told_where_it_is_needed(folder: Path) -> None:
    require(NOBODY)
    for arguments, extra, said in (
        (["data", "ptb"], [], "AWD_CACHE_DIR"),
        (["data", "ptb", "--data-dir", "~/texts"], [], "--data-dir '~/texts'"),
        (["data", "ptb"], ["AWD_CACHE_DIR=~/texts"], "AWD_CACHE_DIR '~/texts'"),
        (["data", "~/texts"], [], "data set '~/texts'"),
    ):
        done = run(*command(*arguments), cwd=folder, prefix=[*NO_ACCOUNT, *extra])
        assert done.returncode == 2
        assert said in done.stderr
        assert "home folder" in done.stderr


def test_where_nothing_can_be_written_this_is_said(folder: Path) -> None:
    require(["unshare", "--mount"])
    read_only = "mount --bind {0} {0} && mount -o remount,ro,bind {0}"
    places = [place for place in ("/tmp", "/var/tmp", "/usr/tmp", "/dev/shm") if Path(place).is_dir()]
    script = " && ".join([*(read_only.format(place) for place in places), "cd /proc", 'exec "$@"'])
    options = ["--profile", folder / "tiny.yaml", "--dataset", folder / "own-text", "--variants", "full"]
    unshared = ["unshare", "--mount", "sh", "-ec", script, "sh"]
    done = run(*command("run", *options, "--dry-run"), cwd=folder, prefix=unshared)
    assert done.returncode == 2
    assert "TMPDIR" in done.stderr
