"""What the command line prints besides reports: choices, plans, status, corpora."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ablations.execution.sizes import sizes
from ablations.experiment.profile import load_profile
from ablations.experiment.selection import Selection
from ablations.experiment.suite import load_suite, named_files
from ablations.reporting.formats import plural
from ablations.storage.status import Status
from ablations.storage.store import Store
from ablations.terminal import Sheet, say
from ablations.tuning.search import load_search
from awd.corpus import DATASETS
from awd.corpus.text import Text
from awd.corpus.usage import Usage, describe_unknown

if TYPE_CHECKING:
    from ablations.analysis.comparison import Comparison
    from ablations.execution.estimate import Estimate
    from ablations.execution.job import RunOptions


def print_plan(selection: Selection, store: Store, options: RunOptions, console: Console, messages: Console) -> None:
    """The runs of a plan with their sizes, what of it would be trained, and the hours it would take on this machine.

    Args:
        messages: where to show that steps are being timed.

    Raises:
        CorpusError: a corpus that must be looked at is not at hand, or too short for a batch.
        InputError: a run does not fit into memory.
    """
    from ablations.execution.estimate import estimate
    from ablations.execution.runner import remaining

    plan = selection.plan(selection.corpora())
    statuses, taken = store.statuses(), sizes(plan, selection)
    left = remaining(plan, store, force=options.force, retry_failed=options.retry_failed)
    estimates = estimate(left, taken, options.device, messages)
    for dataset, specs in itertools.groupby(plan, key=lambda spec: spec.dataset):
        numbers = ["seed", "parameters", "tokens\nper epoch", "epochs,\nat most", "hours,\nat most"]
        sheet = Sheet(f"{title(selection)}, {dataset}", ["variant", *numbers, "status"], numbers=numbers)
        for spec in specs:
            size, expected = taken[spec.run_id], estimates.get(spec.run_id)
            counts = (f"{count:,}" for count in (size.parameters, size.tokens, size.most_epochs))
            hours = "-" if expected is None else _hours(expected.seconds)
            sheet.add(spec.variant, str(spec.seed), *counts, hours, statuses.get(spec.run_id, Status.MISSING))
        console.print(sheet)
    for line in dict.fromkeys(line for spec in plan for line in _in_words(taken[spec.run_id].usage)):
        say(console, line)
    tokens = sum(taken[spec.run_id].tokens * taken[spec.run_id].most_epochs for spec in left)
    takes = f"at most {tokens:,} tokens{_needed_hours(estimates, options.at_once)}"
    line = f"{plural(len(plan), 'run')}, {len(left)} to train: {takes}. Dry run: nothing was written."
    say(console, line)


def _needed_hours(estimates: Mapping[str, Estimate], jobs: int) -> str:
    from ablations.execution.estimate import needed

    if not estimates:
        return ""
    together = "" if jobs == 1 else f", {_hours(needed(estimates, jobs))} with {jobs} at a time"
    why = "at most: fine-tuning usually stops earlier; from timed steps on this machine"
    return f", about {_hours(needed(estimates, 1))} hours one after another{together} ({why})"


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    if hours >= 10:
        return f"{hours:,.0f}"
    return f"{hours:.2g}" if hours >= 0.001 else "<0.001"


def title(selection: Selection) -> str:
    """What stands above the runs of a selection."""
    settings = "".join(f" --set {assignment}" for assignment in selection.assignments)
    return f"suite {selection.suite.name}, profile {selection.profile.name}{settings}"


def print_choices(console: Console) -> None:
    """Suites with their variants, profiles, searches, data sets."""
    for name in named_files("suites"):
        suite = load_suite(name)
        headings = ["variant", "label, and what it overrides"]
        sheet = Sheet(f"suite {name} ({suite.kind}): {suite.title}", headings, text=headings[1:])
        for variant in suite.variants:
            sheet.add(variant.name, "\n".join([variant.label, *_flat(variant.overrides)]))
        console.print(sheet)
    sheet = _choices("profiles", "profile", "scale", "what it is", "data sets", "seeds")
    for name in named_files("profiles"):
        profile = load_profile(name)
        sheet.add(name, profile.scale, profile.title, ", ".join(profile.datasets), ", ".join(map(str, profile.seeds)))
    console.print(sheet)
    sheet = _choices("searches (see `tune`)", "search", "what it chooses", "trials")
    for name in named_files("searches"):
        search = load_search(name)
        sheet.add(name, search.title, str(search.trials))
    console.print(sheet)
    sheet = _choices("data sets; or the path of a folder", "data set", "what it is", "training tokens", "licence")
    for name, dataset in DATASETS.items():
        tokens = f"{dataset.tokens['train']:,}" if dataset.tokens else "about 100,000"
        sheet.add(name, dataset.title, tokens, dataset.licence)
    console.print(sheet)


def choices() -> dict[str, Any]:
    """The same, for programs."""
    suites = {name: load_suite(name) for name in named_files("suites")}
    profiles = {name: load_profile(name) for name in named_files("profiles")}
    searches = {name: load_search(name) for name in named_files("searches")}
    return {
        "suites": {
            name: {"title": one.title, "kind": one.kind, "variants": list(map(asdict, one.variants))}
            for name, one in suites.items()
        },
        "profiles": {name: _picked(one, "title", "scale", "datasets", "seeds") for name, one in profiles.items()},
        "searches": {name: _picked(one, "title", "trials") for name, one in searches.items()},
        "datasets": {name: _picked(one, "title", "tokens", "licence") for name, one in DATASETS.items()},
    }


def _picked(thing: object, *names: str) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names}


def comparison(data: Comparison) -> list[dict[str, Any]]:
    """Every number of a comparison: one object per data set and variant, ``null`` where there is none.

    Raises:
        InputError: no run is finished.
    """
    from ablations.analysis.comparison import require_finished

    require_finished(data)
    rows: list[dict[str, Any]] = json.loads(data.frame.to_json(orient="records", double_precision=15))
    return rows


def _choices(title: str, *headings: str) -> Sheet:
    return Sheet(title, headings, text=headings[1:])


def _flat(overrides: dict[str, object], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in overrides.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key}={'null' if value is None else str(value).lower()}")
    return lines


def print_corpus(text: Text, usages: Sequence[Usage], console: Console) -> None:
    """Token counts, vocabulary, share of ``<unk>`` and digest of a corpus, once for each way in which it is used."""
    for usage in usages:
        first, *warnings = _in_words(usage)
        for line in (f"{first}; sha256 {text.sha256}", *warnings):
            say(console, line)


def _in_words(usage: Usage) -> list[str]:
    counts = ", ".join(f"{split} {count:,}" for split, count in usage.tokens.items())
    line = f"{usage.name}: {counts} tokens; vocabulary {usage.vocabulary:,}; {describe_unknown(usage.unknown)}"
    return [line, *(f"warning: {warning}" for warning in usage.warnings)]
