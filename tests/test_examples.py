"""The examples, and the callback of the guide, run as they stand in an empty folder."""

from __future__ import annotations

import json
import os
import re
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


def run(folder: Path, *script: object) -> str:
    """What a script says, the project being installed."""
    done = subprocess.run(
        [sys.executable, *map(str, script)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_run() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs_in_an_empty_folder(name: str, tmp_path: Path) -> None:
    told = run(tmp_path, ROOT / "examples" / name)
    assert all(text in told for text in SAYS[name]), told
    for line in told.splitlines():
        if line.endswith((".png", ".html")):
            assert (tmp_path / line).stat().st_size > 10_000


def test_the_callback_in_the_guide_is_called_with_every_epoch(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- callback -->\s*```python\n(.*?)```", guide, flags=re.DOTALL)
    assert block
    run(tmp_path, "-c", block[1])
    lines = (tmp_path / "epochs.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["epoch"] for line in lines if json.loads(line)["phase"] == "train"] == [1, 2]
