"""A paper's hypotheses beside our verdicts and their evidence, as texts."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from ablations.analysis.comparison import Comparison
from ablations.analysis.statistics import MOST_SEEDS
from ablations.analysis.verdicts import UNDECIDED
from ablations.reporting.captions import SPLIT_TITLES
from ablations.reporting.formats import percent


def judged_hypotheses(data: Comparison, dataset: str) -> list[dict[str, Any]]:
    """What a paper concludes and whether the runs on a data set support it; empty where a suite has no hypotheses.

    Returns:
        For each hypothesis ``says``, ``written`` (its inequality) and ``verdicts``: ``split``, ``verdict`` and
        ``evidence``.
    """
    if data.hypotheses is None or data.verdicts is None:
        return []
    found = data.verdicts[data.verdicts["dataset"].eq(dataset)]
    hypotheses = []
    for hypothesis in data.hypotheses.hypotheses:
        verdicts = found[found["hypothesis"].eq(hypothesis.name)].to_dict("records")
        told = [
            {"split": SPLIT_TITLES[row["split"]], "verdict": row["verdict"], "evidence": _evidence(data, row)}
            for row in verdicts
        ]
        hypotheses.append({"says": hypothesis.says, "written": hypothesis.written(), "verdicts": told})
    return hypotheses


def _evidence(data: Comparison, row: dict[Hashable, Any]) -> str:
    """The weakest of the inequalities with its interval, and what would settle it."""
    label, other = (data.label(row[name]) for name in ("row", "other"))
    against = "" if row["other"] == data.suite.baseline else f" against {other}"
    if pd.isna(row["difference"]):
        return f"{label}{against}: no pair of finished runs"
    interval = "" if pd.isna(row["low"]) else f", 95% t interval [{percent(row['low'])}, {percent(row['high'])}]"
    bound = f", to compare with {percent(row['bound'])}" if row["bound"] else ""
    text = f"{label}{against}: {percent(row['difference'])}{interval}{bound}; n = {row['pairs']}"
    if row["verdict"] != UNDECIDED:
        return text
    if row["pairs"] < 2:
        return f"{text}, which tells nothing of the spread"
    if pd.isna(row["seeds_needed"]):
        return f"{text}; no number of seeds up to {MOST_SEEDS} would settle it, as things stand"
    return f"{text}; about {row['seeds_needed']} seeds would settle it, if mean and spread stay as they are"


def hypothesis_lines(data: Comparison, dataset: str) -> list[str]:
    """The same, one line per hypothesis."""
    lines = []
    for hypothesis in judged_hypotheses(data, dataset):
        verdicts = "; ".join(f"{one['split']} {one['verdict']} ({one['evidence']})" for one in hypothesis["verdicts"])
        lines.append(f"{hypothesis['says']} {hypothesis['written']}: {verdicts}")
    return lines
