"""What a table cost, and how much of the paper's training that is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ablations.analysis.comparison import Comparison
from ablations.analysis.statistics import KEYS
from ablations.experiment.paper import paper_config, paper_tokens
from ablations.reporting.formats import count, names, number, share_text
from ablations.storage.status import Status
from ablations.storage.store import recorded_config
from awd.config import Config
from awd.corpus import DATASETS
from awd.model import count_parameters


def budget(data: Comparison, dataset: str) -> list[tuple[str, str]]:
    """What finished runs on a data set took, as names and texts in the order of reading; empty without any."""
    runs = data.runs_on(dataset)
    runs = runs[runs["status"].eq(Status.DONE)]
    if runs.empty:
        return []
    runs = runs.merge(_trained(data), on=[*KEYS, "seed"], how="left")
    baseline = runs[runs["variant"].eq(data.suite.baseline)]
    of = baseline if len(baseline) else runs[runs["variant"].eq(runs["variant"].iloc[0])]
    who = data.label(of["variant"].iloc[0])
    config = recorded_config(of["config"].iloc[0])
    most = max(recorded_config(text).most_epochs for text in runs["config"].unique())
    rows = [
        ("training text", _corpus(config, data.known(dataset))),
        ("validation", _validation(config)),
        ("parameters", f"{count(of['parameters'].iloc[0])} ({who})"),
        ("epochs", f"{_range(runs['epochs'])} per run, of at most {most}"),
        (
            "tokens trained on",
            f"{count(of['tokens'].mean())} per run of {who}, {count(runs['tokens'].sum())} in all",
        ),
        ("of the paper's training", _share(data, data.known(dataset), baseline) if len(baseline) else ""),
        ("time", _time(runs)),
        ("hardware", names(runs["host"]) + _device(runs)),
        (
            "computed by",
            f"engine {names(runs['engine'])}, {names(runs['precision'])}, torch {names(runs['torch_version'])}",
        ),
        ("code", f"version {names(runs['project_version'])}, commit {_commits(runs)}"),
    ]
    return [(name, text) for name, text in rows if text]


def _trained(data: Comparison) -> pd.DataFrame:
    return data.epochs.groupby([*KEYS, "seed"], sort=False)["tokens"].sum().reset_index()


def _corpus(config: Config, known: str | None) -> str:
    whole = DATASETS[known].tokens.get("train") if known else None
    used = config.corpus.train_tokens
    if used is None:
        return f"all {whole:,} tokens" if whole else "all of it"
    share = f" of {whole:,} ({100 * used / whole:.1f}%)" if whole else ""
    rare = config.corpus.minimum_count
    words = f"; words seen fewer than {rare} times are <unk>" if rare > 1 else ""
    return f"the first {used:,} tokens{share}{words}"


def _validation(config: Config) -> str:
    tokens = config.corpus.valid_tokens
    beginning = f"each epoch on the first {tokens:,} tokens; " if tokens else ""
    return f"{beginning}reported figures on whole splits, the test once, at the weights best on validation"


def _share(data: Comparison, known: str | None, runs: pd.DataFrame) -> str:
    """Tokens seen, and multiplications, beside those of the paper's protocol on the same text."""
    if known is None or data.published is None:
        return ""
    paper, tokens, vocabulary = paper_config(known), paper_tokens(known), DATASETS[known].vocabulary
    if paper is None or tokens is None or vocabulary is None:
        return ""
    parameters = count_parameters(vocabulary, paper.model)
    seen, size = runs["tokens"].mean() / tokens, runs["parameters"].iloc[0] / parameters
    return (
        f"{share_text(seen)} of the tokens that its full model sees in at most {paper.most_epochs} epochs, with "
        f"{share_text(size)} of its parameters"
    )


def _time(runs: pd.DataFrame) -> str:
    median, hours = number(runs["seconds"].median() / 60, 1), number(runs["seconds"].sum() / 3600, 1)
    return f"{median} minutes per run (median), {hours} hours in all; each run on one core or GPU"


def _range(values: pd.Series[float]) -> str:
    low, high = int(np.min(values)), int(np.max(values))
    return str(low) if low == high else f"{low} to {high}"


def _device(runs: pd.DataFrame) -> str:
    used = names(runs["device"])
    return "" if used == "cpu" else f"; {used}"


def _commits(runs: pd.DataFrame) -> str:
    commits = sorted({commit[:10] for commit in runs["git_commit"].dropna()})
    dirty = " (with changes that are in no commit)" if runs["git_dirty"].eq(True).any() else ""
    return (", ".join(commits) or "unknown") + dirty
