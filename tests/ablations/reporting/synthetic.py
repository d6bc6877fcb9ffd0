"""Results that nobody trained: real shards in a folder, and the report data made from them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ablations.analysis.collect import join_epochs, join_runs
from ablations.analysis.comparison import Comparison
from ablations.experiment.plan import Corpus, RunSpec, make_plan
from ablations.experiment.profile import Profile, load_profile
from ablations.experiment.suite import Suite, Variant, load_published, load_suite
from ablations.storage.status import Status
from ablations.storage.store import RUN_SCHEMA, Store
from awd.corpus import DATASETS, corpus_identity

# changes in log-perplexity x 100, near the paper's but not in its order
EFFECTS = {
    "full": 0.0,
    "no-finetuning": 1.0,
    "no-ntasgd": 6.5,
    "no-variable-length": -0.8,
    "no-embedding-dropout": 4.2,
    "no-weight-decay": 0.4,
    "no-ar-tar": 1.9,
    "full-size-embedding": 5.1,
    "no-weight-drop": 9.6,
}
PARAMETERS = {"full": 351_240, "full-size-embedding": 812_404}


def profile(scale: str = "reduced", datasets: Sequence[str] = ("python-docs",), seeds: int = 3) -> Profile:
    config: dict[str, Any] = {"training": {"epochs": 24}, "finetuning": {"epochs": 12}}
    title = "the paper's protocol" if scale == "paper" else "every row in minutes on a laptop"
    return Profile("demo", title, scale, tuple(datasets), tuple(range(1, seeds + 1)), config)


def user_suite(variants: int, label: str = "– a part of the model with quite a long name") -> Suite:
    """A suite without published numbers."""
    rows = [Variant("base", "Base")]
    for number in range(1, variants):
        rows.append(Variant(f"v{number}", f"{label} {number}", {"training": {"batch_size": number}}))
    return Suite("mine", "What of my_model matters", "base", tuple(rows))


def report_data(
    root: Path,
    *,
    suite: Suite | None = None,
    scale: str = "reduced",
    datasets: Sequence[str] = ("python-docs",),
    seeds: int = 3,
    without: Sequence[tuple[str, int]] = (),
    diverged: Sequence[tuple[str, int]] = (),
    failed: Sequence[tuple[str, int]] = (),
    **others: Any,
) -> Comparison:
    """Write a run for every entry of the plan but those in ``without`` (variant, seed), then read all back."""
    the_profile = profile(scale, datasets, seeds)
    the_suite = suite or load_suite("table5")
    # only the paper's own profile on its own texts may be set against its numbers
    digests = {name: corpus_identity(name) for name in DATASETS}
    corpora = [
        Corpus(name, name, digests.get(name, f"{place:x}c0ffee" * 8)) for place, name in enumerate(datasets, start=10)
    ]
    plan = make_plan(the_suite, the_profile, corpora)
    store = Store(root)
    for spec in plan:
        place = (spec.variant, spec.seed)
        if place not in without:
            status = Status.DIVERGED if place in diverged else Status.FAILED if place in failed else Status.DONE
            write_run(store, spec, status)
    published = load_published(the_suite, the_suite.name) if suite is None else None
    values: dict[str, Any] = {
        "suite": the_suite,
        "profile": load_profile("paper") if scale == "paper" else the_profile,
        "published": published,
        "runs": join_runs(plan, store.runs()),
        "epochs": join_epochs(plan, store),
        "reference": None,
        "stale": store.runs().iloc[:0],
    }
    return Comparison(**(values | others))


def write_run(store: Store, spec: RunSpec, status: str = Status.DONE) -> None:
    draw = random.Random(f"{spec.dataset} {spec.variant} {spec.seed}")
    of_seed = random.Random(f"{spec.dataset} {spec.seed}").gauss(0, 0.012)
    position = int(spec.variant[1:]) if spec.variant[1:].isdigit() else 0
    effect = EFFECTS.get(spec.variant, 1.3 * position) / 100
    level = math.log(60 if spec.dataset == "ptb" else 121) + of_seed + effect + draw.gauss(0, 0.004)
    epochs = list(_curve(spec, level, draw))
    averaging = next((row["epoch"] - 1 for row in epochs if row["phase"] == "train" and row["averaging"]), None)
    row: dict[str, Any] = {
        name: getattr(spec, name) for name in RUN_SCHEMA.names if hasattr(spec, name) and name != "config"
    }
    row |= {"config": spec.config_json, "device": "cpu", "torch_version": "2.13.0", "status": status}
    row |= {"finished_at": "2026-01-01T00:00:00+00:00", "seconds": 61.0, "epochs": len(epochs)}
    if status == Status.DONE:
        row |= {"valid_ppl": min(epoch["valid_ppl"] for epoch in epochs), "averaging_started": averaging}
        row["test_ppl"] = row["valid_ppl"] * math.exp(draw.gauss(-0.03, 0.003))
        row["parameters"] = PARAMETERS.get(spec.variant, PARAMETERS["full"])
    else:
        epochs = epochs[:9] if status == Status.DIVERGED else []
        not_finite = "loss not finite in phase train, epoch 10, step 3"
        row["error"] = not_finite if status == Status.DIVERGED else "Traceback\nOSError: disk full"
    store.write(row, epochs)


def _curve(spec: RunSpec, level: float, draw: random.Random) -> Any:
    """Epochs that fall to ``level``, noisily until averaging starts."""
    config = spec.config
    training, finetuning = config.training.epochs, config.finetuning.epochs
    averages = config.optimizer.method == "nt-asgd"
    start = 13 + draw.randrange(-2, 3)
    for number in range(1, training + finetuning + 1):
        averaging = averages and number > start
        noise = draw.gauss(0, 0.002 if averaging else 0.012)
        raw = 0.0 if averaging else 0.03
        value = level + 1.9 * math.exp(-number / 3.2) + raw + abs(noise) + (0.02 if number <= training else 0)
        yield {
            "run_id": spec.run_id,
            "phase": "train" if number <= training else "finetune",
            "epoch": number if number <= training else number - training,
            "train_ppl": math.exp(value + 0.1),
            "valid_ppl": math.exp(value),
            "learning_rate": 30.0,
            "averaging": averaging,
            "seconds": 1.5,
            "tokens": 40_000,
        }


def stale_runs(count: int) -> pd.DataFrame:
    rows = [[f"{place:020x}", "demo", "python-docs", "full", place, Status.DONE] for place in range(count)]
    return pd.DataFrame(rows, columns=["run_id", "profile", "dataset", "variant", "seed", "status"])
