"""How far the runs of a plan are, from the results folder alone."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

from ablations.execution.standings import seconds_remaining, standings, totals
from ablations.execution.worker import checkpoint_folder
from ablations.experiment.plan import RunSpec
from ablations.storage.leases import Leases
from ablations.storage.progress import Progress, ProgressFolder
from ablations.storage.store import Store
from tests.ablations.conftest import record


def test_each_way_to_stand_is_told_apart(tmp_path: Path, plan: list[RunSpec]) -> None:
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
    assert [standing.status for standing in found] == [
        "done", "failed", "paused", "diverged", "damaged", "paused", "missing", "running", "missing",
    ]  # fmt: skip
    assert found[7].detail == f"train, 100 tokens/s, 0:05 left, process {os.getpid()} on {lease.owner.host}"
    assert found[5].detail == "interrupted; its checkpoint is there"
    assert "1 damaged, 1 diverged, 1 done, 1 failed, 2 missing" in totals(found)
    assert "Traceback" not in found[1].detail


def test_a_word_that_no_version_stored_hides_no_other_run(tmp_path: Path, plan: list[RunSpec]) -> None:
    store = Store(tmp_path)
    record(store, plan[0], "finished")
    record(store, plan[1], "done", valid_ppl=9.0, test_ppl=8.5)
    assert [standing.status for standing in standings(plan[:2], store)] == ["damaged", "done"]


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
