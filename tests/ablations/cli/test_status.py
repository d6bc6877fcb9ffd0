"""Where runs stand, from the results folder alone."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pty
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ablations.cli import status as status_module
from ablations.cli.status import print_status, seconds_remaining, standings, totals
from ablations.execution.worker import checkpoint_folder
from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection, select
from ablations.storage.leases import Leases
from ablations.storage.progress import Progress, ProgressFolder
from ablations.storage.store import Store
from tests.ablations.conftest import command, environment


@pytest.fixture
def selection(profile: Path, corpus: Path) -> Selection:
    return select("table5", str(profile), (str(corpus),), engine="torch", precision="fp32")


@pytest.fixture
def plan(selection: Selection) -> list[RunSpec]:
    return selection.plan(selection.corpora())


def record(store: Store, spec: RunSpec, status: str, **columns: Any) -> None:
    names = (
        "run_id",
        "suite",
        "profile",
        "dataset",
        "corpus_sha256",
        "variant",
        "label",
        "seed",
        "engine",
        "precision",
    )
    row = {name: getattr(spec, name) for name in names} | {"config": spec.config_json, "status": status}
    store.write({**row, "epochs": 0, "seconds": 10.0, "finished_at": "2026-01-01T00:00:00+00:00", **columns}, [])


def shown(selection: Selection, store: Store, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_status(selection, store, console, **options)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_each_way_to_stand_is_told_apart(tmp_path: Path, selection: Selection, plan: list[RunSpec]) -> None:
    store = Store(tmp_path / "results")
    record(store, plan[0], "done", valid_ppl=9.0, test_ppl=8.5, epochs=5)
    record(store, plan[1], "failed", error="Traceback\nworker died (signal 9)")
    record(store, plan[2], "paused", error="Ctrl-C", valid_ppl=12.25, epochs=2)
    record(store, plan[3], "diverged", error="loss not finite")
    record(store, plan[4], "done", valid_ppl=1.0, test_ppl=1.0)
    damaged = store.runs_folder / f"{plan[4].run_id}.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    saved = checkpoint_folder(store.root, plan[5].run_id)
    saved.mkdir(parents=True)
    (saved / "checkpoint-000000001.safetensors").touch()
    ProgressFolder(store.root).update(Progress(plan[6].run_id, 1, "host", 5, epoch=1, seconds=2.0))  # nobody's
    lease = Leases(store.root).take(plan[7].run_id)
    assert lease is not None
    with lease:
        now = Progress(
            plan[7].run_id, os.getpid(), "host", 5, epoch=2, share=0.5, valid_ppl=11.5, seconds=5.0, tokens=500
        )
        ProgressFolder(store.root).update(now)
        found = standings(plan, store)
        text = shown(selection, store)
    assert [standing.status for standing in found] == [
        "done", "failed", "paused", "diverged", "damaged", "paused", "missing", "running", "missing",
    ]  # fmt: skip
    assert found[7].detail == f"train, 100 tokens/s, 0:05 left, process {os.getpid()} on {lease.owner.host}"
    assert found[5].detail == "interrupted; its checkpoint is there"
    for part in (
        "2/5",
        "12.25",
        "11.50",
        "worker died (signal 9)",
        "1 damaged, 1 diverged, 1 done, 1 failed, 2 missing",
    ):
        assert part in text
    assert "Traceback" not in text


def test_what_remains_is_estimated_from_what_is_known(tmp_path: Path, plan: list[RunSpec]) -> None:
    store = Store(tmp_path)
    assert seconds_remaining(standings(plan, store)) is None
    assert "--dry-run" in totals(standings(plan, store))
    record(store, plan[0], "done", valid_ppl=9.0, test_ppl=8.5, seconds=60.0)
    record(store, plan[1], "paused", error="Ctrl-C", seconds=20.0)
    # one is done, one has 40 s to go, seven 60 s each
    assert seconds_remaining(standings(plan, store)) == 40 + 7 * 60
    assert "7 missing, 1 paused; about 7:40 left one at a time" in totals(standings(plan, store))
    for spec in plan[1:]:
        record(store, spec, "done", valid_ppl=9.0, test_ppl=8.5)
    assert seconds_remaining(standings(plan, store)) == 0
    assert totals(standings(plan, store)) == "9 done"


def test_a_foreign_owner_is_shown_by_its_host(tmp_path: Path, plan: list[RunSpec]) -> None:
    lease = Leases(tmp_path).take(plan[0].run_id)
    assert lease is not None
    path = tmp_path / "claims" / f"{plan[0].run_id}.json"
    owner = dataclasses.asdict(lease.owner) | {"where": "elsewhere", "host": "node7"}
    path.write_text(json.dumps(owner), encoding="utf-8")
    assert standings(plan, Store(tmp_path))[0].detail == f"starting, process {os.getpid()} on node7"
    old = time.time() - 120
    os.utime(path, (old, old))
    assert standings(plan, Store(tmp_path))[0].status == "missing"


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
