"""Parquet shards: whole or absent, one schema, exactly what was written or else named and refused."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ablations.storage.status import Status
from ablations.storage.store import EPOCH_SCHEMA, RUN_SCHEMA, DamagedShardError, Store, StoreError
from awd.files import PLACEHOLDER, write_sealed
from tests.ablations.conftest import ROOT

MARK = PLACEHOLDER.rstrip("0")
EPOCH = {"run_id": "a", "phase": "train", "epoch": 1, "train_ppl": 5.0, "valid_ppl": 4.0, "averaging": False}


def row(run_id: str = "a", **fields: object) -> dict[str, object]:
    return {"run_id": run_id, "status": "done", "valid_ppl": 4.0, **fields}


def full(schema: pa.Schema, run_id: str, **fields: object) -> dict[str, object]:
    """A value in every column, none of them like another."""
    places = enumerate(schema, start=1)
    kinds = {
        pa.string(): str,
        pa.int64(): int,
        pa.float64(): lambda number: number / 7,
        pa.bool_(): lambda number: True,
    }
    made = {field.name: kinds[field.type](place) for place, field in places}
    return {**made, "run_id": run_id, **fields}


def seal(frame: pd.DataFrame, path: Path) -> None:
    """What another version of the store may have written."""
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata({"seal": PLACEHOLDER})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_sealed(path, sink.getvalue().to_pybytes())


@pytest.fixture
def filled(tmp_path: Path) -> Store:
    """A store with the runs a and b."""
    store = Store(tmp_path)
    for run_id in ("a", "b"):
        assert store.write(row(run_id), [{**EPOCH, "run_id": run_id}])
    return store


@pytest.mark.parametrize(
    "name",
    [
        "a.sync-conflict-20261127-101010-ABCDEFG",
        "a (1)",
        "a (Ann's conflicted copy 2026-11-27)",
        "a-HOST",
        "a 2",
        "c",
        "b_",
    ],
)
def test_a_copy_beside_a_shard_is_named_and_ignored(filled: Store, name: str, caplog: pytest.LogCaptureFixture) -> None:
    runs, epochs = filled.runs(), filled.epochs(["a", "b"])
    for folder in (filled.runs_folder, filled.epochs_folder):
        (folder / f"{name}.parquet").write_bytes((folder / "a.parquet").read_bytes())
    for _ in range(2):
        pd.testing.assert_frame_equal(filled.runs(), runs)
        pd.testing.assert_frame_equal(filled.epochs(["a", "b", name]), epochs)
        assert filled.statuses() == {"a": "done", "b": "done"}
        assert filled.run(name) is None
    for folder in (filled.runs_folder, filled.epochs_folder):
        told = [record.getMessage() for record in caplog.records if f"{folder / name}.parquet" in record.getMessage()]
        assert len(told) == 1
        assert "ignored" in told[0]


def test_a_shard_in_the_place_of_another_is_ignored_until_the_run_is_trained(filled: Store) -> None:
    (filled.runs_folder / "b.parquet").write_bytes((filled.runs_folder / "a.parquet").read_bytes())
    assert filled.statuses() == {"a": "done"}
    assert filled.write(row("b", status="failed"), [])
    assert filled.statuses() == {"a": "done", "b": "failed"}


@pytest.mark.parametrize("ids", [[], ["a", "a"], ["a", "b"]])
def test_a_shard_that_is_not_one_row_is_ignored(filled: Store, ids: list[str]) -> None:
    seal(pd.DataFrame([row(run_id) for run_id in ids], columns=list(row())), filled.runs_folder / "a.parquet")
    assert filled.statuses() == {"b": "done"}
    assert filled.run("a") is None


def printed_by(folder: Path, script: str) -> list[str]:
    """What a script prints in a process of its own, where too large a file is an error and not the end."""
    before = """
import resource, signal, sys
from pathlib import Path
from ablations.storage.store import Store, StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
"""
    done = subprocess.run(
        [sys.executable, "-c", before + script, str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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


@pytest.fixture
def written(tmp_path: Path) -> Store:
    """A run with every column filled, and its epochs."""
    store = Store(tmp_path)
    row = full(RUN_SCHEMA, "a", status="done", config='{"model": {"embedding_size": 400}}' * 30)
    store.write(row, [full(EPOCH_SCHEMA, "a", epoch=epoch) for epoch in range(5)])
    return store


def shards(store: Store) -> list[tuple[Path, Callable[[], pd.DataFrame]]]:
    """Each shard of the run, and what reads it."""
    return [
        (store.runs_folder / "a.parquet", store.runs),
        (store.epochs_folder / "a.parquet", lambda: store.epochs("a")),
    ]


def test_a_shard_is_sealed_in_its_footer(written: Store) -> None:
    for path, _ in shards(written):
        content = path.read_bytes()
        assert content.count(MARK.encode()) == 1
        assert PLACEHOLDER.encode() not in content
        assert pq.read_metadata(path).metadata[b"seal"].startswith(MARK.encode())


def test_pandas_reads_the_same_values_as_the_store(written: Store) -> None:
    written.write(full(RUN_SCHEMA, "b", status="failed", error=None, resumes=2), [full(EPOCH_SCHEMA, "b")])
    by_pandas = pd.read_parquet(written.runs_folder)
    pd.testing.assert_frame_equal(by_pandas, written.runs())
    assert by_pandas["resumes"].tolist() == [RUN_SCHEMA.names.index("resumes") + 1, 2]
    assert by_pandas["seconds"].tolist() == [(RUN_SCHEMA.names.index("seconds") + 1) / 7] * 2
    pd.testing.assert_frame_equal(pd.read_parquet(written.epochs_folder), written.epochs("ab"))
    assert list(pd.read_parquet(written.epochs_folder / "a.parquet")["epoch"]) == [0, 1, 2, 3, 4]


def refuses_flips(path: Path, read: Callable[[], pd.DataFrame], bits: Iterable[int]) -> None:
    content, before = path.read_bytes(), read()
    with path.open("r+b", buffering=0) as file:
        for bit in bits:
            place, value = bit // 8, content[bit // 8]
            file.seek(place)
            file.write(bytes([value ^ 1 << bit % 8]))
            with pytest.raises(DamagedShardError, match=r"a\.parquet: cannot be read as a result"):
                read()
            file.seek(place)
            file.write(bytes([value]))
    pd.testing.assert_frame_equal(read(), before)


def test_every_changed_bit_of_the_epochs_is_noticed(written: Store) -> None:
    path, read = shards(written)[1]
    refuses_flips(path, read, range(8 * path.stat().st_size))


def test_changed_bits_of_a_row_are_noticed(written: Store) -> None:
    path, read = shards(written)[0]
    refuses_flips(path, read, random.Random(1).sample(range(8 * path.stat().st_size), 3000))


def test_every_cut_is_noticed(written: Store) -> None:
    for path, read in shards(written):
        content = path.read_bytes()
        for length in reversed(range(len(content))):
            os.truncate(path, length)
            with pytest.raises(DamagedShardError, match=r"a\.parquet: cannot be read as a result"):
                read()
        path.write_bytes(content)
        assert len(read())


def test_bytes_after_the_end_are_noticed(written: Store) -> None:
    for path, read in shards(written):
        content = path.read_bytes()
        for more in (b"\x00", b"PAR1", content, content[-100:], PLACEHOLDER.encode(), bytes(4096)):
            path.write_bytes(content + more)
            with pytest.raises(DamagedShardError, match=r"a\.parquet: cannot be read as a result"):
                read()
        path.write_bytes(content)
        assert len(read())


@pytest.mark.parametrize("text", [PLACEHOLDER, MARK, f"{PLACEHOLDER}\n{MARK}", f"{MARK}{'f' * 64}", PLACEHOLDER[:-1]])
def test_text_that_looks_like_a_seal_is_stored_as_it_is(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    names = [field.name for field in RUN_SCHEMA if field.type == pa.string() and field.name != "run_id"]
    store.write(full(RUN_SCHEMA, "a", **dict.fromkeys(names, text)), [{**EPOCH, "phase": text}])
    assert store.runs()[names].to_numpy().tolist() == [[text] * len(names)]
    assert store.epochs("a")["phase"].tolist() == [text]
    assert pd.read_parquet(store.runs_folder)["error"].tolist() == [text]


def test_a_shard_without_a_seal_is_refused_and_says_what_to_do(written: Store) -> None:
    for path, read in shards(written):
        pd.read_parquet(path).to_parquet(path)
        with pytest.raises(StoreError) as caught:
            read()
        message = str(caught.value)
        assert message.startswith(f"{path}: cannot be read as a result (damaged, or never sealed: no digest in its")
        assert message.endswith("run again: only this run is trained anew")
        assert message.count(str(path)) == 1
        assert "\n" not in message


def test_whoever_deletes_what_the_message_names_can_train_the_run_anew(written: Store) -> None:
    row, epochs = (path for path, _ in shards(written))
    os.truncate(epochs, 100)
    with pytest.raises(StoreError, match=f"delete it and {row} and run again"):
        written.epochs("a")
    epochs.unlink()
    row.unlink()
    assert written.statuses() == {}
    assert written.write(full(RUN_SCHEMA, "a", status="done"), [full(EPOCH_SCHEMA, "a")])
    assert len(written.epochs("a")) == 1
    os.truncate(row, 100)
    with pytest.raises(StoreError, match="delete it and run again"):
        written.runs()
    row.unlink()
    assert written.statuses() == {}


@pytest.mark.parametrize("status", ["done", "failed", "paused"])
@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_damaged_shard_is_replaced_by_the_run_that_was_trained_anew(written: Store, status: str, length: int) -> None:
    for path, _ in shards(written):
        path.write_bytes(path.read_bytes()[:length])
    assert written.write(full(RUN_SCHEMA, "a", status=status), [full(EPOCH_SCHEMA, "a")])
    assert written.statuses() == {"a": status}
    assert len(written.epochs("a")) == 1


def test_a_shard_that_may_not_be_read_is_kept_and_named(written: Store) -> None:
    """It may well be a run that is done."""
    script = """
import os
store = Store(Path(sys.argv[1]))
if os.geteuid() == 0:  # whom no mode keeps out
    os.chdir(store.root)
    for path in [Path("."), *Path(".").rglob("*")]:
        os.chown(path, 65534, 65534)
    os.setuid(65534)
    store = Store(Path("."))
(store.runs_folder / "a.parquet").chmod(0)
for attempt in (store.runs, lambda: store.write({"run_id": "a", "status": "failed"}, [])):
    try:
        print(attempt())
    except StoreError as error:
        print(error)
(store.runs_folder / "a.parquet").chmod(0o600)
"""
    before = files(written.root)
    printed = printed_by(written.root, script)
    assert len(printed) == 2
    assert all("a.parquet: cannot be read as a result (Permission denied)" in line for line in printed)
    assert files(written.root) == before


def test_a_paused_run_replaces_what_failed_and_never_what_is_done(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.write(row(status="failed"), [])
    assert store.write(row(status=Status.PAUSED, valid_ppl=None, resumes=1), [EPOCH])
    assert store.statuses() == {"a": "paused"}
    assert store.runs()["resumes"].tolist() == [1]
    assert store.write(row(resumes=2), [EPOCH])
    assert not store.write(row(status=Status.PAUSED, resumes=3), [])
    assert store.runs()[["status", "resumes"]].to_numpy().tolist() == [["done", 2]]


def test_a_parquet_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    seal(pd.DataFrame({"x": [1]}), tmp_path / "runs" / "other.parquet")
    with pytest.raises(StoreError, match=r"other\.parquet: cannot be read as a result \(it has no column run_id\)"):
        Store(tmp_path).runs()


def test_a_sealed_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    for content in (b"", b"PAR1" * 20):
        write_sealed(tmp_path / "runs" / "other.parquet", content + PLACEHOLDER.encode() + content)
        with pytest.raises(StoreError, match=r"other\.parquet: cannot be read as a result"):
            Store(tmp_path).runs()


def test_a_shard_from_before_a_column_existed_still_reads(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(row("new", audit="passed"), [])
    path = tmp_path / "runs" / "new.parquet"
    old = pd.read_parquet(path).drop(columns=["audit", "resumes"]).assign(run_id="old")
    seal(old, path.with_name("old.parquet"))
    runs = store.runs().set_index("run_id")
    assert runs.loc["new", "audit"] == "passed"
    assert pd.isna(runs.loc["old", "audit"])
    assert pd.isna(runs.loc["old", "resumes"])
    assert list(store.runs().columns) == RUN_SCHEMA.names


def test_temporary_files_of_a_killed_process_are_passed_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(row(), [EPOCH])
    (tmp_path / "runs" / ".b.parquet.123.tmp").write_bytes(b"PAR1")
    assert store.runs()["run_id"].tolist() == ["a"]
    assert len(pd.read_parquet(tmp_path / "runs")) == 1


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    script = """
resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
try:
    Store(Path(sys.argv[1])).write({"run_id": "b", "status": "done"}, [])
except StoreError as error:
    print(error)
"""
    store = Store(tmp_path)
    store.write(row(), [EPOCH])
    assert printed_by(tmp_path, script) == [f"{tmp_path}/epochs/b.parquet: cannot be written (File too large)"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.parquet", "a.parquet"]
    assert store.statuses() == {"a": "done"}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 512, "the limit was the other process's alone"


def test_a_shard_that_does_not_fit_leaves_the_earlier_one_wherever_the_write_ends(written: Store) -> None:
    """The epochs are refused at first, and the row alone in the end."""
    script = """
import os
store = Store(Path(sys.argv[1]))
config = os.urandom(8192).hex()  # cannot be compressed: the row never fits
for limit in range(0, 8192, 512):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        store.write({"run_id": "a", "status": "done", "config": config}, [])
    except StoreError as error:
        print(error)
"""
    before = files(written.root)
    printed = printed_by(written.root, script)
    refused = [
        line.removeprefix(f"{written.root}/").removesuffix(": cannot be written (File too large)") for line in printed
    ]
    assert set(refused) == {"epochs/a.parquet", "runs/a.parquet"}
    assert refused == sorted(refused)
    assert files(written.root)["runs/a.parquet"] == before["runs/a.parquet"]
    assert sorted(files(written.root)) == sorted(before)
    assert written.statuses() == {"a": "done"}
