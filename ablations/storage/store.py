"""Results as parquet: a shard of epochs and, as the commit mark, a shard of one row for each run.

Shards are sealed (:mod:`awd.files`), since parquet itself does not notice every changed bit. A file that is not the
shard its name says, such as the copy that a sync client makes of one, is named in a warning and read by nobody.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ablations.storage.status import Status
from awd.config import Config, config_from_dict
from awd.errors import InputError
from awd.files import PLACEHOLDER, DamagedFileError, read_sealed, remove_leftovers, write_sealed

_PROBE_BYTES = 1 << 18  # more than the shards of a run take
_RUNS, _EPOCHS = "runs", "epochs"

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
        ("train_unknown", pa.float64()),  # share of the split's tokens that is <unk>
        ("valid_unknown", pa.float64()),
        ("test_unknown", pa.float64()),
        ("seconds", pa.float64()),
        ("resumes", pa.int64()),  # from a checkpoint
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


class DamagedShardError(StoreError):
    """A shard is not what was written, bit for bit; or it was never a result."""


@contextmanager
def explained(what: str, kind: type[InputError] = InputError) -> Iterator[None]:
    """Give an error of the operating system its place: one message of ``what``, and the reason in brackets."""
    try:
        yield
    except OSError as error:
        raise kind(f"{what} ({error.strerror or error})") from None


class Store:
    """A results folder.

    Args:
        root: the folder; it is made when something is first written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs_folder, self.epochs_folder = root / _RUNS, root / _EPOCHS

    def require_writable(self) -> None:
        """Check that a result can be written, before a run is trained.

        Raises:
            StoreError: nothing can be written there, or the disk is full.
        """
        with explained(f"{self.root}: results cannot be written there", StoreError):
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root) as probe:
                probe.write(bytes(_PROBE_BYTES))

    def write(self, row: Mapping[str, Any], epochs: Sequence[Mapping[str, Any]]) -> bool:
        """Store a run: first its epochs, then its row. A run is recorded once its row is there.

        Returns:
            Whether it was stored: a run that is not done never replaces one that is. Any run replaces a damaged row.

        Raises:
            StoreError: the disk is full or the folder not writable; no file is half-written, and the earlier shard, if
                there was one, is still there.
        """
        name = f"{row['run_id']}.parquet"
        if row["status"] != Status.DONE and self._is_done(self.runs_folder / name):
            return False
        _write_shard(self.epochs_folder / name, epochs, EPOCH_SCHEMA)
        _write_shard(self.runs_folder / name, [row], RUN_SCHEMA)
        return True

    def remove_leftovers(self, run_id: str) -> None:
        """Remove the files of a process that was killed while it wrote this run; only for who holds the lease."""
        for folder in (self.runs_folder, self.epochs_folder):
            remove_leftovers(folder / f"{run_id}.parquet")

    def _is_done(self, path: Path) -> bool:
        try:
            return path.is_file() and _read_shards([path], RUN_SCHEMA)["status"].to_list() == [Status.DONE]
        except DamagedShardError:
            return False

    def statuses(self) -> dict[str, str]:
        """Status of every recorded run, by run id."""
        return dict(self.runs().set_index("run_id")["status"])

    def finished(self) -> dict[str, str]:
        """When each recorded run was finished, by run id."""
        return dict(self.runs().set_index("run_id")["finished_at"])

    def run(self, run_id: str) -> dict[str, Any] | None:
        """The row of a run; ``None`` if it is not recorded.

        Raises:
            StoreError: the shard cannot be read.
        """
        path = self.runs_folder / f"{run_id}.parquet"
        shard = _read_shard(path, RUN_SCHEMA) if path.is_file() else None
        return None if shard is None else shard.to_pylist()[0]

    def runs(self) -> pd.DataFrame:
        """Every recorded run, one row per run, sorted by id; empty where there is no folder.

        Raises:
            StoreError: a shard cannot be read; the message names it.
        """
        return _read_shards(sorted(self.runs_folder.glob("[!.]*.parquet")), RUN_SCHEMA)

    def epochs(self, run_ids: Iterable[str]) -> pd.DataFrame:
        """The epochs of the given runs, in the order of the ids; an id without a shard is skipped.

        Raises:
            StoreError: a shard cannot be read; the message names it.
        """
        paths = [self.epochs_folder / f"{run_id}.parquet" for run_id in run_ids]
        return _read_shards([path for path in paths if path.exists()], EPOCH_SCHEMA)


def recorded_config(text: str) -> Config:
    """The configuration of a recorded run, from its column ``config``."""
    return config_from_dict(json.loads(text), "a recorded run")


def _write_shard(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    content = _to_parquet(pa.Table.from_pylist([dict(row) for row in rows], schema=schema))
    with explained(f"{path}: cannot be written", StoreError):
        write_sealed(path, content)


def _to_parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema) as writer:
        writer.write_table(table)
        # in the footer, after all values, those in its statistics too; not in the schema, which stands there twice
        writer.add_key_value_metadata({"seal": PLACEHOLDER})
    return sink.getvalue().to_pybytes()


def _read_shards(paths: Sequence[Path], schema: pa.Schema) -> pd.DataFrame:
    tables = [_read_shard(path, schema) for path in paths]
    return pa.concat_tables([schema.empty_table(), *(table for table in tables if table is not None)]).to_pandas()


def _read_shard(path: Path, schema: pa.Schema) -> pa.Table | None:
    """The rows of a shard; ``None``, with a warning, if the file is not the shard that its name says."""
    if not re.fullmatch(r"\w+", path.stem):
        _ignore(path, "no run is called so")
        return None
    try:
        table = _from_parquet(read_sealed(path), schema)
    except OSError as error:
        kind, reason = StoreError, error.strerror or str(error)
    except (DamagedFileError, ValueError, pa.ArrowException) as error:
        kind, reason = DamagedShardError, str(error).removeprefix(f"{path}: ").partition("\n")[0]
    else:
        found = table["run_id"].to_pylist()
        if found == [path.stem] or (schema is EPOCH_SCHEMA and set(found) <= {path.stem}):
            return table
        _ignore(path, f"it holds {', '.join(sorted(map(str, set(found)))) or 'no row'}")
        return None
    # epochs alone are not missed: it is the row that says that a run need not be trained
    row = "" if path.parent.name == _RUNS else f" and {path.parents[1] / _RUNS / path.name}"
    raise kind(
        f"{path}: cannot be read as a result ({reason}); if it is damaged, delete it{row} and run again: only this run "
        f"is trained anew"
    )


@cache  # told once, however often the folder is read
def _ignore(path: Path, why: str) -> None:
    logging.getLogger(__name__).warning("warning: %s: ignored, since it is not the result of a run (%s)", path, why)


def _from_parquet(content: bytes, schema: pa.Schema) -> pa.Table:
    # one file, not a data set: no folder names become columns
    table = pq.ParquetFile(pa.BufferReader(content)).read()
    if "run_id" not in table.column_names:
        raise ValueError("it has no column run_id")
    for field in schema:
        if field.name not in table.column_names:  # written before the schema had it
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)
