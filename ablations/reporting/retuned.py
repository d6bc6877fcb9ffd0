"""Two suites side by side: the rows as they are, and each row at strengths of its own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ablations.analysis.comparison import Comparison
from ablations.reporting.formats import markdown
from ablations.reporting.kinds import rows_in_order
from ablations.reporting.tables import brief_rows
from ablations.storage.store import explained
from ablations.terminal import Sheet
from awd.files import write_text

NAME = "retuned"


def render_retuned(before: Comparison, after: Comparison, folder: Path, *, also_set: bool = False) -> Sheet:
    """Write ``retuned.md`` and ``.csv``.

    Args:
        before: the suite, nothing retuned.
        after: the same rows, each at the best settings of its own study.
        also_set: whether the studies chose what a row sets itself, too.

    Returns:
        The same table for a terminal.

    Raises:
        InputError: the folder cannot be written.
    """
    (dataset,) = after.datasets
    found = side_by_side(before, after, dataset)
    title = f"{after.suite.title}: {after.title(dataset)}"
    notes = (
        "Nothing retuned: every row as the suite has it. Each retuned: every row at the best of as many trials of its "
        "own, chosen on validation; the fields that a row sets itself were "
        + ("tuned, too." if also_set else "left out of its search.")
    )
    with explained(f"{folder}: cannot be written"):
        write_text(folder / f"{NAME}.md", f"# {markdown(title)}\n\n{found.to_markdown(index=False)}\n\n{notes}\n")
        write_text(folder / f"{NAME}.csv", found.to_csv(index=False, lineterminator="\n"))
    sheet = Sheet(title, list(found.columns), numbers=list(found.columns)[1:])
    for row in found.itertuples(index=False):
        sheet.add(*map(str, row))
    return sheet


def side_by_side(before: Comparison, after: Comparison, dataset: str) -> pd.DataFrame:
    """One row per variant, as text: test perplexity and change, nothing retuned and each retuned."""
    rows = before.rows(dataset)
    found = {"variant": rows["label"].tolist()}
    for name, data in (("nothing retuned", before), ("each retuned", after)):
        # each table has an order of its own
        brief = brief_rows(data, dataset).set_index(rows_in_order(data, dataset)["variant"]).loc[rows["variant"]]
        (change,) = (column for column in brief.columns if column.startswith("ours"))
        found[f"{name}: perplexity"] = brief["test perplexity"].tolist()
        found[f"{name}: {change.removeprefix('ours, ')}"] = brief[change].tolist()
    return pd.DataFrame(found)
