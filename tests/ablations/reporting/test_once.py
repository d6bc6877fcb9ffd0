"""One report command reads every file of the results once, and computes what it shows once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ablations.storage.store import Store
from tests.ablations.conftest import ROOT, environment

# two rows of the published runs: few panels to draw
SUITE = """
name: two
title: Two rows of the table
baseline: full
variants:
  - {name: full, label: AWD-LSTM}
  - {name: no-weight-drop, label: – weight-dropping, overrides: {regularization: {weight_dropout: 0.0}}}
"""

# the command line itself, watched by the interpreter: which files are opened, which functions are called
WATCHED = """
import cProfile, json, pstats, sys
opened = []
sys.addaudithook(lambda event, given: event == "open" and opened.append(str(given[0])))
from ablations.cli.app import app
watch = cProfile.Profile(builtins=False)
try:
    watch.runcall(app, sys.argv[2:])
except SystemExit as end:
    assert not end.code, end.code
calls = {f"{path}:{name}": count for (path, _, name), (_, count, *_) in pstats.Stats(watch).stats.items()}
with open(sys.argv[1], "w") as file:
    json.dump({"opened": opened, "calls": calls}, file)
"""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("watched")
    (folder / "two.yaml").write_text(SUITE, encoding="utf-8")
    command = ["report", "--suite", folder / "two.yaml", "--results", ROOT / "results" / "reference"]
    subprocess.run(
        [sys.executable, "-c", WATCHED, folder / "seen.json", *command, "--reports", folder / "reports"],
        cwd=ROOT,
        env=environment(),
        check=True,
    )
    assert "figure-ladder" in (folder / "reports" / "demo-two" / "index.html").read_text(encoding="utf-8")
    seen: dict[str, Any] = json.loads((folder / "seen.json").read_text(encoding="utf-8"))
    return seen


def test_every_shard_is_opened_once(watched: dict[str, Any]) -> None:
    shards = [path for path in watched["opened"] if path.endswith(".parquet")]
    runs = list((ROOT / "results" / "reference" / "runs").glob("*.parquet"))
    assert {Path(path).name for path in shards} >= {path.name for path in runs}
    assert len(shards) == len(set(shards))


def test_the_numbers_are_computed_once(watched: dict[str, Any]) -> None:
    def calls(file: str, name: str) -> int:
        return sum(count for at, count in watched["calls"].items() if at.endswith(f"{file}:{name}"))

    # of the report itself, which is a rung of its ladder, and of each other rung
    rungs = Store(ROOT / "results" / "reference").runs()["profile"].nunique()
    assert rungs > 1
    assert calls("comparison.py", "_frame") == rungs
    assert calls("statistics.py", "seed_differences") == rungs
    assert calls("statistics.py", "rank_correlations") == 1
    assert calls("collect.py", "collect") == rungs + 1
