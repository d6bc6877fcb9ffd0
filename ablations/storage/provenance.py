"""Where a result came from: versions, code, machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import awd

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Provenance:
    """What is stored with every run, under the names of its columns in :data:`ablations.storage.store.RUN_SCHEMA`.

    Attributes:
        git_commit: commit of the checkout that the code is in; ``None`` outside one.
        git_dirty: whether tracked files other than results and reports differed from that commit.
        host: operating system, processor and cores, without the machine's name.
    """

    git_commit: str | None
    git_dirty: bool | None
    host: str
    python_version: str
    torch_version: str
    project_version: str


def collect_provenance() -> Provenance:
    """Ask git and the machine; once per sweep is enough."""
    commit = _git("rev-parse", "HEAD") if (_ROOT / ".git").exists() else None
    changed = _git(
        "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results", ":!reports", ":!benchmarks/results"
    )
    return Provenance(
        git_commit=commit,
        git_dirty=None if commit is None or changed is None else bool(changed),
        host=_host(),
        python_version=platform.python_version(),
        torch_version=importlib.metadata.version("torch"),
        project_version=awd.__version__,
    )


def on_this_machine(provenance: Provenance) -> Provenance:
    """The same code on this machine; on a cluster the machine that trains is not the one that asked."""
    return replace(
        provenance,
        host=_host(),
        python_version=platform.python_version(),
        torch_version=importlib.metadata.version("torch"),
    )


def host_name() -> str:
    """The name of this machine, for messages and file names."""
    return socket.gethostname() or "localhost"


@cache
def boot_and_namespace() -> tuple[str, str] | None:
    """What process numbers are unique in, besides the host's name, which containers and virtual machines may share.

    Returns:
        The machine's boot and the process namespace; ``None`` where there are no such things, or not to be read.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return boot, str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def _host() -> str:
    return f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"
