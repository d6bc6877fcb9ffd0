"""What the command line prints besides reports: choices, plans, status, corpora."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from ablations.execution.sizes import sizes
from ablations.experiment.profile import load_profile
from ablations.experiment.selection import Selection
from ablations.experiment.suite import load_suite, named_files
from ablations.storage.store import Store
from ablations.tuning.search import load_search
from awd.corpus import DATASETS
from awd.corpus.text import SPLITS, Text, encode
from awd.device import resolve_device

MISSING = "missing"


def print_plan(
    selection: Selection,
    store: Store,
    console: Console,
    *,
    force: bool,
    retry_failed: bool,
    jobs: int | None = None,
    messages: Console | None = None,
) -> None:
    """The runs of a plan with their sizes, what of it would be trained, and the hours it would take on this machine.

    Args:
        jobs: runs at a time; ``None`` is one for each core this process may use, or one on a GPU.
        messages: where to show that steps are being timed; standard error by default.

    Raises:
        CorpusError: a corpus that must be looked at is not at hand, or too short for a batch.
        InputError: a run does not fit into memory.
    """
    from ablations.execution.estimate import estimate
    from ablations.execution.job import RunOptions
    from ablations.execution.runner import remaining

    plan = selection.plan(selection.corpora())
    statuses, taken = store.statuses(), sizes(plan, selection)
    device = resolve_device(selection.device)
    left = remaining(plan, store, force=force, retry_failed=retry_failed)
    estimates = estimate(left, taken, device, messages or Console(stderr=True))
    table = _table(_title(selection), "data set", "variant", "seed")
    for heading in ("parameters", "tokens\nan epoch", "epochs,\nat most", "tokens,\nat most", "hours,\nat most"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("status")
    for spec in plan:
        size, expected = taken[spec.run_id], estimates.get(spec.run_id)
        numbers = (size.parameters, size.tokens, size.most_epochs, size.tokens * size.most_epochs)
        hours = "-" if expected is None else _hours(expected.seconds)
        status = statuses.get(spec.run_id, MISSING)
        table.add_row(spec.dataset, spec.variant, str(spec.seed), *(f"{n:,}" for n in numbers), hours, status)
    console.print(table)
    tokens = sum(taken[spec.run_id].tokens * taken[spec.run_id].most_epochs for spec in left)
    seconds = [expected.seconds for expected in estimates.values()]
    needed = f"at most {tokens:,} tokens{_needed_hours(seconds, jobs or RunOptions(None, device).at_once)}"
    line = f"{len(plan)} runs, {len(left)} to train: {needed}. Dry run: nothing was written."
    console.print(line, soft_wrap=True)


def _needed_hours(seconds: Sequence[float], jobs: int) -> str:
    if not seconds:
        return ""
    # however many at a time, the longest has its own time
    together = "" if jobs == 1 else f", {_hours(max(sum(seconds) / jobs, *seconds))} with {jobs} at a time"
    why = "at most: fine-tuning usually stops earlier; from timed steps on this machine"
    return f", about {_hours(sum(seconds))} hours one after another{together} ({why})"


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    if hours >= 10:
        return f"{hours:,.0f}"
    return f"{hours:.2g}" if hours >= 0.001 else "<0.001"


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _title(selection: Selection) -> str:
    settings = "".join(f" --set {assignment}" for assignment in selection.assignments)
    return f"suite {selection.suite.name}, profile {selection.profile.name}{settings}"


def print_choices(console: Console) -> None:
    """Suites with their variants, profiles, searches, data sets."""
    for name in named_files("suites"):
        suite = load_suite(name)
        table = _table(f"suite {name}: {suite.title}", "variant", "label in the paper", "what it overrides")
        for variant in suite.variants:
            table.add_row(variant.name, variant.label, "; ".join(_flat(variant.overrides)) or "nothing")
        console.print(table)
    table = _table("profiles", "profile", "scale", "what it is", "data sets", "seeds")
    for name in named_files("profiles"):
        profile = load_profile(name)
        seeds = ",".join(map(str, profile.seeds))
        table.add_row(name, profile.scale, profile.title, ", ".join(profile.datasets), seeds)
    console.print(table)
    table = _table("searches (see `tune`)", "search", "what it chooses", "trials")
    for name in named_files("searches"):
        search = load_search(name)
        table.add_row(name, search.title, str(search.trials))
    console.print(table)
    table = _table("data sets; or the path of a folder", "data set", "what it is", "training tokens", "licence")
    for name, dataset in DATASETS.items():
        tokens = f"{dataset.tokens['train']:,}" if dataset.tokens else "about 100,000"
        table.add_row(name, dataset.title, tokens, dataset.licence)
    console.print(table)


def _flat(overrides: dict[str, object], prefix: str = "") -> list[str]:
    lines: list[str] = []
    for key, value in overrides.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{key}.")
        else:
            lines.append(f"{prefix}{key}={'null' if value is None else str(value).lower()}")
    return lines


def print_corpus(text: Text, console: Console) -> None:
    """Token counts, vocabulary and digest of a corpus."""
    vocabulary = len(encode(text).words)
    counts = ", ".join(f"{split} {len(getattr(text, split)):,}" for split in SPLITS)
    console.print(f"{text.name}: {counts} tokens; vocabulary {vocabulary:,}; sha256 {text.sha256}", soft_wrap=True)
