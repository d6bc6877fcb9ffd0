"""The benchmarks' command lines, as real processes and within this one."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import command

ROOT = Path(__file__).resolve().parents[2]
Refused = Callable[..., str]


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """What a command line that ends with exit code 2 says; a process for each would take seconds."""

    def call(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [f"benchmarks.{name}", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            command.run(importlib.import_module(f"benchmarks.{name}").app)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said

    return call
