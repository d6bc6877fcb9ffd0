"""A paper's claims beside our verdicts and their evidence, as texts."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import pandas as pd

from ablations.analysis.comparison import Comparison
from ablations.analysis.statistics import MOST_SEEDS
from ablations.analysis.verdicts import UNDECIDED
from ablations.report.captions import SPLIT_TITLES
from ablations.report.formats import percent


def judged_claims(data: Comparison, dataset: str) -> list[dict[str, Any]]:
    """What a paper concludes and whether the runs on a data set support it; empty where a suite has no claims.

    Returns:
        For each claim ``says``, ``written`` (its inequality) and ``verdicts``: ``split``, ``verdict`` and ``evidence``.
    """
    if data.claims is None or data.verdicts is None:
        return []
    found = data.verdicts[data.verdicts["dataset"].eq(dataset)]
    claims = []
    for claim in data.claims.claims:
        verdicts = found[found["claim"].eq(claim.name)].to_dict("records")
        told = [
            {"split": SPLIT_TITLES[row["split"]], "verdict": row["verdict"], "evidence": _evidence(data, row)}
            for row in verdicts
        ]
        claims.append({"says": claim.says, "written": claim.written(), "verdicts": told})
    return claims


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


def claim_lines(data: Comparison, dataset: str) -> list[str]:
    """The same, one line per claim."""
    lines = []
    for claim in judged_claims(data, dataset):
        verdicts = "; ".join(f"{one['split']} {one['verdict']} ({one['evidence']})" for one in claim["verdicts"])
        lines.append(f"{claim['says']} {claim['written']}: {verdicts}")
    return lines
