"""Results as parquet: a shard of epochs and, as the commit mark, a shard of one row for each run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from awd.errors import InputError
from awd.files import whole_file

DONE, FAILED, DIVERGED = "done", "failed", "diverged"

# explicit, so that a column that is null in one shard and text in the next still reads as one table
RUN_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("suite", pa.string()),
        ("profile", pa.string()),
        ("dataset", pa.string()),
        ("corpus_sha256", pa.string()),
        ("variant", pa.string()),
        ("label", pa.string()),
        ("seed", pa.int64()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("audit", pa.string()),
        ("valid_ppl", pa.float64()),
        ("test_ppl", pa.float64()),
        ("epochs", pa.int64()),
        ("averaging_started", pa.int64()),
        ("parameters", pa.int64()),
        ("seconds", pa.float64()),
        ("tokens_per_second", pa.float64()),
        ("device", pa.string()),
        ("engine", pa.string()),
        ("precision", pa.string()),
        ("torch_version", pa.string()),
        ("python_version", pa.string()),
        ("project_version", pa.string()),
        ("git_commit", pa.string()),
        ("git_dirty", pa.bool_()),
        ("host", pa.string()),
        ("finished_at", pa.string()),
        ("config", pa.string()),
    ]
)
EPOCH_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("phase", pa.string()),
        ("epoch", pa.int64()),
        ("train_ppl", pa.float64()),
        ("valid_ppl", pa.float64()),
        ("learning_rate", pa.float64()),
        ("averaging", pa.bool_()),
        ("seconds", pa.float64()),
        ("tokens", pa.int64()),
    ]
)


class StoreError(InputError):
    """A results folder cannot be written, or holds a file that cannot be read."""


class Store:
    """A results folder.

    Args:
        root: the folder; made when something is first written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs_folder, self.epochs_folder = root / "runs", root / "epochs"

    def require_writable(self) -> None:
        """Fail now rather than after the first run.

        Raises:
            StoreError: nothing can be written there.
        """
        try:
            with whole_file(self.root / "probe") as probe:
                probe.touch()
            (self.root / "probe").unlink()
        except OSError as error:
            raise StoreError(f"{self.root}: results cannot be written there ({error.strerror})") from None

    def write(self, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> bool:
        """Store a run: its epochs first, then its row, whose presence says that the run is recorded.

        Returns:
            Whether it was: a run that failed never replaces one that is done.

        Raises:
            StoreError: the disk is full or the folder not writable; nothing half-written is left.
        """
        name = f"{row['run_id']}.parquet"
        if row["status"] != DONE and self._is_done(self.runs_folder / name):
            return False
        _write_shard(self.epochs_folder / name, epochs, EPOCH_SCHEMA)
        _write_shard(self.runs_folder / name, [row], RUN_SCHEMA)
        return True

    def _is_done(self, path: Path) -> bool:
        return path.is_file() and _read_shard(path, RUN_SCHEMA)["status"].to_pylist() == [DONE]

    def statuses(self) -> dict[str, str]:
        """Status of every recorded run, by its id."""
        return dict(self.runs()[["run_id", "status"]].itertuples(index=False, name=None))

    def runs(self) -> pd.DataFrame:
        """Every recorded run, a row each, sorted by id; no rows where there is no folder.

        Raises:
            StoreError: a shard cannot be read; the message names it.
        """
        return _read_shards(sorted(self.runs_folder.glob("[!.]*.parquet")), RUN_SCHEMA)

    def epochs(self, run_ids: Iterable[str]) -> pd.DataFrame:
        """The epochs of the given runs, in the order of the ids; ids without a shard are passed over.

        Raises:
            StoreError: a shard cannot be read; the message names it.
        """
        paths = [self.epochs_folder / f"{run_id}.parquet" for run_id in run_ids]
        return _read_shards([path for path in paths if path.exists()], EPOCH_SCHEMA)


def _write_shard(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    try:
        with whole_file(path) as temporary:
            pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), temporary)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror or error})") from None


def _read_shards(paths: Sequence[Path], schema: pa.Schema) -> pd.DataFrame:
    tables = [_read_shard(path, schema) for path in paths]
    return pa.concat_tables([schema.empty_table(), *tables]).to_pandas()


def _read_shard(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        # one file, not a data set: no folder names become columns
        table = pq.ParquetFile(path).read()
        if "run_id" not in table.column_names:
            raise ValueError("it has no column run_id")
        for field in schema:
            if field.name not in table.column_names:  # written before the schema had it
                table = table.append_column(field, pa.nulls(len(table), field.type))
        return table.select(schema.names).cast(schema)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise StoreError(
            f"{path}: cannot be read as a result ({reason}); if it is damaged, delete it and run again: only this "
            f"run is trained anew"
        ) from None
