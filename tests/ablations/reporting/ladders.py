"""Rungs that nobody trained: profiles of several sizes, with the differences and tokens that a test asks for."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ablations.analysis.ladder import Ladder, collect_ladder
from ablations.experiment.paper import paper_tokens
from ablations.experiment.plan import Corpus, RunSpec, make_plan
from ablations.experiment.profile import Profile
from ablations.experiment.suite import load_published, load_suite
from ablations.storage.status import Status
from ablations.storage.store import RUN_SCHEMA, Store
from awd.corpus import corpus_identity

Effect = Callable[[RunSpec], float | None]  # a change in log-perplexity; None is a run that is missing

SUITE = load_suite("table5")
PUBLISHED = load_published(SUITE, "table5")
PAPERS = ["ptb", "wikitext-2"]


def rung(name: str, datasets: Sequence[str] = ("ptb",), seeds: int = 3) -> Profile:
    # a size of its own, so that no two rungs are the same run
    size = 4 + sum(map(ord, name)) % 900
    return Profile(name, name, "reduced", tuple(datasets), tuple(range(1, seeds + 1)), {"model": {"hidden_size": size}})


def record(
    root: Path,
    profile: Profile,
    share: float,
    effect: Effect,
    datasets: Sequence[str] | None = None,
    status: str = Status.DONE,
) -> None:
    """A run for every entry of the plan, whose full model sees a share of the paper's tokens on Penn Treebank, in two
    phases."""
    corpora = [Corpus(name, name, corpus_identity(name)) for name in datasets or profile.datasets]
    papers = paper_tokens("ptb")
    assert papers is not None
    for spec in make_plan(SUITE, profile, corpora):
        change = effect(spec)
        if change is not None:
            row: dict[str, Any] = {name: getattr(spec, name) for name in RUN_SCHEMA.names if hasattr(spec, name)}
            ppl = 100 * math.exp(0.01 * spec.seed + change)
            row |= {"config": spec.config_json, "status": status, "valid_ppl": ppl, "test_ppl": ppl}
            # what a row without something trains on says nothing of the rung
            tokens = round(share * papers / 2) if spec.variant == SUITE.baseline else 7
            epochs = [
                {"run_id": spec.run_id, "phase": phase, "epoch": 1, "tokens": tokens} for phase in ("train", "finetune")
            ]
            Store(root).write(row, epochs)


def growing(by: float, noise: float = 0.01) -> Effect:
    """The paper's differences times a factor, with a spread over seeds; the baseline's is nothing."""

    def effect(spec: RunSpec) -> float:
        assert PUBLISHED is not None
        rows, dataset = PUBLISHED.rows, spec.dataset if spec.dataset in PAPERS else "ptb"
        if spec.variant == SUITE.baseline:
            return 0.0
        papers = math.log(rows[spec.variant][dataset].valid / rows[SUITE.baseline][dataset].valid)
        return by * papers + random.Random(f"{spec.profile} {spec.variant} {spec.seed}").gauss(0, noise)

    return effect


def four_rungs(root: Path) -> list[Profile]:
    """Like those that the package has or will have: effects that grow with scale; the demo is of another text."""
    demo = rung("demo", ["python-docs"])
    small, long, medium = rung("small", PAPERS, 5), rung("long", PAPERS), rung("medium", PAPERS, 2)
    record(root, demo, 0.00044, growing(0.5, 0.03))
    record(root, small, 0.0011, growing(0.1))
    record(root, long, 0.004, growing(0.3))
    record(root, medium, 0.03, growing(0.5, 0.006))
    return [demo, small, long, medium]


def ladder_of(root: Path, profiles: Sequence[Profile], datasets: Sequence[str] = PAPERS, **others: Any) -> Ladder:
    return collect_ladder(SUITE, PUBLISHED, profiles, list(datasets), Store(root), **others)
