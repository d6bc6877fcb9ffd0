"""What stands beside a table: which runs it shows, at which scale, and how to read it. Plain sentences."""

from __future__ import annotations

import pandas as pd
from scipy import stats

from ablations.analysis.comparison import Comparison, dataset_title
from ablations.analysis.statistics import BOOTSTRAP, CONFIDENCE, ROUGH, T
from ablations.reporting.formats import NOT_ENDED, names, number, plural, with_interval
from ablations.storage.status import UNFINISHED, Status
from ablations.storage.store import recorded_config
from awd.corpus.text import SPLITS as TEXT_SPLITS
from awd.corpus.usage import describe_unknown, unknown_warning
from awd.messages import number_text, one_line

MOST_LISTED = 20
INTERVAL_TITLES = {T: "t", BOOTSTRAP: "bootstrap"}
SPLIT_TITLES = {"valid": "validation", "test": "test"}


def scale(data: Comparison, dataset: str) -> str:
    """Whether the numbers may be set against the paper's, in words; empty where that is never a question."""
    if data.comparable(dataset):
        return (
            f"The paper's protocol on {dataset_title(dataset)}: perplexities may be compared with the published ones."
        )
    compare = (
        "not the paper's setting; perplexities are not comparable with the paper's, compare the sign, order and "
        f"log-differences.{namesake(data, dataset)}"
    )
    if data.profile.scale != "paper":
        return f"Scaled-down run on {dataset}, profile {data.profile.name}: {compare}"
    if data.settings:
        return f"The paper's profile with --set options in force on {dataset}: {compare}"
    if data.published is not None:
        return f"Not the paper's own profile on its own text, but {data.profile.name} on {dataset}: {compare}"
    return namesake(data, dataset).strip()


def namesake(data: Comparison, dataset: str) -> str:
    """Says that a text is not the published one that goes by its name; empty where it is."""
    if not data.is_namesake(dataset):
        return ""
    return f" What is called {dataset} here is another text than {dataset_title(dataset)}."


def strengths(data: Comparison, dataset: str) -> str:
    """How the strengths of the regularizers were chosen; empty where the profile does not say."""
    told = data.profile.strengths.get(dataset)
    return f"Strengths: {one_line(told)}." if told and not data.is_namesake(dataset) else ""


def source(data: Comparison, dataset: str) -> str:
    """Where the published numbers are from, and of which data set they are."""
    column = data.published_dataset(dataset)
    if data.published is None or column is None:
        return ""
    standing_in = "" if column == data.known(dataset) else f", the point of comparison for {dataset}"
    return f"Paper: {one_line(data.published.source)}, its {dataset_title(column)} columns{standing_in}."


def setting(data: Comparison, dataset: str) -> str:
    """Profile, seeds, options, and what the runs were made with."""
    runs = data.runs_on(dataset)
    seeds = sorted(set(runs["seed"]))
    parts = [
        f"Profile {data.profile.name} ({data.profile.title})",
        f"data set {dataset} (corpus sha256 {names(runs['corpus_sha256'].str[:12])})",
        f"{plural(len(seeds), 'seed')} ({', '.join(map(str, seeds))})",
        "options " + (", ".join(f"--set {setting}" for setting in data.settings) if data.settings else "none"),
        f"device {names(runs['device'])}",
        f"engine {names(runs['engine'])}",
        f"precision {names(runs['precision'])}",
        f"torch {names(runs['torch_version'])}",
    ]
    return "; ".join(parts) + "."


def unfinished(data: Comparison, dataset: str) -> str:
    """How many runs are not in the means, and why."""
    statuses = list(data.runs_on(dataset)["status"].fillna(Status.MISSING))
    finished = f"{statuses.count(Status.DONE)} of {plural(len(statuses), 'run')} finished"
    counts = {name: statuses.count(name) for name in UNFINISHED}
    return ", ".join([finished, *(f"{count} {name}" for name, count in counts.items() if count)]) + "."


def reading(data: Comparison, dataset: str, intervals: bool) -> str:
    """What the columns are."""
    pairs = data.rows(dataset).dropna(subset="valid_log_low")["pairs"]
    interval = f"its 95% {INTERVAL_TITLES[data.interval]} interval{_caution(data, pairs.min()) if len(pairs) else ''}"
    bracket = f", in brackets {interval}" if intervals else ""
    return (
        f"Perplexity: mean ± sd over finished runs. Δ: mean difference to {data.baseline}, paired by seed; 100 Δ log: "
        f"the same of log-perplexity times 100, about per cent{bracket}. Lower perplexity is better, so Δ > 0 means "
        "that the row is worse."
    )


def _caution(data: Comparison, fewest: int) -> str:
    if data.interval == BOOTSTRAP:
        return " (rough: too narrow under six seeds)" if fewest < ROUGH else ""
    if fewest > 3:
        return ""
    factor = stats.t.ppf((1 + CONFIDENCE) / 2, fewest - 1)
    return f" ({factor:.1f} standard errors to each side where there are {fewest} seeds)"


def decided(data: Comparison, dataset: str) -> str:
    """Which rows differ from the baseline by more than chance explains; empty where no row has an interval."""
    rows = data.rows(dataset).dropna(subset="valid_log_low")
    low, high = rows["valid_log_low"], rows["valid_log_high"]
    worse, better, same = low.gt(0), high.lt(0), low.eq(0) & high.eq(0)
    named = {
        "worse": rows[worse],
        "better": rows[better],
        "the same in every seed": rows[same],
        "undecided": rows[~worse & ~better & ~same],
    }
    told = [f"{name}: {', '.join(map(one_line, of['label']))}" for name, of in named.items() if len(of)]
    return (
        f"Compared with {data.baseline} on validation, by each row's own interval: {'; '.join(told)}." if told else ""
    )


def correlation(data: Comparison, dataset: str) -> str:
    """How far the order of the rows is the paper's; empty where nothing can be ranked."""
    found = data.correlations[data.correlations["dataset"].eq(dataset)].dropna(subset="spearman")
    sentences = []
    for row in found.to_dict("records"):
        parts = ("", "_low", "_high")
        spearman, kendall = (
            with_interval(number, *(row[f"{name}{part}"] for part in parts)) for name in ("spearman", "kendall")
        )
        rows = plural(row["rows"], "row")
        sentences.append(f"{SPLIT_TITLES[row['split']]} Spearman ρ = {spearman}, Kendall τ = {kendall} ({rows})")
    bracket = "; in brackets 95% intervals over seeds" if any("[" in sentence for sentence in sentences) else ""
    return "Order of the rows against the paper's: " + "; ".join(sentences) + bracket + "." if sentences else ""


def unknown(data: Comparison, dataset: str) -> str:
    """Which share of the tokens is ``<unk>``, as a warning where it is large; empty where no run says."""
    runs = data.runs_on(dataset)
    shares = {split: runs[f"{split}_unknown"].max() for split in TEXT_SPLITS}
    if pd.isna(list(shares.values())).any():
        return ""
    warning = unknown_warning(shares)
    return f"Warning: {warning}." if warning else f"{describe_unknown(shares)}."


def not_ended(data: Comparison, dataset: str) -> str:
    """Which rows might have become better if trained longer; empty where none."""
    rows = data.rows(dataset)
    told = [
        f"{row['not_ended']} of {plural(row['with_epochs'], 'run')} of {one_line(row['label'])}"
        for row in rows[rows["not_ended"].gt(0)].to_dict("records")
    ]
    last = "their best epoch is in the last tenth"
    return f"{NOT_ENDED} Training had not ended in {', '.join(told)}: {last}." if told else ""


def without_baseline(data: Comparison, dataset: str) -> str:
    """Says so when there is nothing to take differences to."""
    rows = data.rows(dataset)
    if rows.loc[rows["variant"].eq(data.suite.baseline), "n"].any():
        return ""
    return f"No run of the baseline {data.suite.baseline} is finished: no differences."


def caption(data: Comparison, dataset: str, *, intervals: bool = True) -> list[str]:
    """Every sentence that belongs to the table of one data set, what matters most first."""
    last = [reading(data, dataset, intervals), source(data, dataset), strengths(data, dataset)]
    return _said(*_first(data, dataset), *last, correlation(data, dataset), setting(data, dataset))


def short_caption(data: Comparison, dataset: str) -> list[str]:
    """The sentences that a terminal shows."""
    return _said(*_first(data, dataset), correlation(data, dataset))


def _first(data: Comparison, dataset: str) -> list[str]:
    """What nobody should miss."""
    about = (unfinished, unknown, without_baseline, decided, not_ended)
    return [scale(data, dataset), *map(one_line, data.notes), *(say(data, dataset) for say in about)]


def _said(*sentences: str) -> list[str]:
    return [sentence for sentence in sentences if sentence]


def beginnings(data: Comparison) -> str:
    """Of which beginning of a validation split the epochs' perplexities are; empty where they are of whole splits."""
    lengths = {}
    for dataset, config in data.runs.dropna(subset="config").groupby("dataset", sort=False)["config"].first().items():
        lengths[data.title(str(dataset))] = recorded_config(config).corpus.valid_tokens
    told = ", ".join(f"{name} {tokens:,}" for name, tokens in lengths.items() if tokens)
    return f" Epochs are validated on the first tokens of the split only: {told}." if told else ""


def failures(data: Comparison) -> list[str]:
    """A line for each failed or diverged run, with the last line of its error."""
    bad = data.runs[data.runs["status"].isin([Status.FAILED, Status.DIVERGED])]
    lines = []
    for run in bad.head(MOST_LISTED).itertuples():
        error = str(run.error).strip().splitlines() if isinstance(run.error, str) else []
        reason = f": {error[-1]}" if error else ""
        lines.append(f"{run.dataset} {run.variant} seed {run.seed}: {run.status}{reason}")
    return _and_more(lines, len(bad))


def paused(data: Comparison) -> list[str]:
    """A line for each paused run: how far it came, and its best validation so far, which is in no mean."""
    runs = data.runs[data.runs["status"].eq(Status.PAUSED)]
    lines = []
    for run in runs.head(MOST_LISTED).to_dict("records"):
        best = (
            "" if pd.isna(run["valid_ppl"]) else f", best validation perplexity so far {number_text(run['valid_ppl'])}"
        )
        epochs = f"{run['epochs']:.0f} of at most {recorded_config(run['config']).most_epochs} epochs"
        lines.append(f"{run['dataset']} {run['variant']} seed {run['seed']}: paused after {epochs}{best}")
    return _and_more(lines, len(runs))


def stale(data: Comparison) -> list[str]:
    """Says that recorded runs belong to another configuration, then lists them; empty where none do."""
    if data.stale.empty:
        return []
    heading = (
        f"stale: {plural(len(data.stale), 'recorded run')} of this profile "
        f"{'belongs' if len(data.stale) == 1 else 'belong'} to another configuration; nothing here is made from them."
    )
    listed = data.stale.sort_values(["dataset", "variant", "seed", "run_id"]).head(MOST_LISTED)
    lines = [f"{run.run_id}: {run.dataset} {run.variant} seed {run.seed}" for run in listed.itertuples()]
    return [heading, *_and_more(lines, len(data.stale))]


def _and_more(lines: list[str], total: int) -> list[str]:
    return lines if total <= len(lines) else [*lines, f"and {total - len(lines)} more"]
