"""What is seen of a GPU, by a command of its name: no GPU is at hand."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from benchmarks.gpu import GpuWatch, ask


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.skipif(os.name != "posix", reason="a command as POSIX has it")
def test_idle_share_and_memory_are_those_of_the_time_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path, monkeypatch, "25, 1024")
    with GpuWatch("cuda:0") as gpu:
        time.sleep(1.2)
    assert (gpu.idle, gpu.memory_mib) == (0.75, 1024)


@pytest.mark.skipif(os.name != "posix", reason="a command as POSIX has it")
def test_what_is_not_told_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path, monkeypatch, "[N/A], 1024")
    with GpuWatch("cuda:0") as gpu:
        time.sleep(0.7)
    assert (gpu.idle, gpu.memory_mib) == (None, None)
    with GpuWatch("cpu") as gpu:
        pass
    assert gpu.idle is None


def test_without_the_command_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask("cuda:0", "name") == ""
