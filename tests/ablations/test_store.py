"""Parquet shards: whole or absent, one schema, named when they cannot be read."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ablations.store import EPOCH_SCHEMA, RUN_SCHEMA, Store, StoreError
from tests.ablations.conftest import ROOT

EPOCH = {"run_id": "a", "phase": "train", "epoch": 1, "train_ppl": 5.0, "valid_ppl": 4.0, "averaging": False}


def row(run_id: str = "a", **fields: object) -> dict[str, object]:
    return {"run_id": run_id, "status": "done", "valid_ppl": 4.0, **fields}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.write(row(seed=3, git_dirty=True), [EPOCH, {**EPOCH, "epoch": 2}])
    runs, epochs = store.runs(), store.epochs(["a", "unknown"])
    assert runs.loc[0, ["run_id", "status", "valid_ppl", "seed", "git_dirty"]].tolist() == ["a", "done", 4.0, 3, True]
    assert epochs["epoch"].tolist() == [1, 2]
    assert store.statuses() == {"a": "done"}


def test_a_failure_never_replaces_a_finished_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.write(row(status="failed"), [])
    assert store.write(row(), [EPOCH])
    assert not store.write(row(status="failed", valid_ppl=None), [])
    assert store.statuses() == {"a": "done"}
    assert len(store.epochs(["a"])) == 1
    assert store.write(row(valid_ppl=3.0), [EPOCH])
    assert store.runs()["valid_ppl"].tolist() == [3.0]


def test_an_empty_folder_is_an_empty_frame_of_the_schema(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert list(store.runs().columns) == RUN_SCHEMA.names
    assert list(store.epochs([]).columns) == EPOCH_SCHEMA.names
    assert not (tmp_path / "results").exists()


def test_pandas_reads_the_folder_though_a_column_is_null_in_one_shard_and_text_in_another(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(row("a", error=None, averaging_started=None, git_commit=None), [])
    store.write(row("b", status="failed", error="no space", averaging_started=7, git_commit="abc"), [])
    frame = pd.read_parquet(tmp_path / "runs").set_index("run_id")
    assert frame.loc["b", "error"] == "no space"
    assert pd.isna(frame.loc["a", "error"])
    assert frame.loc["b", "averaging_started"] == 7


def test_the_row_is_the_commit_mark(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a.parquet").mkdir()  # the row cannot replace a folder
    with pytest.raises(StoreError, match=r"a\.parquet"):
        store.write(row(), [EPOCH])
    assert (tmp_path / "epochs" / "a.parquet").exists()
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_torn_shard_is_named(tmp_path: Path, keep: int) -> None:
    store = Store(tmp_path)
    store.write(row(), [EPOCH])
    path = tmp_path / "runs" / "a.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"a\.parquet: cannot be read"):
        store.runs()


def test_a_parquet_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    pd.DataFrame({"x": [1]}).to_parquet(tmp_path / "runs" / "other.parquet")
    with pytest.raises(StoreError, match=r"other\.parquet"):
        Store(tmp_path).runs()


def test_a_shard_from_before_a_column_existed_still_reads(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(row("new", audit="passed"), [])
    path = tmp_path / "runs" / "new.parquet"
    old = pd.read_parquet(path).drop(columns="audit").assign(run_id="old")
    old.to_parquet(path.with_name("old.parquet"))
    runs = store.runs().set_index("run_id")
    assert runs.loc["new", "audit"] == "passed"
    assert pd.isna(runs.loc["old", "audit"])
    assert list(store.runs().columns) == RUN_SCHEMA.names


def test_temporary_files_of_a_killed_process_are_passed_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(row(), [EPOCH])
    (tmp_path / "runs" / ".b.parquet.123.tmp").write_bytes(b"PAR1")
    assert store.runs()["run_id"].tolist() == ["a"]
    assert len(pd.read_parquet(tmp_path / "runs")) == 1


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: the write fails in the middle, as it would there."""
    script = """
import resource, signal, sys
from pathlib import Path
from ablations.store import Store, StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
try:
    Store(Path(sys.argv[1])).write({"run_id": "b", "status": "done"}, [])
except StoreError as error:
    print(error)
    sys.exit(3)
"""
    store = Store(tmp_path)
    store.write(row(), [EPOCH])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 3, done.stderr
    assert "b.parquet: cannot be written" in done.stdout
    assert "File too large" in done.stdout
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.parquet", "a.parquet"]
    assert store.statuses() == {"a": "done"}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 512, "the limit was the other process's alone"
