"""Results of measurements: a parquet file, a markdown page, and where they came from."""

from __future__ import annotations

import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ablations.storage.provenance import collect_provenance
from awd.files import whole_file, write_text

if TYPE_CHECKING:
    import pandas as pd

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    """Machine, cores, versions, commit and whether the tree was changed, time of day; ask before measuring."""
    return {
        **asdict(collect_provenance()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def describe(about: dict[str, Any]) -> str:
    """One line of text for what :func:`machine` gave."""
    commit = about["git_commit"]
    tree = "no git checkout" if commit is None else f"commit {commit[:10]}{' with changes' * bool(about['git_dirty'])}"
    usable = "" if about["cores"] == os.cpu_count() else f", {about['cores']} of them usable"
    versions = f"Python {about['python_version']}, PyTorch {about['torch_version']}"
    return f"{about['host']}{usable}; {versions}; {tree}; {about['measured_at']}"


def write(
    name: str, frame: pd.DataFrame, markdown: str, folder: Path = RESULTS, about: dict[str, Any] | None = None
) -> list[Path]:
    """Write ``<name>.parquet`` and ``<name>.md`` into ``folder``, each whole, replacing those there.

    Args:
        name: of the files, without an ending.
        frame: what was measured; :func:`machine`'s values join it as columns.
        markdown: the page; the machine's line is put under it.
        folder: made if it is not there.
        about: what :func:`machine` gave before measuring; asked now when left out.

    Returns:
        The paths of both.
    """
    about = about or machine()
    parquet, page = folder / f"{name}.parquet", folder / f"{name}.md"
    with whole_file(parquet) as temporary:
        frame.assign(**about).to_parquet(temporary, index=False)
    write_text(page, f"{markdown.rstrip()}\n\n{describe(about)}\n")
    return [parquet, page]
