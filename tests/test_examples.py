"""The examples run as they stand, in an empty folder, and say what they promise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SAYS = {
    "own_corpus.py": ("no-weight-drop", "reports/demo-made-up-text/index.html"),
    "own_regularizer.py": ("with the penalty, log-perplexity changes by ",),
    "published_results.py": ("ptb        no-ar-tar                +3.7%", "differences.png"),
}


def test_every_example_is_run() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs_in_an_empty_folder(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name],
        cwd=tmp_path,
        # as installed: the project is found from anywhere
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert all(text in done.stdout for text in SAYS[name]), done.stdout
    for line in done.stdout.splitlines():
        if line.endswith((".png", ".html")):
            assert (tmp_path / line).stat().st_size > 10_000
