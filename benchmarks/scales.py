"""The settings of the full model that were tried for a scale, and which of them the rule of docs/scales.md takes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.cli.paths import folder_option
from awd.errors import InputError
from benchmarks.command import make_app, run

if TYPE_CHECKING:
    import pandas as pd

HERE = Path(__file__).resolve().parents[1] / "results" / "reference" / "scales"
MIDDLE = (0.25, 0.75)  # of the epochs trained, where the best one must lie
LEVEL, LEVEL_EPOCHS = 0.02, 5  # the largest fall of the best raw perplexity, in the epochs before averaging

app = make_app()


@app.command()
def main(
    suite: Annotated[str, typer.Argument(help="A scale's candidates: long or medium.")],
    dataset: Annotated[str, typer.Option(help="ptb or wikitext-2.")] = "ptb",
    minutes: Annotated[float, typer.Option(help="The longest that a candidate may take.")] = 7.0,
    results: Annotated[Path, folder_option("--results", help="Folder of the candidates' results.")] = HERE,
) -> None:
    """Judge the candidates of a scale by docs/scales.md, the best first; writes `<suite>-<dataset>.md` beside them.

    **Example**: `python -m benchmarks.scales long --dataset wikitext-2`
    """
    from ablations.storage.store import Store
    from awd.files import write_text

    store = Store(results)
    runs = store.runs().query(f"suite == 'scales-{suite}' and dataset == @dataset and status == 'done'")
    if runs.empty:
        raise InputError(f"{results}: no finished run of suite {suite!r} on {dataset}")
    found = judge(runs, store.epochs(runs["run_id"]), minutes)
    page = found.to_markdown(index=False, floatfmt=".4g") + "\n"
    write_text(results / f"{suite}-{dataset}.md", page)
    print(page)


def judge(runs: pd.DataFrame, epochs: pd.DataFrame, minutes: float) -> pd.DataFrame:
    """One row per candidate, those that show all of the rule first, then by validation perplexity.

    Args:
        runs: the store's rows of finished full models.
        epochs: theirs.
        minutes: the longest that one may take.
    """
    import pandas as pd

    from ablations.analysis.training_curves import RUN

    epochs = epochs.merge(runs[["run_id", *RUN]], on="run_id")
    rows = [_candidate(run, epochs[epochs["run_id"].eq(run["run_id"])], minutes) for run in runs.to_dict("records")]
    rows.sort(key=lambda row: (len(row["lacks"].split()), row["valid"]))
    return pd.DataFrame(rows)


def _candidate(run: dict[Any, Any], epochs: pd.DataFrame, minutes: float) -> dict[str, Any]:
    from ablations.analysis.training_curves import in_order, training_ends

    ordered = in_order(epochs)
    training = ordered[ordered["phase"].eq("train")]
    best = int(training_ends(epochs)["best_epoch"].item())
    before, after = training["valid_ppl"].min(), ordered["valid_ppl"].min()
    fell = fall_before_averaging(training)
    took = ordered["seconds"].sum() / 60
    shows = {
        "budget": took <= minutes,
        "middle": MIDDLE[0] <= best / len(ordered) <= MIDDLE[1],
        "levelled": fell < LEVEL,
        "fine-tuning": after < before,
    }
    config = json.loads(run["config"])
    return {
        "candidate": run["variant"],
        "seed": run["seed"],
        "valid": after,
        "best_epoch": best,
        "epochs": len(ordered),
        "best_of_training": training["step"].iloc[training["valid_ppl"].argmin()],
        "valid_of_training": before,
        "averaging_started": run["averaging_started"],
        "fall_before_averaging": fell,
        "train_at_best": ordered["train_ppl"].iloc[best - 1],
        "minutes": took,
        "decay": decay(config, ordered),
        "lacks": ", ".join(name for name, shown in shows.items() if not shown),
        "setting": run["label"],
    }


def fall_before_averaging(training: pd.DataFrame) -> float:
    """By which share the best raw perplexity fell in the last epochs before averaging; infinite where none started."""
    raw = training.loc[~training["averaging"], "valid_ppl"]
    if len(raw) == len(training) or len(raw) <= LEVEL_EPOCHS:
        return math.inf
    return float(1 - raw.min() / raw.iloc[:-LEVEL_EPOCHS].min())


def decay(config: dict[str, Any], epochs: pd.DataFrame) -> float:
    """Rate x weight decay x steps, 9 in the paper; steps are tokens over batch and base length."""
    steps = epochs["tokens"].sum() / config["training"]["batch_size"] / config["windows"]["length"]
    return float(config["optimizer"]["learning_rate"] * config["regularization"]["weight_decay"] * steps)


if __name__ == "__main__":
    run(app)
