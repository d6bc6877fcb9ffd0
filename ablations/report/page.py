"""The report as one page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

import re
from typing import Any

import jinja2
import pandas as pd

from ablations.analysis.data import ReportData
from ablations.analysis.frame import comparison_frame, dataset_title
from ablations.report.budget import budget
from ablations.report.captions import (
    beginnings,
    correlation,
    decided,
    failures,
    not_ended,
    paused,
    reading,
    scale,
    setting,
    source,
    stale,
    strengths,
    unfinished,
    without_baseline,
)
from ablations.report.figures.style import FAINT, GREY, INK, OURS, PAPER
from ablations.report.formats import DASH, number
from ablations.report.hypotheses import judged_hypotheses
from ablations.report.tables import statistics_rows, table_rows, training_rows
from ablations.storage.store import DONE
from awd.messages import one_line

TITLES = {
    "differences": "What each part is worth",
    "training": "From when on each part pays",
    "ranks": "The order of the rows",
    "ladder": "How each effect grows with scale",
    "pairs": "Seed by seed",
    "curves": "Validation while training",
}
_SAYS = {
    "differences": "Change in log-perplexity to {baseline}, times 100, by row: our mean with its 95% interval and "
    "every seed, and what was published, if anything. Right of 0 the row is worse.",
    "training": "A panel a row: the change in log-perplexity to {baseline} of the same seed, both at their best so "
    "far, times 100, by tokens trained on. Where the line is above 0, in grey, the row is worse: there, what it lacks "
    "pays. The line is the mean over seeds, thick where its 95% t interval, shaded, leaves out 0.{beginning}",
    "ranks": "Rows from the most harmful loss to the least, ours to the left and the paper's to the right; joined, so "
    "that crossings are disagreements.",
    "ladder": "A panel a row: its change in log-perplexity to {baseline}, times 100, with its 95% interval, at every "
    "profile that has runs, against the share of the paper's training that these take. The diamond at 100% is the "
    "paper's own. A dashed line is an extrapolation over orders of magnitude, and no measurement.",
    "pairs": "A panel a row, a point a seed: validation perplexity of {baseline} to the right, of the row upwards. "
    "Along the grey line both are equal; the dashed one is the mean difference.",
    "curves": "A panel a row: validation perplexity by epoch, seeds thin, their range shaded, their mean thick, the "
    "{baseline} in black.{beginning}",
}
# colours of the figures, as names that the page's style sheet gives other values in the dark
_COLORS = {
    INK: "var(--ink)",
    GREY: "var(--grey)",
    FAINT: "var(--faint)",
    OURS: "var(--ours)",
    PAPER: "var(--paper)",
    "#ffffff": "var(--page)",
}


def page_text(data: ReportData, drawn: dict[str, str], files: list[str], results: str) -> str:
    """The page.

    Args:
        drawn: figures as ``<svg>`` elements, by name.
        files: names of the report's other files, linked to.
        results: path of the results folder, from the page's, linked to.
    """
    frame = comparison_frame(data)
    baseline = one_line(data.suite.variant(data.suite.baseline).label)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ablations.report", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    parts = [_part(data, frame, dataset) for dataset in dict.fromkeys(frame["dataset"])]
    return (
        environment.get_template("page.html.jinja").render(
            title=one_line(data.suite.title),
            profile=data.profile,
            notes=[one_line(note) for note in data.notes],
            parts=parts,
            figures=[
                {
                    "name": name,
                    "title": TITLES[name],
                    "says": _SAYS[name].format(baseline=baseline, beginning=beginnings(data)),
                    "svg": _themed(drawn[name], name, TITLES[name]),
                }
                for name in TITLES
                if name in drawn
            ],
            baseline=baseline,
            problems=[*failures(data), *paused(data), *stale(data)],
            claims_source=one_line(data.hypotheses.source) if data.hypotheses else "",
            published=data.published is not None,
            files=files,
            results=results,
        )
        + "\n"
    )


def _part(data: ReportData, frame: pd.DataFrame, dataset: str) -> dict[str, Any]:
    return {
        "name": dataset,
        "title": dataset_title(dataset),
        "scale": scale(data, dataset),
        "table": _table(table_rows(data, frame, dataset, brief=True)),
        "training": _table(training_rows(frame, dataset)),
        "statistics": _table(statistics_rows(frame, dataset)),
        "seeds": _table(_seeds(data, dataset)),
        "sentences": [
            sentence
            for sentence in (
                unfinished(data, dataset),
                without_baseline(data, frame, dataset),
                _together(not_ended(data, frame, dataset)),
                reading(data, frame, dataset, intervals=True),
                correlation(data, frame, dataset),
                source(data, dataset),
                strengths(data, dataset),
            )
            if sentence
        ],
        "decided": _together(decided(data, frame, dataset)),
        "claims": judged_hypotheses(data, dataset),
        "budget": budget(data, dataset),
        "setting": setting(data, dataset),
    }


def _together(sentence: str) -> str:
    """A sentence in which a dash stays with its label."""
    # a line may break between it and a no-break space, but not at a word joiner
    return sentence.replace("– ", "–\N{WORD JOINER}\N{NO-BREAK SPACE}")


def _table(rows: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(rows.columns), "rows": rows.values.tolist()}


def _seeds(data: ReportData, dataset: str) -> pd.DataFrame:
    """Every perplexity, validation and test, by row and seed; a word where there is none."""
    rows = []
    for name, runs in data.runs[data.runs["dataset"].eq(dataset)].groupby("variant", sort=False):
        row = {"variant": one_line(data.suite.variant(str(name)).label)}
        for run in runs.sort_values("seed").to_dict("records"):
            done = run["status"] == DONE
            pair = f"{number(run['valid_ppl'])} / {number(run['test_ppl'])}"
            row[f"seed {run['seed']}"] = pair if done else DASH if pd.isna(run["status"]) else str(run["status"])
        rows.append(row)
    return pd.DataFrame(rows).fillna(DASH)


def _themed(svg: str, name: str, title: str) -> str:
    """An ``<svg>`` for inside a page: as wide as its place, in the page's colours, its names unlike any other's."""
    head, rest = svg.split(">", 1)
    view = re.search(r'viewBox="[^"]+"', head)
    assert view is not None
    for color, variable in _COLORS.items():
        rest = re.sub(re.escape(color), variable, rest, flags=re.IGNORECASE)
    rest = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", rest)
    rest = re.sub(r"<metadata>.*?</metadata>", "", rest, flags=re.DOTALL)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} {view[0]} role="img" aria-label="{title}">{rest}'
