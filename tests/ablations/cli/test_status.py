"""Where runs stand, from the results folder alone."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ablations.cli import status as status_module
from ablations.cli.status import print_status
from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection
from ablations.storage.store import Store
from tests.ablations.conftest import command, environment, record


def shown(selection: Selection, store: Store, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_status(selection, store, console, **options)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_table_says_of_each_run_how_far_it_is(tmp_path: Path, selection: Selection, plan: list[RunSpec]) -> None:
    store = Store(tmp_path)
    record(store, plan[0], "done", valid_ppl=9.0, test_ppl=8.5, epochs=5)
    record(store, plan[1], "failed", error="Traceback\nworker died (signal 9)")
    record(store, plan[2], "paused", error="Ctrl-C", valid_ppl=12.25, epochs=2)
    text = shown(selection, store)
    for part in ("2/3", "12.25", "8.50", "worker died (signal 9)", "1 done, 1 failed, 6 missing, 1 paused; about"):
        assert part in text
    assert "Traceback" not in text


def test_nothing_is_written(tmp_path: Path, selection: Selection) -> None:
    assert "9 missing" in shown(selection, Store(tmp_path / "results"))
    assert not (tmp_path / "results").exists()


def test_watching_a_pipe_is_a_line_a_change_until_all_has_ended(
    tmp_path: Path, selection: Selection, plan: list[RunSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_module, "_WATCH_SECONDS", 0.05)
    store = Store(tmp_path)
    for spec in plan[1:]:
        record(store, spec, "done", valid_ppl=9.0, test_ppl=8.5)
    later = threading.Timer(0.5, record, [store, plan[0], "failed"], {"error": "no"})
    later.start()
    lines = shown(selection, store, watch=True).splitlines()
    later.join()
    assert lines[-2:] == ["own-text full seed 1: failed no", "8 done, 1 failed"]
    assert len(lines) == 10


@pytest.mark.skipif(os.name != "posix", reason="a terminal of POSIX")
def test_watching_in_a_terminal_ends_by_itself(
    tmp_path: Path, profile: Path, corpus: Path, plan: list[RunSpec]
) -> None:
    for spec in plan:
        record(Store(tmp_path / "results"), spec, "done", valid_ppl=9.0, test_ppl=8.5)
    ours, theirs = pty.openpty()
    done = subprocess.run(
        command("status", "--watch", "--profile", profile, "--dataset", corpus),
        cwd=tmp_path, env=environment(TERM="xterm", COLUMNS="160"), stdout=theirs, timeout=120,
    )  # fmt: skip
    os.close(theirs)
    assert done.returncode == 0
    assert b"9 done" in os.read(ours, 1 << 16)
    os.close(ours)
