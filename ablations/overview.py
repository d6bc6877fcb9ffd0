"""What the command line prints besides reports: choices, plans, status, corpora."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from ablations.plan import RunSpec
from ablations.profile import load_profile
from ablations.report.collect import as_recorded
from ablations.selection import Selection
from ablations.store import DONE, Store
from ablations.suite import load_suite, named_files
from awd.corpus import DATASETS, load_corpus
from awd.corpus.batching import predicted_tokens
from awd.corpus.text import SPLITS, Text, encode

MISSING = "missing"


@dataclass(frozen=True)
class Size:
    """What a run takes: ``parameters``, training ``tokens`` an epoch, and ``most_epochs``."""

    parameters: int
    tokens: int
    most_epochs: int


def sizes(plan: Sequence[RunSpec], selection: Selection) -> dict[str, Size]:
    """Exact sizes of each run, by its id. Published corpora used whole need not be at hand.

    Raises:
        CorpusError: a corpus that must be looked at is not at hand; nothing is downloaded.
    """
    from awd.model import count_parameters

    found: dict[tuple[str, int | None], tuple[int, int]] = {}
    result = {}
    for spec in plan:
        key = (spec.source, spec.config.corpus.train_tokens)
        if key not in found:
            found[key] = _vocabulary_and_tokens(spec, selection)
        vocabulary, tokens = found[key]
        training = spec.config.training
        result[spec.run_id] = Size(
            count_parameters(vocabulary, spec.config.model),
            predicted_tokens(tokens, training.batch_size),
            training.epochs + spec.config.finetuning.epochs,
        )
    return result


def _vocabulary_and_tokens(spec: RunSpec, selection: Selection) -> tuple[int, int]:
    cut = spec.config.corpus.train_tokens
    known = DATASETS.get(spec.source)
    if cut is None and known is not None and known.vocabulary is not None:
        return known.vocabulary, known.tokens["train"]
    encoded = encode(load_corpus(spec.source, data_dir=selection.data_dir, download=False), cut)
    return len(encoded.words), len(encoded.train)


def print_plan(selection: Selection, store: Store, console: Console, *, force: bool, retry_failed: bool) -> None:
    """The runs of a plan with their sizes, and what of it would be trained."""
    from ablations.runner import remaining

    plan = selection.plan(selection.corpora())
    statuses, taken = store.statuses(), sizes(plan, selection)
    table = _table(_title(selection), "data set", "variant", "seed")
    for heading in ("parameters", "tokens\nan epoch", "epochs,\nat most", "tokens,\nat most"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("status")
    for spec in plan:
        size = taken[spec.run_id]
        numbers = (size.parameters, size.tokens, size.most_epochs, size.tokens * size.most_epochs)
        status = statuses.get(spec.run_id, MISSING)
        table.add_row(spec.dataset, spec.variant, str(spec.seed), *(f"{n:,}" for n in numbers), status)
    console.print(table)
    left = {spec.run_id for spec in remaining(plan, store, force=force, retry_failed=retry_failed)}
    tokens = sum(taken[run_id].tokens * taken[run_id].most_epochs for run_id in left)
    console.print(f"{len(plan)} runs, {len(left)} to train: at most {tokens:,} tokens. Dry run: nothing was written.")


def print_status(selection: Selection, store: Store, console: Console) -> bool:
    """Which runs are done, failed or missing; returns whether all are done."""
    stored = store.runs()
    plan = as_recorded(selection, stored).plan(selection.corpora())
    recorded = {str(row["run_id"]): row for row in stored.to_dict("records")}
    table = _table(_title(selection), "run", "data set", "variant", "seed", "status", "valid", "test", "why")
    counts: dict[str, int] = {}
    for spec in plan:
        row = recorded.get(spec.run_id)
        status = MISSING if row is None else str(row["status"])
        counts[status] = counts.get(status, 0) + 1
        numbers, why = ["", ""], ""
        if row is not None and status == DONE:
            numbers = [f"{row[column]:.2f}" for column in ("valid_ppl", "test_ppl")]
        elif row is not None:
            why = str(row["error"]).splitlines()[-1]
        table.add_row(spec.run_id[:8], spec.dataset, spec.variant, str(spec.seed), status, *numbers, why)
    console.print(table)
    console.print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    return counts.keys() <= {DONE}


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _title(selection: Selection) -> str:
    settings = "".join(f" --set {assignment}" for assignment in selection.assignments)
    return f"suite {selection.suite.name}, profile {selection.profile.name}{settings}"


def print_choices(console: Console) -> None:
    """Suites with their variants, profiles, data sets."""
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
