"""Whether engines train to equal perplexities, in pairs by seed: ``python -m benchmarks.equal --help``."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import joblib
import pandas as pd
import typer

from ablations.analysis.statistics import seed_differences, summarise_differences
from ablations.cli.paths import folder_option
from ablations.experiment.plan import Corpus, RunSpec, make_plan, parse_settings
from ablations.experiment.profile import load_profile
from ablations.experiment.selection import parse_seeds
from ablations.experiment.suite import load_suite
from ablations.storage.status import Status
from awd.corpus import load_corpus
from awd.errors import DivergedError, InputError
from awd.files import whole_file, write_text
from benchmarks.command import make_app, run, say
from benchmarks.record import RESULTS, describe, machine

VARIANTS = ("full", "no-weight-drop", "full-size-embedding")
PROGRAMS = (("torch", "fp32"), ("fast", "fp32"), ("fast", "bf16"))
REFERENCE = "torch fp32"
# the demo with layers twice as wide, in epochs enough to learn something and few enough to wait for
SETTINGS = (
    "model.embedding_size=128",
    "model.hidden_size=256",
    "optimizer.nonmonotone_interval=4",
    "training.epochs=20",
    "training.test_batch_size=10",
    "finetuning.epochs=6",
)
_PERCENT = 100  # a difference in log-perplexity times this is about one in per cent

app = make_app()


@app.command()
def equal(
    seeds: Annotated[str, typer.Option("--seeds", help="5 is seeds 1 to 5; 1,2,7 these.")] = "5",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Runs at a time, each on one thread.")] = 2,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Override a field in every run, for example training.epochs=3.")
    ] = None,
    results: Annotated[Path, folder_option("--results", help="Folder of equal.parquet and equal.md.")] = RESULTS,
) -> None:
    """Train three variants from each seed under torch fp32, fast fp32 and fast bf16, and compare perplexities.

    Layers have 256 units (the demo's have 128). The fast engine leaves layers and softmaxes this small to torch where
    that is faster; here it may not, so that its own LSTM and softmax are what is compared. Every run is kept in
    equal.parquet as it ends: the same command goes on where it was stopped, and with all runs there renders
    equal.md anew. Runs made by another version of PyTorch or on another processor are made again.

    **Examples**

    * `python -m benchmarks.equal` — 45 runs, about 20 minutes on two cores
    * `python -m benchmarks.equal --seeds 3 --set training.epochs=5 --results /tmp/equal` — a shorter look
    """
    specs, about = plan(parse_seeds(seeds), settings or ()), machine()
    path = results / "equal.parquet"
    rows = kept(path, about)
    left = [spec for spec in specs if spec.run_id not in rows]
    say(f"{len(specs)} runs, {len(specs) - len(left)} of them there already")
    for number, row in enumerate(train_all(left, about, jobs), 1):
        rows[row["run_id"]] = row
        with whole_file(path) as temporary:
            pd.DataFrame(list(rows.values())).to_parquet(temporary, index=False)
        outcome = f"valid {row['valid_ppl']:.2f}" if row["status"] == Status.DONE else row["status"]
        say(f"[{number}/{len(left)}] {title(row)}: {outcome}, {row['seconds']:.0f} s")
    by_variant = sorted(specs, key=lambda spec: VARIANTS.index(spec.variant))
    page = render(pd.DataFrame([rows[spec.run_id] for spec in by_variant]))
    write_text(results / "equal.md", page)
    print(page, end="")


def plan(seeds: Sequence[int], settings: Sequence[str]) -> list[RunSpec]:
    """All runs, seed by seed, so that what is finished first can be compared."""
    suite, profile = load_suite("table5"), load_profile("demo")
    (source,) = profile.datasets
    corpora = [Corpus(source, source, load_corpus(source).sha256)]
    given = {setting.partition("=")[0].strip() for setting in settings}
    values = parse_settings([*settings, *(own for own in SETTINGS if own.partition("=")[0] not in given)])
    specs = [
        spec
        for engine, precision in PROGRAMS
        for spec in make_plan(
            suite,
            profile,
            corpora,
            variants=VARIANTS,
            seeds=seeds,
            settings=values,
            engine=engine,
            precision=precision,
        )
    ]
    return sorted(specs, key=lambda spec: seeds.index(spec.seed))


def kept(path: Path, about: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The runs in a file that this machine's versions made, by run id.

    Raises:
        InputError: the file cannot be read.
    """
    if not path.exists():
        return {}
    try:
        frame = pd.read_parquet(path)
        same = (frame["torch_version"] == about["torch_version"]) & (frame["host"] == about["host"])
        rows = {row["run_id"]: row for row in frame[same].to_dict("records")}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not what this benchmark wrote ({error}); move it away, and start again") from None
    for commit in {row["git_commit"] for row in rows.values()} - {about["git_commit"]}:
        say(f"warning: {path} has runs of commit {commit}, which are kept; delete it to make them again")
    return rows


def train_all(specs: Sequence[RunSpec], about: dict[str, Any], jobs: int) -> Iterator[dict[str, Any]]:
    """A row for each run as it ends."""
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="n_jobs")
    for row in parallel(joblib.delayed(train)(spec) for spec in specs):
        yield {**row, **about}


def train(spec: RunSpec) -> dict[str, Any]:
    """One run, in a worker process."""
    from ablations.execution.worker import compute_on_one_thread
    from awd.corpus.text import encode
    from awd.engine import make_engine
    from awd.trainer import Trainer

    compute_on_one_thread()
    use_written_out_everywhere()
    corpus = encode(load_corpus(spec.source), spec.config.corpus)
    started = time.perf_counter()
    trainer = Trainer(spec.config, corpus, spec.seed, engine=make_engine(spec.engine, spec.precision, "cpu"))
    row = {name: getattr(spec, name) for name in ("run_id", "dataset", "variant", "seed", "engine", "precision")}
    row |= {"config": spec.config_json, "corpus_sha256": spec.corpus_sha256}
    try:
        result = trainer.run()
        row |= {"status": Status.DONE, "valid_ppl": result.valid_ppl, "test_ppl": result.test_ppl}
        row["averaging_started"] = result.averaging_started
    except DivergedError:
        row |= {"status": Status.DIVERGED, "valid_ppl": None, "test_ppl": None, "averaging_started": None}
    return {**row, "epochs": len(trainer.epochs), "seconds": time.perf_counter() - started}


def use_written_out_everywhere() -> None:
    """Have the fast engine of this process use its own LSTM and softmax at every size."""
    from awd import engine

    engine._NARROWEST = dict.fromkeys(engine._NARROWEST, 0)
    engine._FEWEST_LOGITS = 0


def compare(runs: pd.DataFrame) -> pd.DataFrame:
    """What each engine reached for each variant, and its paired differences to the reference engine.

    Args:
        runs: ``variant, seed, engine, precision, status, valid_ppl, test_ppl``.

    Returns:
        One row per variant and program: ``variant, program, n, valid_mean, valid_sd``; and in hundredths of a nat
        ``difference, low, high, largest`` (missing for the reference), ``spread`` (sd between the reference's seeds)
        and the ``verdict``.
    """
    # to the statistics each variant is a data set, in which programs are the variants
    renamed = runs.assign(dataset=runs["variant"], variant=runs["engine"] + " " + runs["precision"])
    done = renamed[renamed["status"].eq(Status.DONE)]
    reached = done.groupby(["dataset", "variant"], sort=False)["valid_ppl"].agg(
        n="size", valid_mean="mean", valid_sd="std"
    )
    pairs = seed_differences(renamed, REFERENCE)
    differences = summarise_differences(pairs).set_index(["dataset", "variant"])
    largest = pairs["valid_log_difference"].abs().groupby([pairs["dataset"], pairs["variant"]]).max()
    columns = {"valid_log_difference": "difference", "valid_log_low": "low", "valid_log_high": "high"}
    measured = differences[list(columns)].rename(columns=columns).assign(largest=largest) * _PERCENT
    frame = reached.join(measured).reset_index()
    of_reference = done[done["variant"].eq(REFERENCE)]
    logs = of_reference["valid_ppl"].map(math.log) * _PERCENT
    frame["spread"] = frame["dataset"].map(logs.groupby(of_reference["dataset"]).std())
    frame["verdict"] = [verdict(*row) for row in frame[["difference", "low", "high", "spread"]].itertuples(index=False)]
    return frame.rename(columns={"dataset": "variant", "variant": "program"})


def verdict(difference: float, low: float, high: float, spread: float) -> str:
    """A difference and its interval beside the spread between seeds."""
    if pd.isna(difference):
        return ""
    if pd.isna(low) or pd.isna(spread):
        return "too few seeds"
    if max(abs(low), abs(high)) <= spread:
        return "within the spread between seeds"
    return "mean within the spread, interval not" if abs(difference) <= spread else "OUTSIDE the spread between seeds"


def effects(runs: pd.DataFrame) -> pd.DataFrame:
    """What taking something away costs, as each program measures it: ``variant``, then one column per program."""
    by_program = runs.assign(dataset=runs["engine"] + " " + runs["precision"])
    frame = summarise_differences(seed_differences(by_program, VARIANTS[0]))
    values = frame[["valid_log_difference", "valid_log_low", "valid_log_high"]] * _PERCENT
    frame["text"] = [interval(*row) for row in values.itertuples(index=False)]
    programs = [f"{engine} {precision}" for engine, precision in PROGRAMS]
    table = frame.pivot(index="variant", columns="dataset", values="text")
    return table.reindex(index=VARIANTS[1:], columns=programs).fillna("–").reset_index()


def render(runs: pd.DataFrame) -> str:
    """The page."""
    config = json.loads(runs["config"].iloc[0])
    seeds = ", ".join(map(str, runs["seed"].unique()))
    made_by = [dict(row) for _, row in runs.drop_duplicates(["git_commit", "git_dirty"]).iterrows()]
    return f"""# Equal results under every engine

Best validation perplexity after {config["training"]["epochs"]} epochs of training and at most
{config["finetuning"]["epochs"]} of fine-tuning, seeds {seeds}: mean ± sd over seeds. Trained on
{config["corpus"]["train_tokens"]} words of {runs["dataset"].iloc[0]}, layers of {config["model"]["hidden_size"]} units;
paired differences in log-perplexity to {REFERENCE}, times 100, with 95% t intervals; beside them the sd of
100 log perplexity between the seeds of {REFERENCE}. The fast engine was made to use its own LSTM and softmax, which it
leaves to torch at sizes this small.

{_comparison_table(compare(runs))}

What taking something away costs, 100 Δ log to {VARIANTS[0]}, as each engine measures it:

{effects(runs).to_markdown(index=False, disable_numparse=True)}

{len(runs)} runs, {runs["seconds"].sum() / 60:.0f} minutes of one core; each is a row of equal.parquet. \
`python -m benchmarks.equal` regenerates this page, and keeps the runs that are there.

{"".join(f"{describe(about)}{chr(10)}" for about in made_by)}"""


def _comparison_table(frame: pd.DataFrame) -> str:
    shown = pd.DataFrame(
        {
            "variant": frame["variant"],
            "engine": frame["program"],
            "n": frame["n"],
            "valid ppl": [
                f"{mean:.2f} ± {sd:.2f}".removesuffix(" ± nan")
                for mean, sd in zip(frame["valid_mean"], frame["valid_sd"], strict=True)
            ],
            "100 Δ log": [interval(*row) for row in frame[["difference", "low", "high"]].itertuples(index=False)],
            "largest of a pair": frame["largest"].map("{:.3f}".format).replace("nan", "–"),
            "sd between seeds": frame["spread"].map("{:.2f}".format).replace("nan", "–"),
            "verdict": frame["verdict"],
        }
    )
    return shown.to_markdown(index=False, disable_numparse=True)


def interval(mean: float, low: float, high: float) -> str:
    """``+0.120 [-0.301, +0.541]``; a dash where there is nothing."""
    if pd.isna(mean):
        return "–"
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]" if pd.notna(low) else f"{mean:+.3f}"


def title(row: dict[str, Any]) -> str:
    """How a run is called in messages."""
    return f"{row['variant']} seed {row['seed']} {row['engine']} {row['precision']}"


if __name__ == "__main__":
    run(app)
