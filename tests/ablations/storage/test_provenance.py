"""Where a result came from."""

from __future__ import annotations

import platform
import subprocess

import awd
from ablations.storage.provenance import collect_provenance
from tests.ablations.conftest import ROOT


def git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return done.stdout.strip()


def test_it_names_the_commit_the_versions_and_the_machine_but_not_whose_it_is() -> None:
    found = collect_provenance()
    if (ROOT / ".git").exists():
        assert found.git_commit == git("rev-parse", "HEAD")
        code = ("--", ".", ":!results", ":!reports")
        assert found.git_dirty == bool(git("status", "--porcelain", "--untracked-files=no", *code))
    else:
        assert (found.git_commit, found.git_dirty) == (None, None)
    assert found.python_version == platform.python_version()
    assert found.project_version == awd.__version__
    assert platform.machine() in found.host
    assert platform.node() not in found.host.split()
