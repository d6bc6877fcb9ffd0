"""Differences at several scales as a terminal table, markdown and CSV, and with their figure as files in a folder."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ablations.analysis.comparison import Ladder, dataset_title
from ablations.analysis.statistics import BOOTSTRAP, ROUGH
from ablations.analysis.trend import FEWEST_RUNGS
from ablations.experiment.suite import DEFAULT_SUITE
from ablations.reporting.captions import INTERVAL_TITLES
from ablations.reporting.formats import DASH, bullets, csv, markdown, markdown_table, percent, share_text, with_interval
from ablations.storage.store import explained
from awd.files import whole_file, write_text
from awd.messages import one_line
from awd.paths import file_name

NAME = "ladder"
TITLE = "How each effect grows with scale"
LINE = "line at 100%"
EXTRAPOLATION = (
    f"{LINE}: a straight line through the rungs of the same text, at the paper's own training. It is an extrapolation "
    "over orders of magnitude, and no measurement."
)
_CSV_COLUMNS = [
    *("dataset", "variant", "label", "kind", "profile", "text", "tokens", "share", "pairs"),
    *("difference", "low", "high", "rungs", "slope"),
]
_DIGITS = 10  # of numbers in the CSV
_DECIMALS = 12  # of differences of logarithms, which have lost the digits that both share


def rung_title(rung: dict[Hashable, Any]) -> str:
    """``small 0.11%``, with the text where it is another."""
    text = "" if rung["own_text"] else f" ({rung['title']})"
    return f"{rung['profile']}{text} {share_text(rung['share'])}"


def ladder_rows(ladder: Ladder, dataset: str) -> pd.DataFrame:
    """The cells of one data set's table, as text: one column per rung, then the paper's, then the line's value."""
    rows = ladder.rows[ladder.rows["dataset"].eq(dataset)]
    points = ladder.points[ladder.points["dataset"].eq(dataset)].set_index(["profile", "variant"])
    numbers = points[["difference", "low", "high"]].to_dict("index")
    table = pd.DataFrame({"variant": rows["label"].map(one_line)})
    for rung in ladder.rungs[ladder.rungs["dataset"].eq(dataset)].to_dict("records"):
        found = [numbers.get((rung["profile"], variant)) for variant in rows["variant"]]
        table[rung_title(rung)] = [with_interval(percent, *one.values()) if one else DASH for one in found]
    if rows["published"].notna().any():
        table["paper 100%"] = rows["published"].map(percent)
    lines = rows[["at_full", "at_full_low", "at_full_high"]].itertuples(index=False)
    table[LINE] = [with_interval(percent, *line) for line in lines]
    return table


def reading(ladder: Ladder) -> list[str]:
    """How to read every table."""
    baseline = one_line(ladder.suite.variant(ladder.suite.baseline).label)
    rough = f", rough under {ROUGH} seeds" if ladder.interval == BOOTSTRAP else ""
    told = [
        f"100 × change in validation log-perplexity to {baseline}, about per cent, in brackets its 95% "
        f"{INTERVAL_TITLES[ladder.interval]} interval over seeds{rough}; above 0 the row is worse.",
        f"Per cent in a heading: the share of the paper's training, in tokens. What a run of {baseline} trained on, in "
        "both phases, of what the paper's sees of the same text in its most epochs.",
        EXTRAPOLATION,
    ]
    if ladder.rows["at_full"].isna().any():
        told.append(
            f"A dash there: fewer than {FEWEST_RUNGS} rungs of the same text with two seeds or more, or one in which "
            "every seed gave the same."
        )
    return told


def other_texts(ladder: Ladder, dataset: str) -> list[str]:
    """Which rungs of a data set are of another text."""
    rungs = ladder.rungs[ladder.rungs["dataset"].eq(dataset) & ~ladder.rungs["own_text"].astype(bool)]
    return [
        f"{name} is not on {dataset_title(dataset)}, but on {title}: it is in no line."
        for name, title in zip(rungs["profile"], rungs["title"], strict=True)
    ]


def ladder_markdown(ladder: Ladder) -> str:
    """A table for each data set, then how to read it and what is left out."""
    parts = [f"# {TITLE}", markdown(ladder.suite.title)]
    for dataset in ladder.datasets:
        rows = ladder_rows(ladder, dataset).rename(columns=markdown)
        parts += [f"## {markdown(dataset_title(dataset))}", markdown_table(rows)]
        parts += [bullets(told) for told in [other_texts(ladder, dataset)] if told]
    parts += ["How to read it:", bullets(reading(ladder))]
    if ladder.notes:
        parts += ["Left out:", bullets(ladder.notes)]
    return "\n\n".join(parts) + "\n"


def ladder_csv(ladder: Ladder) -> str:
    """One line per data set, variant and kind of number: ``rung``, ``paper``, ``line``. Differences are in nats.

    Numbers have ten digits, differences twelve decimals at most, so that the same results give the same bytes on
    every processor.
    """
    rows = ladder.rows.assign(place=range(len(ladder.rows)), share=1.0)
    tokens = ladder.rungs[["dataset", "profile", "tokens"]]
    rungs = ladder.points.merge(tokens, on=["dataset", "profile"])
    rungs = rungs.merge(rows[["dataset", "variant", "label", "place"]], on=["dataset", "variant"])
    paper = rows.rename(columns={"published": "difference"}).drop(columns="slope")
    of_line = {"at_full": "difference", "at_full_low": "low", "at_full_high": "high", "line_rungs": "rungs"}
    kinds = {"rung": rungs, "paper": paper, "line": rows.rename(columns=of_line)}
    parts = [part.assign(kind=kind).reindex(columns=[*_CSV_COLUMNS, "place"]) for kind, part in kinds.items()]
    # as one list of rows: pandas looks at no column that is all missing in one part
    records = [row for part in parts for row in part.to_dict("records") if not pd.isna(row["difference"])]
    written = pd.DataFrame(records, columns=[*_CSV_COLUMNS, "place"]).sort_values("place", kind="stable")
    written = written.round(dict.fromkeys(["difference", "low", "high", "slope"], _DECIMALS))
    written = written[_CSV_COLUMNS].astype({"pairs": "Int64", "rungs": "Int64"})
    return csv(written, _DIGITS)


def ladder_terminal(ladder: Ladder, width: int = 80) -> Group:
    """A table for each data set that fits into so many columns, and what must be known to read it."""
    parts: list[Table | Text] = []
    for dataset in ladder.datasets:
        rows = _fitted(ladder_rows(ladder, dataset), width)
        look: dict[str, Any] = {"box": box.SIMPLE_HEAD, "pad_edge": False, "padding": (0, 0), "title_justify": "left"}
        table = Table(title=Text(dataset_title(dataset)), **look)
        for name in rows.columns:
            table.add_column(Text(_stacked(name)), justify="left" if name == "variant" else "right")
        for cells in rows.itertuples(index=False, name=None):
            table.add_row(*(Text(cell, style="dim" if cell == DASH else "") for cell in cells))
        parts += [table, *map(Text, other_texts(ladder, dataset)), Text()]
    return Group(*parts, *map(Text, [*reading(ladder), *ladder.notes]))


def _fitted(rows: pd.DataFrame, width: int) -> pd.DataFrame:
    """Cells on one line, on two or on three: the fewest with which the table is not wider than asked."""
    for cut, line_end in ((" [", "\n["), (", ", ",\n")):
        lines = [[part for cell in [_stacked(name), *rows[name]] for part in cell.split("\n")] for name in rows.columns]
        if sum(max(map(len, column)) + 1 for column in lines) < width:
            break
        rows = rows.assign(**{name: rows[name].str.replace(cut, line_end, regex=False) for name in rows.columns[1:]})
    return rows


def _stacked(heading: str) -> str:
    """A heading with its share, and its text if it has one, on lines of their own."""
    name, _, share = heading.rpartition(" ")
    return "\n".join([*name.replace(" (", "\n(").split("\n"), share]) if name else share


def ladder_folder(ladder: Ladder, reports: Path) -> Path:
    """``reports/ladder``, with the suite's name added where it is not the usual one."""
    return reports / (NAME if ladder.suite.name == DEFAULT_SUITE else f"{NAME}-{file_name(ladder.suite.name)}")


def render_ladder(ladder: Ladder, folder: Path) -> list[Path]:
    """Write ``ladder.png, ladder.pdf, ladder.md, ladder.csv``.

    Raises:
        InputError: the folder cannot be written.
    """
    from ablations.reporting import figures  # matplotlib takes a second to import, and tables do without

    texts = {folder / f"{NAME}.md": ladder_markdown(ladder), folder / f"{NAME}.csv": ladder_csv(ladder)}
    drawings = {folder / f"{NAME}.{suffix}": suffix for suffix in figures.FORMATS}
    figure = figures.finished(figures.draw_ladder, ladder)
    with explained(f"{folder}: the ladder cannot be written there"):
        for path, text in texts.items():
            write_text(path, text)
        for path, suffix in drawings.items():
            with whole_file(path) as temporary:
                figures.save(figure, temporary, suffix)
    return [*texts, *drawings]
