"""The report as one page that needs nothing else: no network, no script, no other file."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd

from ablations.analysis.comparison import Comparison
from ablations.reporting.budget import budget
from ablations.reporting.captions import (
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
    unknown,
    without_baseline,
)
from ablations.reporting.figures.style import drawable
from ablations.reporting.formats import DASH, NOT_ENDED, number, plural
from ablations.reporting.hypotheses import judged_hypotheses
from ablations.reporting.kinds import more_tables
from ablations.reporting.ladder import TITLE as LADDER_TITLE
from ablations.reporting.tables import brief_rows, statistics_rows, table_rows, training_rows
from ablations.storage.status import Status
from awd.messages import one_line

TITLES = {
    "differences": "What each part is worth",
    "staircase": "What each part adds",
    "interactions": "What two parts have in common",
    "responses": "How much is right",
    "training": "When each part starts to help",
    "ranks": "The order of the rows",
    "ladder": LADDER_TITLE,
    "pairs": "Every seed",
    "curves": "Validation during training",
}
_LEADING = ("differences", "staircase", "interactions", "responses")  # beside what is decided
_SAYS = {
    "staircase": "From {baseline} downwards, one part added per step: the change in validation log-perplexity compared "
    "with {baseline}, times 100, with its 95% interval. Diamonds: the part alone, all others off. Left of 0 is better.",
    "interactions": "The effect of removing both minus the sum of the effects of removing each, in validation "
    "log-perplexity times 100, paired by seed. Bold and framed: its 95% interval leaves out 0; above 0 the two do some "
    "of the same job, below 0 each is worth more beside the other. Slanted on white: undecided. On the diagonal, the "
    "effect of each removal alone.",
    "responses": "Change in validation log-perplexity, times 100, with its 95% intervals, against a field's value. The "
    "diamond is the profile's own value. Above 0 is worse. Where the panels are of several rows, each is compared with "
    "{baseline} at the same value.",
    "differences": "Change in log-perplexity compared with {baseline}, times 100, one line per row: our mean with its "
    "95% interval, every seed, and the published change, if there is one. Right of 0 the row is worse.",
    "training": "One panel per row: the change in log-perplexity compared with {baseline} of the same seed, both at "
    "their best so far, times 100, by tokens trained on. Where the line is above 0, in the grey part, the row is "
    "worse: there, what it lacks helps. The line is the mean over seeds, thick where its 95% t interval (shaded) "
    "leaves out 0.{beginning}",
    "ranks": "Rows from the largest loss to the smallest, ours on the left and the paper's on the right. Lines that "
    "cross are disagreements.",
    "ladder": "One panel per row: its change in log-perplexity compared with {baseline}, times 100, with its 95% "
    "interval, at every profile that has runs, against the share of the paper's training that these take. The diamond "
    "at 100% is the paper's own. A dashed line is an extrapolation over orders of magnitude, and no measurement.",
    "pairs": "One panel per row, one point per seed: validation perplexity of {baseline} to the right, of the row "
    "upwards. Along the grey line both are equal; the dashed line is the mean difference.",
    "curves": "One panel per row: validation perplexity by epoch; seeds are thin lines, their range is shaded, their "
    "mean is thick; {baseline} is black.{beginning}",
}

_CONTROLS = dict.fromkeys([*range(9), *range(14, 32), 127], "�")  # no page may hold them


def environment() -> jinja2.Environment:
    """Where the templates of pages are; what they are given is text, never markup."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ablations.reporting", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=lambda value: value.translate(_CONTROLS) if isinstance(value, str) else value,
    )


def page_text(data: Comparison, drawn: dict[str, str], files: list[str], results: str) -> str:
    """The page.

    Args:
        drawn: figures as ``<svg>`` elements, by name (:func:`ablations.reporting.figures.as_svg`).
        files: names of the report's other files, linked to.
        results: path of the results folder, from the page's, linked to.
    """
    baseline = data.baseline
    parts = [_part(data, dataset) for dataset in data.datasets]
    return (
        environment()
        .get_template("page.html.jinja")
        .render(
            title=one_line(data.suite.title),
            profile=data.profile,
            sentence=_sentence(data),
            notes=[one_line(note) for note in data.notes],
            parts=parts,
            figures=[
                {
                    "name": name,
                    "leads": name in _LEADING,
                    "title": TITLES[name],
                    "says": _SAYS[name].format(baseline=baseline, beginning=beginnings(data)),
                    "svg": drawn[name],
                }
                for name in TITLES
                if name in drawn
            ],
            baseline=baseline,
            problems=[*failures(data), *paused(data), *stale(data)],
            hypotheses_source=one_line(data.hypotheses.source) if data.hypotheses else "",
            published=data.published is not None,
            # what a link leads to is a place, in which % and # are letters like any other
            files={name: quote(name) for name in files},
            results=quote(results),
            drawable=all(drawable(variant.label) == variant.label for variant in data.suite.variants),
        )
        + "\n"
    )


def _sentence(data: Comparison) -> str:
    """What the page shows, for an index of several."""
    told = []
    for dataset in data.datasets:
        runs = data.runs_on(dataset)
        done = plural(int(runs["status"].eq(Status.DONE).sum()), "run")
        told.append(f"{done} of {plural(runs['variant'].nunique(), 'variant')} on {data.title(dataset)}")
    return f"{', '.join(told)}."


def _part(data: Comparison, dataset: str) -> dict[str, Any]:
    return {
        "title": data.title(dataset),
        "scale": scale(data, dataset),
        "brief": _table(brief_rows(data, dataset)),
        "unended": f"{NOT_ENDED}: training had not ended in a run of it." if not_ended(data, dataset) else "",
        "table": _table(table_rows(data, dataset)),
        "more": {heading: _table(rows) for heading, rows in more_tables(data, dataset).items()},
        "training": _table(training_rows(data, dataset)),
        "statistics": _table(statistics_rows(data, dataset)),
        "seeds": _table(_seeds(data, dataset)),
        "sentences": [
            sentence
            for sentence in (
                unfinished(data, dataset),
                unknown(data, dataset),
                without_baseline(data, dataset),
                _together(not_ended(data, dataset)),
                reading(data, dataset, intervals=True),
                correlation(data, dataset),
                source(data, dataset),
                strengths(data, dataset),
            )
            if sentence
        ],
        "decided": _together(decided(data, dataset)),
        "hypotheses": judged_hypotheses(data, dataset),
        "budget": budget(data, dataset),
        "setting": setting(data, dataset),
    }


def _together(sentence: str) -> str:
    """A sentence in which a dash stays with its label."""
    # a line may break between it and a no-break space, but not at a word joiner
    return sentence.replace("– ", "–\N{WORD JOINER}\N{NO-BREAK SPACE}")


def _table(rows: pd.DataFrame) -> dict[str, Any]:
    return {"columns": list(rows.columns), "rows": rows.values.tolist()}


def _seeds(data: Comparison, dataset: str) -> pd.DataFrame:
    """Every perplexity, validation and test, by row and seed; a word where there is none."""
    rows = []
    for name, runs in data.runs_on(dataset).groupby("variant", sort=False):
        row = {"variant": data.label(str(name))}
        for run in runs.sort_values("seed").to_dict("records"):
            done = run["status"] == Status.DONE
            pair = f"{number(run['valid_ppl'])} / {number(run['test_ppl'])}"
            row[f"seed {run['seed']}"] = pair if done else DASH if pd.isna(run["status"]) else str(run["status"])
        rows.append(row)
    return pd.DataFrame(rows).fillna(DASH)
