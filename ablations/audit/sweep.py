"""Audits of many configurations: for the `audit` command, and before a sweep trains."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from ablations.audit.audit import SKIPPED, AuditOutcome, audit
from ablations.experiment.plan import RunSpec
from ablations.terminal import bars, say
from awd.corpus import load_corpus
from awd.corpus.text import Text, encode
from awd.engine import make_engine

__all__ = ["SKIPPED", "Key", "audit_before_training", "audit_specs", "key"]

Key = tuple[str, str, str, str]


def key(spec: RunSpec) -> Key:
    """What an audit depends on: corpus, configuration and what computes it; seeds and names share one."""
    return spec.corpus_sha256, spec.config_json, spec.engine, spec.precision


def audit_specs(specs: Iterable[RunSpec], data_dir: Path | None, console: Console) -> dict[Key, AuditOutcome]:
    """Audit each distinct configuration once, with a bar if the console is a terminal."""
    distinct = {key(spec): spec for spec in specs}
    texts: dict[str, Text] = {}
    outcomes: dict[Key, AuditOutcome] = {}
    with bars(console, transient=True) as bar:
        task = bar.add_task("audit", total=len(distinct))
        for name, spec in distinct.items():
            outcomes[name] = _audited(spec, data_dir, texts)
            bar.advance(task)
    return outcomes


def _audited(spec: RunSpec, data_dir: Path | None, texts: dict[str, Text]) -> AuditOutcome:
    try:
        if spec.source not in texts:
            texts[spec.source] = load_corpus(spec.source, data_dir=data_dir, download=False)
        corpus = encode(texts[spec.source], spec.config.corpus)
    except Exception as error:  # what is wrong with a corpus fails its runs, not the sweep
        return AuditOutcome(error=str(error))
    return audit(spec.config, corpus, make_engine(spec.engine, spec.precision, "cpu"))


def audit_before_training(specs: Sequence[RunSpec], data_dir: Path | None, console: Console) -> dict[Key, AuditOutcome]:
    """Audit what is left to train and say in a line how it went, with one more for each contradiction."""
    if not specs:
        return {}
    started = time.perf_counter()
    outcomes = audit_specs(specs, data_dir, console)
    failed = {name: outcome for name, outcome in outcomes.items() if not outcome.ok}
    for spec in {key(spec): spec for spec in specs if key(spec) in failed}.values():
        for line in failed[key(spec)].contradictions:
            say(console, f"audit: {spec.dataset} {spec.variant}: {line}")
    verdict = f"{len(failed)} not trained" if failed else "every mechanism acts as configured"
    count = f"{len(outcomes)} configuration{'s' if len(outcomes) != 1 else ''}"
    say(console, f"audit: {count}, {verdict} ({time.perf_counter() - started:.0f} s)")
    return outcomes
