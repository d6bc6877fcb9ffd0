"""Numbers as text, and text made safe for markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pandas as pd

from awd.messages import number_text, one_line

DASH = "–"
NOT_ENDED = "†"  # beside the label of a row whose training had not ended

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "–": "--",
        "−": "$-$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "Δ": r"$\Delta$",
        "ρ": r"$\rho$",
        "τ": r"$\tau$",
        "†": r"$\dagger$",
        "`": r"\textasciigrave{}",
        "\0": "{}",
    }
)


_MARKDOWN = re.compile(
    r"""(
    [\\|`*<~$]                                      # code, emphasis, tags, lines struck out, mathematics
    | (?<![^\W_]) _ | _ (?![^\W_])                   # emphasis; not inside my_model
    | & (?=\#?\w+;) | : (?=[\w+-]+:)                 # letters and pictures by name
    | \[ (?=[^\]]*\][(:\[])                          # links
    | ^ (?: [>\[] | \#(?=\#*(?:\s|$)) | [-+](?=\s|-|$) )  # quotations, tasks, headings, lists, lines
    )""",
    re.VERBOSE,
)


def number(value: float, digits: int = 2, *, signed: bool = False) -> str:
    """A number with a real minus sign; a dash where there is none."""
    if pd.isna(value):
        return DASH
    sign = "+" if signed else "-"
    return number_text(value, digits, sign).replace("-", "−")


def mean_and_sd(mean: float, sd: float) -> str:
    """``60.12 ± 0.31``, without the spread where there is only one."""
    return number(mean) if pd.isna(sd) else f"{number(mean)} ± {number(sd)}"


def with_interval(write: Callable[[float], str], value: float, low: float, high: float) -> str:
    """``0.82 [0.71, 0.93]``, without brackets where there is no interval."""
    return write(value) if pd.isna(low) else f"{write(value)} [{write(low)}, {write(high)}]"


def percent(difference: float, digits: int = 1) -> str:
    """A change in log-perplexity times 100, which is about a percentage."""
    return number(100 * difference, digits, signed=True)


def count(value: float) -> str:
    """``24.2 M``, ``351 k``, ``6.2 k``, ``812``."""
    if pd.isna(value):
        return DASH
    if value >= 999_500:
        return f"{value / 1e6:.1f} M"
    if value >= 1000:
        return f"{value / 1e3:.{0 if value >= 9950 else 1}f} k"
    return f"{value:.0f}"


def markdown(text: str) -> str:
    """Text in which nothing is read as markdown, whether it begins a line or stands in a cell."""
    return re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", _MARKDOWN.sub(r"\\\1", one_line(text)))


def latex(text: object) -> str:
    """Text in which nothing is read as LaTeX, with its dashes, signs and quotes in LaTeX's own writing."""
    # two dashes or quotes in a row would become one sign
    escaped = re.sub(r"([-'])(?=\1)", "\\1\0", one_line(str(text))).translate(_LATEX)
    if escaped.startswith(("[", "*")):
        escaped = f"{{{escaped[0]}}}{escaped[1:]}"  # after a line's end they are read as part of it
    return re.sub(r'"([^"]*)"', r"``\1''", escaped)


def bullets(lines: Iterable[str]) -> str:
    """A markdown list of plain sentences."""
    return "\n".join(f"- {markdown(line)}" for line in lines)


def markdown_table(rows: pd.DataFrame) -> str:
    """Cells of plain text as a markdown table, all columns but the first to the right."""
    align = ["left", *["right"] * (rows.shape[1] - 1)]
    return rows.map(markdown).to_markdown(index=False, disable_numparse=True, colalign=align)


def csv(frame: pd.DataFrame, digits: int) -> str:
    """Comma-separated values with so many digits of each number: the last of sixteen depend on the processor, which may
    add in another order, and the same results are to give the same bytes on any."""
    return frame.to_csv(index=False, lineterminator="\n", float_format=f"%.{digits}g")


def names(column: pd.Series[str]) -> str:
    """Every text of a column once, in order."""
    return ", ".join(sorted(set(column.dropna()))) or "unknown"


def plural(amount: int, noun: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{amount} {noun}" + ("" if amount == 1 else "s")


def share_text(share: float) -> str:
    """``0.044%``, ``100%``: two digits that count."""
    return f"{float(f'{100 * share:.2g}'):.10f}".rstrip("0").rstrip(".") + "%"
