"""The comparison as markdown, CSV, LaTeX and a terminal table: the same cells, read from one frame."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
from rich.console import Group
from rich.text import Text

from ablations.analysis.comparison import Comparison
from ablations.analysis.statistics import SPLITS, seeds_needed
from ablations.reporting.budget import budget
from ablations.reporting.captions import caption, failures, paused, short_caption, stale
from ablations.reporting.formats import (
    DASH,
    NOT_ENDED,
    bullets,
    count,
    csv,
    latex,
    markdown,
    markdown_table,
    mean_and_sd,
    number,
    percent,
    with_interval,
)
from ablations.reporting.hypotheses import hypothesis_lines
from ablations.reporting.kinds import more_tables, rows_in_order
from ablations.storage.status import UNFINISHED, Status
from ablations.terminal import Sheet, literal
from awd.messages import one_line

Cell = Callable[[Any], str]

_CSV_DIGITS = 8

_signed = partial(number, signed=True)
_short, _short_signed = partial(number, digits=1), partial(number, digits=1, signed=True)  # as the paper gives them


def brief_rows(data: Comparison, dataset: str) -> pd.DataFrame:
    """What a first look wants, as text: each row's test perplexity, and its change beside the paper's."""
    rows = rows_in_order(data, dataset)
    ours = "ours, % [95%]" if rows["pairs"].max() > 1 else "ours, %"
    columns: dict[str, Cell] = {"variant": _label, "test perplexity": _perplexity("test"), ours: _interval("test")}
    if rows["published_test"].notna().any():
        columns["paper, %"] = _one("published_test_log_difference", percent)
    return _cells(rows, columns)


def table_rows(data: Comparison, dataset: str, *, intervals: bool = True) -> pd.DataFrame:
    """The cells of one data set's table, as text; columns that would be empty are left out.

    A variant without a finished run keeps its row: its cells say ``diverged`` or ``failed``, or hold a dash. A dagger
    beside a label says that training had not ended in one of its runs or more.

    Args:
        data: the report's.
        dataset: whose rows.
        intervals: give the 95% interval beside each change in log-perplexity.
    """
    rows = rows_in_order(data, dataset)
    columns: dict[str, Cell] = {"variant": _label, "n": _finished}
    for split in SPLITS:
        columns[split] = _perplexity(split)
    for split in SPLITS:
        columns[f"Δ {split}"] = _one(f"{split}_difference", _signed)
    for split in SPLITS:
        columns[f"100 Δ log {split}"] = _interval(split) if intervals else _one(f"{split}_log_difference", percent)
    if intervals and rows["pairs"].max() > 1:
        columns["seeds worse, valid"] = _worse("valid")
    columns |= _published_columns(rows, data.comparable(dataset))
    if rows["reference_valid"].notna().any():
        columns["reference valid / test"] = _both("reference_{}", number)
    columns["parameters"] = _one("parameters", count)
    return _cells(rows, columns)


def statistics_rows(data: Comparison, dataset: str) -> pd.DataFrame:
    """How sure the differences of one data set are, as text: one row per variant but the baseline."""
    rows = data.rows(dataset)
    columns: dict[str, Cell] = {
        "variant": lambda row: one_line(row.label),
        "pairs": _one("pairs", lambda n: f"{n:.0f}"),
    }
    for split in SPLITS:
        columns[f"seeds worse, {split}"] = _worse(split)
        columns[f"sd, {split}"] = _one(f"{split}_log_sd", lambda sd: number(100 * sd, 1))
        columns[f"pairing, {split}"] = _one(f"{split}_pairing", number)
        columns[f"p, {split}"] = _one(f"{split}_p_holm", lambda p: DASH if pd.isna(p) else f"{p:.2g}")
        columns[f"seeds needed, {split}"] = _needed(split)
    return _cells(rows[rows["pairs"].gt(0)], columns)


def training_rows(data: Comparison, dataset: str) -> pd.DataFrame:
    """Whether training had ended, as text: one row per variant of which a finished run has epochs."""
    rows = data.rows(dataset)
    columns: dict[str, Cell] = {
        "variant": _label,
        "epochs": _one("epochs_trained", lambda epochs: number(epochs, 1)),
        "best epoch": _one("best_epoch", lambda epoch: number(epoch, 1)),
        "100 Δ log in the last tenth": _one("last_tenth", number),
        "runs not ended": lambda row: f"{row.not_ended}/{row.with_epochs}",
    }
    return _cells(rows[rows["with_epochs"].gt(0)], columns)


def markdown_page(data: Comparison) -> str:
    """For each data set a table of few columns, one of all, and its caption; then what is not in them."""
    parts = [f"# {markdown(data.suite.title)}"]
    for dataset in data.datasets:
        most_important, *sentences = caption(data, dataset)
        parts += [f"## {markdown(data.title(dataset))}", markdown(most_important)]
        parts += [markdown_table(brief_rows(data, dataset)), "Every column:"]
        parts += [markdown_table(table_rows(data, dataset)), bullets(sentences)]
        for heading, rows in more_tables(data, dataset).items():
            parts += [f"{markdown(heading)}:", markdown_table(rows)]
        hypotheses, took = hypothesis_lines(data, dataset), budget(data, dataset)
        if hypotheses:
            whose = "What the paper concludes" if data.published else "What is claimed"
            parts += [f"{whose}, at this scale:", bullets(hypotheses)]
        if took:
            parts += ["What it took:", bullets(f"{name}: {text}" for name, text in took)]
    if failures(data):
        parts += ["Runs that ended without a result:", bullets(failures(data))]
    if paused(data):
        parts += ["Runs that are not finished, and in no mean:", bullets(paused(data))]
    if stale(data):
        heading, *lines = stale(data)
        parts += [markdown(heading), bullets(lines)]
    return "\n\n".join(parts) + "\n"


def csv_text(data: Comparison) -> str:
    """The whole frame, one line per data set and variant; differences of logs are in nats."""
    names = pd.DataFrame({"suite": data.suite.name, "profile": data.profile.name}, index=data.frame.index)
    return csv(pd.concat([names, data.frame], axis="columns"), _CSV_DIGITS)


def latex_text(data: Comparison) -> str:
    """A booktabs table with its caption for each data set."""
    parts = ["% needs \\usepackage{booktabs}"]
    for dataset in data.datasets:
        rows = table_rows(data, dataset, intervals=False)
        sentences = [f"{data.suite.title}: {data.title(dataset)}.", *caption(data, dataset, intervals=False)]
        styler = rows.style.format(latex).format_index(latex, axis="columns").hide(axis="index")
        # pandas writes a selector it does not know as a command: eleven columns need a small font
        styler = styler.set_table_styles([{"selector": "footnotesize", "props": ":;"}])
        parts.append(
            styler.to_latex(
                hrules=True,
                column_format="l" + "r" * (rows.shape[1] - 1),
                environment="table*",
                position="t",
                position_float="centering",
                caption=" ".join(latex(sentence) for sentence in sentences),
                label="tab:" + re.sub(r"[^A-Za-z0-9]+", "-", f"{data.suite.name}-{dataset}"),
            )
        )
    text = "\n".join(parts)
    return text if text.isascii() else f"% needs lualatex or xelatex, and a font that has every letter\n{text}"


def terminal_table(data: Comparison) -> Group:
    """A table and its short caption for each data set, narrow enough for a terminal."""
    parts: list[Sheet | Text] = []
    for dataset in data.datasets:
        parts.append(_terminal_table(data, rows_in_order(data, dataset), dataset))
        parts += [Text(sentence) for sentence in short_caption(data, dataset)] + [Text()]
    return Group(*parts, *map(Text, stale(data)[:1]))


def _terminal_table(data: Comparison, rows: pd.DataFrame, dataset: str) -> Sheet:
    columns: dict[str, Cell] = {
        "variant": _label,
        "runs": lambda row: f"{row.n}/{row.planned}",
    }
    columns |= {split: _perplexity(split) for split in SPLITS}
    columns["100 Δ log\nvalid"] = _one("valid_log_difference", percent)
    if rows["published_valid"].notna().any():
        columns["paper's"] = _one("published_valid_log_difference", percent)
    if data.comparable(dataset):
        columns["valid −\npaper's"] = _one("valid_minus_published", _signed)
    if rows["reference_valid"].notna().any():
        columns["reference\nvalid"] = _one("reference_valid", number)
    columns["params"] = _one("parameters", count)
    names = list(columns)
    sheet = Sheet(data.title(dataset), names, text=names[:1], numbers=names[1:])
    for row in _cells(rows, columns).itertuples(index=False):
        cells = [cell.replace(" ± ", "±") for cell in row]  # eighty columns are all there is
        sheet.add(*(literal(cell, "dim" if cell == DASH else "") for cell in cells))
    return sheet


def _cells(rows: pd.DataFrame, columns: dict[str, Cell]) -> pd.DataFrame:
    cells = [[text(row) for text in columns.values()] for row in rows.itertuples()]
    return pd.DataFrame(cells, columns=list(columns), dtype=str)


def _published_columns(rows: pd.DataFrame, absolute: bool) -> dict[str, Cell]:
    if rows["published_valid"].isna().all():
        return {}
    columns = {"paper valid / test": _both("published_{}", _short)}
    if absolute:
        columns["paper Δ"] = _both("published_{}_difference", _short_signed)
    columns["paper 100 Δ log"] = _both("published_{}_log_difference", percent)
    if absolute:
        columns["ours − paper"] = _both("{}_minus_published", _signed)
    return columns


def _label(row: Any) -> str:
    unended = not pd.isna(row.not_ended) and row.not_ended > 0
    return one_line(row.label) + (f" {NOT_ENDED}" if unended else "")


def _finished(row: Any) -> str:
    others = [f"{getattr(row, name)} {name}" for name in UNFINISHED if getattr(row, name)]
    return f"{row.n} ({', '.join(others)})" if others else str(row.n)


def _perplexity(split: str) -> Cell:
    def text(row: Any) -> str:
        if row.n == 0 and (row.diverged or row.failed):
            return Status.DIVERGED if row.diverged else Status.FAILED
        return mean_and_sd(getattr(row, f"{split}_mean"), getattr(row, f"{split}_sd"))

    return text


def _interval(split: str) -> Cell:
    def text(row: Any) -> str:
        return with_interval(percent, *(getattr(row, f"{split}_log_{part}") for part in ("difference", "low", "high")))

    return text


def _worse(split: str) -> Cell:
    def text(row: Any) -> str:
        worse, equal = getattr(row, f"{split}_worse"), getattr(row, f"{split}_equal")
        if pd.isna(worse):
            return DASH
        ties = f" ({round(equal * row.pairs)} equal)" if equal else ""
        return f"{round(worse * row.pairs)}/{row.pairs}{ties}"

    return text


def _needed(split: str) -> Cell:
    def text(row: Any) -> str:
        needed = seeds_needed(getattr(row, f"{split}_log_difference"), getattr(row, f"{split}_log_sd"))
        return DASH if needed is None else str(needed)

    return text


def _one(column: str, write: Callable[[float], str]) -> Cell:
    return lambda row: write(getattr(row, column))


def _both(column: str, write: Callable[[float], str]) -> Cell:
    def text(row: Any) -> str:
        pair = [write(getattr(row, column.format(split))) for split in SPLITS]
        return DASH if pair == [DASH, DASH] else " / ".join(pair)

    return text
