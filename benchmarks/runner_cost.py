"""What the runner adds to a run, whether its memory grows with their number, and what saving a run costs:
``python -m benchmarks.runner_cost --help``."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import psutil
import typer

from ablations.storage.store import Store
from benchmarks.command import MeasurementError, make_app, run, say, say_written
from benchmarks.configurations import CONFIGURATIONS
from benchmarks.options import ResultsOption, SaveOption, names
from benchmarks.record import RESULTS, machine, write

_RUN = Path(__file__).resolve().parent.parent / "run_ablations.py"
_LOOK_SECONDS = 0.5
_PROFILE = """
name: short
title: a run of a few steps
scale: reduced
datasets: [python-docs]
seeds: [1]
config:
  model: {embedding_size: 6, hidden_size: 8, num_layers: 2}
  windows: {length: 10}
  optimizer: {learning_rate: 5.0}
  finetuning: {epochs: 0}
  training: {epochs: 1, batch_size: 4, valid_batch_size: 4, test_batch_size: 2}
"""

app = make_app("a sweep failed")


@dataclass(frozen=True)
class Watched:
    """One sweep, looked at while it went on.

    Attributes:
        runs: one row per run as stored, in the order of their ends.
        memory: one row per look: ``done`` runs, and the parent's resident ``bytes``.
        first, last: seconds from the start until the first and the last run were stored.
    """

    runs: pd.DataFrame
    memory: list[dict[str, int]]
    first: float
    last: float


@app.command()
def runner(
    runs: Annotated[int, typer.Option("--runs", min=3, help="Very short runs in the sweep.")] = 200,
    saves: Annotated[int, typer.Option("--saves", min=1, help="Checkpoints timed of each configuration.")] = 5,
    configs: Annotated[
        str, typer.Option("--configs", help=f"Of which checkpoints are timed: some of {', '.join(CONFIGURATIONS)}.")
    ] = "demo,small,paper-ptb",
    save: SaveOption = False,
    results: ResultsOption = RESULTS,
) -> None:
    """Seconds that the runner adds to each of many very short runs, its memory as they go by, and seconds of a save.

    One sweep of the real command line, one run at a time, in a folder thrown away. What a run takes is the time
    between its result and the next one's; what of it is not training and validation is the runner's: claim, corpus,
    building the model, test, shards, hand-over.

    **Example**: `python -m benchmarks.runner_cost --save`
    """
    chosen = names("--configs", "configuration", configs, CONFIGURATIONS)
    about = machine()
    watched = sweep(runs)
    rows: list[dict[str, Any]] = [{"part": "memory", **look} for look in watched.memory]
    a_run = (watched.last - watched.first) / (runs - 1)
    rows += [{"part": "sweep", "runs": runs, "seconds": a_run, "training": watched.runs["training"].median()}]
    for name in chosen:
        rows += [{"part": "save", "config": name, **taken} for taken in saving(name, saves)]
        say(f"{name}: {saves} checkpoints timed")
    frame = pd.DataFrame(rows)
    page = render(frame)
    print(page, end="")
    if save:
        say_written(write("runner", frame, page, results, about))


def sweep(runs: int) -> Watched:
    """Train so many very short runs through the command line, and watch it.

    Raises:
        MeasurementError: it failed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "short.yaml").write_text(_PROFILE, encoding="utf-8")
        draw = random.Random(1)
        for split in ("train", "valid", "test"):
            text = "\n".join(" ".join(draw.choices("abcdefgh", k=8)) for _ in range(40))
            (folder / f"{split}.txt").write_text(text, encoding="utf-8")
        command = [sys.executable, str(_RUN), "run", "--variants", "full", "--seeds", str(runs), "--jobs", "1"]
        command += ["--profile", "short.yaml", "--dataset", str(folder), "--no-audit", "--keep-weights", "none"]
        command += ["--results", "results", "--reports", "reports", "--device", "cpu"]
        with (folder / "log").open("w") as log:
            process = psutil.Popen(command, cwd=folder, stdout=log, stderr=log)
            memory, ends = _watch(process, folder / "results" / "runs")
        if process.wait():
            raise MeasurementError(f"{' '.join(command)} failed:\n{(folder / 'log').read_text()}")
        store = Store(folder / "results")
        stored = store.runs()
        training = store.epochs(stored["run_id"]).groupby("run_id")["seconds"].sum()
        stored = stored.assign(training=stored["run_id"].map(training))
        return Watched(stored, memory, min(ends), max(ends))


def _watch(process: psutil.Popen, folder: Path) -> tuple[list[dict[str, int]], list[float]]:
    """The parent's memory until it ends, and when each shard was written, by the clock of the files."""
    looks = []
    ends: dict[Path, float] = {}
    while process.poll() is None:
        for path in folder.glob("[!.]*.parquet"):
            if path not in ends:
                ends[path] = path.stat().st_mtime
        try:
            resident = process.memory_info().rss
        except psutil.NoSuchProcess:
            break
        if resident:  # none once it has ended and is not yet waited for
            looks.append({"done": len(ends), "bytes": resident})
        time.sleep(_LOOK_SECONDS)
    return looks, list(ends.values())


def saving(name: str, count: int) -> list[dict[str, Any]]:
    """Seconds and bytes of checkpoints of a run that is averaging and has best weights, the most there is to save."""
    import torch

    from awd.checkpoint import Checkpoints
    from awd.corpus.text import Encoded
    from awd.trainer import Best, Trainer

    chosen = CONFIGURATIONS[name]
    torch.set_num_threads(1)
    words = [str(number) for number in range(chosen.vocabulary_size)]
    tokens = torch.randint(chosen.vocabulary_size, (10 * chosen.batch_size * chosen.length,)).tolist()
    trainer = Trainer(chosen.config, Encoded(words, tokens, tokens, tokens), seed=1)
    trainer.stepper.start_averaging()
    trainer.best = Best(1.0, {key: weight.detach().clone() for key, weight in trainer.model.named_parameters()})
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder) / "run")
        for repeat in range(1, count + 1):
            started = time.perf_counter()
            if not checkpoints.save(trainer):
                raise MeasurementError(f"{folder}: a checkpoint of {name} could not be written")
            seconds = time.perf_counter() - started
            size = max(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))
            rows.append({"repeat": repeat, "seconds": seconds, "bytes": size})
    return rows


def render(frame: pd.DataFrame) -> str:
    """The page."""
    from awd.checkpoint import LEAST_SECONDS, SHARE

    swept = frame[frame["part"] == "sweep"].iloc[0]
    memory = frame[frame["part"] == "memory"]
    runs, mebi = int(swept["runs"]), 2**20
    # not of the report, which comes when all are done; a sweep of a few runs may be over before it was looked at
    steady = memory[memory["done"].between(0.25 * runs, runs - 1)]
    quarter, end = (steady if len(steady) else memory).iloc[[0, -1]].to_dict("records")
    growth = (end["bytes"] - quarter["bytes"]) / max(1, end["done"] - quarter["done"])
    saves = frame[frame["part"] == "save"]
    rows = []
    for name, times in saves.groupby("config", sort=False):
        seconds = times["seconds"].median()
        interval = max(LEAST_SECONDS, seconds / SHARE)
        rows.append(
            {
                "configuration": name,
                "MB": f"{times['bytes'].max() / 1e6:.1f}",
                "seconds a save": f"{seconds:.3f}",
                "lowest to highest": f"{times['seconds'].min():.3f} to {times['seconds'].max():.3f}",
                "saved every": f"{interval:.0f} s",
                "share of the time": f"{seconds / (interval + seconds):.2%}",
            }
        )
    table = pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)
    return (
        f"# What the runner adds: {runs} very short runs, one at a time\n\n"
        f"A run took {swept['seconds']:.3f} s, {swept['training']:.3f} s of them training and validation: the runner "
        f"adds {swept['seconds'] - swept['training']:.3f} s a run.\n\n"
        f"Memory of the parent: {quarter['bytes'] / mebi:.1f} MiB with {quarter['done']:.0f} runs done, "
        f"{end['bytes'] / mebi:.1f} MiB with {end['done']:.0f}: {growth / 1024:+.1f} KiB a run.\n\n"
        f"Checkpoints of a run with averages and best weights, and how often `--checkpoint-every auto` writes one:\n\n"
        f"{table}\n\nMedians. Regenerate with `python -m benchmarks.runner_cost --save`.\n"
    )


if __name__ == "__main__":
    run(app)
