"""Runs side by side, and how cost grows with size: ``python -m benchmarks.throughput --help``."""

from __future__ import annotations

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from typing import Annotated, Any, Protocol

import pandas as pd
import typer

from ablations.experiment.suite import load_suite
from ablations.storage.store import Store
from awd.device import resolve_device
from awd.errors import InputError
from benchmarks.command import MeasurementError, make_app, run, say, say_written
from benchmarks.configurations import CONFIGURATIONS, require_configuration
from benchmarks.gpu import GpuWatch
from benchmarks.options import EngineOption, PrecisionOption, ResultsOption, SaveOption, names
from benchmarks.processes import EngineProcess
from benchmarks.record import RESULTS, machine, write

PARTS = ("jobs", "tokens", "hidden", "variants")
CARRIERS = ("processes", "threads")
# of table5, those that train for as many epochs as the full model
VARIANTS = tuple(v.name for v in load_suite("table5").variants if not {"finetuning", "optimizer"} & v.overrides.keys())
# the smoke profile at sizes at which an epoch is mostly training
SIZES = {"model.embedding_size": 32, "model.hidden_size": 64, "corpus.train_tokens": 20_000}
OVERHEADS = ("overhead", "overhead with audit")
_RUN = Path(__file__).resolve().parent.parent / "run_ablations.py"

app = make_app("a process or a sweep failed")


class Run(Protocol):
    """What trains as it is asked to."""

    def ask(self, **order: Any) -> dict[str, Any]:
        """Do something, such as ``do="time", steps=3``, and answer."""


@dataclass(frozen=True)
class Computed:
    """By what training steps are computed, resolved: ``engine`` and ``precision``."""

    engine: str
    precision: str


@dataclass(frozen=True)
class Sweep:
    """One call of the real command line.

    Attributes:
        seconds: from its start to its end.
        training: seconds that its runs took, added up.
        epochs: one row per epoch, as stored.
    """

    seconds: float
    training: float
    epochs: pd.DataFrame


@app.command()
def suite(
    parts: Annotated[str, typer.Option("--parts", help=f"What to measure: some of {','.join(PARTS)}.")] = ",".join(
        PARTS
    ),
    carriers: Annotated[
        str, typer.Option("--carriers", help=f"What carries runs side by side: some of {','.join(CARRIERS)}.")
    ] = "processes",
    device: Annotated[str, typer.Option("--device", help="Of runs side by side: cpu, cuda or cuda:N.")] = "cpu",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Of runs side by side. Default: the configuration's.")
    ] = None,
    config: Annotated[
        str, typer.Option("--config", help=f"What runs side by side train: {', '.join(CONFIGURATIONS)}.")
    ] = "paper-ptb",
    engine: EngineOption = "auto",
    precision: PrecisionOption = "auto",
    jobs: Annotated[str, typer.Option("--jobs", help="Numbers of runs side by side; 1 is always among them.")] = "1,2",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Times that each number of runs is measured.")] = 5,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Shortest time of one measurement.")] = 8.0,
    tokens: Annotated[str, typer.Option("--tokens", help="Sizes of the training text.")] = "20000,40000,80000",
    hidden: Annotated[str, typer.Option("--hidden", help="Widths of the layers.")] = "64,128,256",
    variants: Annotated[
        str, typer.Option("--variants", help=f"Numbers of variants in a sweep, at most {len(VARIANTS)}.")
    ] = "1,2,4",
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Times that sweeps of variants are timed.")] = 2,
    save: SaveOption = False,
    results: ResultsOption = RESULTS,
) -> None:
    """Tokens a second of runs side by side; seconds of an epoch and of a sweep as text, layers and variants double.

    Side by side: a process and a thread each, or threads of one process (on a GPU with a stream each); all start at a
    barrier, and each goes on until the slowest has been measured. Rounds of one run and of several take turns. Sweeps:
    the real command line, one run at a time, the smoke profile made larger, in a folder thrown away.

    **Examples**

    * `python -m benchmarks.throughput --save` — all of it, some five minutes
    * `python -m benchmarks.throughput --parts jobs --jobs 1,2,4 --config demo` — only runs side by side
    * `python -m benchmarks.throughput --parts variants --variants 1,2` — only what the runner adds
    """
    chosen, carried = names("--parts", "part", parts, PARTS), names("--carriers", "carrier", carriers, CARRIERS)
    require_configuration(config)
    counts = sorted({1, *numbers("--jobs", jobs)})
    sizes = {"tokens": numbers("--tokens", tokens), "hidden": numbers("--hidden", hidden)}
    sweeps = numbers("--variants", variants, most=len(VARIANTS))
    device = resolve_device(device)
    about, computed = machine(), resolve(engine, precision, device)
    rows: list[dict[str, Any]] = []
    if "jobs" in chosen:
        batch = batch_size or CONFIGURATIONS[config].batch_size
        settings = {"config": config, "batch_size": batch, "threads": 1, "device": device}
        # threads last: what this process then holds of a GPU would be missing to the others
        for carrier in sorted(carried):
            rows += side_by_side(carrier, settings, computed, counts, rounds, seconds)
    for part, key in (("tokens", "corpus.train_tokens"), ("hidden", "model.hidden_size")):
        if part in chosen:
            rows += epochs_by_size(part, key, sizes[part], computed)
    if "variants" in chosen:
        rows += sweeps_by_size(sweeps, repeats, computed)
    frame = pd.DataFrame(rows).assign(
        config=config, engine=computed.engine, precision=computed.precision, device=device
    )
    page = render(frame)
    print(page, end="")
    if save:
        say_written(write("suite", frame, page, results, about))


def numbers(option: str, text: str, most: int = 10**9) -> list[int]:
    """``1,2,4`` as numbers, ascending.

    Raises:
        InputError: anything else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 1 <= int(part) <= most for part in parts):
        raise InputError(f"{option} {text!r}: expected numbers from 1 to {most}, such as 1,2")
    return sorted({int(part) for part in parts})


def resolve(engine: str, precision: str, device: str = "cpu") -> Computed:
    """What ``auto`` stands for on a device."""
    from awd.engine import make_engine

    made = make_engine(engine, precision, device)
    return Computed(made.name, made.precision)


def side_by_side(
    carrier: str, settings: dict[str, Any], computed: Computed, counts: Sequence[int], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Of each number of runs side by side in each round, a row each for ``jobs``, tokens a second added up, and, where
    it is known, for the share of time in which the GPU idled and for the memory in use there, in MiB."""
    chosen, device = CONFIGURATIONS[settings["config"]], settings["device"]
    tokens, rows = settings["batch_size"] * chosen.length, []
    with ExitStack() as stack:
        runs = _made(carrier, f"{computed.engine}-{computed.precision}", settings, max(counts), stack)
        for run in runs:
            run.ask(do="time", steps=1)  # memory is allocated and kernels are chosen in the first
        for number in range(1, rounds + 1):
            for count in counts if number % 2 else reversed(counts):
                with GpuWatch(device) as gpu:
                    total = sum(rates_together(runs[:count], chosen.steps_per_round, tokens, seconds))
                found = {"jobs": total, "idle share": gpu.idle, "MiB in use": gpu.memory_mib}
                common = {"carrier": carrier, "size": count, "repeat": number}
                rows += [{"part": part, **common, "value": value} for part, value in found.items() if value is not None]
                say(f"{carrier}, round {number}, {count} at a time: {total:.0f} tokens a second")
    return rows


def _made(carrier: str, name: str, settings: dict[str, Any], count: int, stack: ExitStack) -> Sequence[Run]:
    """Runs of one engine, ready to be asked."""
    if carrier == "processes":
        processes = [stack.enter_context(EngineProcess(name, settings)) for _ in range(count)]
        for process in processes:
            process.wait_until_ready()
        return processes
    from ablations.execution.worker import compute_on_one_thread
    from benchmarks.measured_process import MeasuredThread

    compute_on_one_thread()
    return [MeasuredThread(name, settings) for _ in range(count)]


def rates_together(processes: Sequence[Run], steps: int, tokens: int, seconds: float) -> list[float]:
    """Tokens a second of each run, all training at once.

    Args:
        processes: or threads, each with its model built.
        steps: between two looks at the clock.
        tokens: of a step.
        seconds: each is measured until the first look after so long.
    """
    rates: list[float | None] = [None] * len(processes)
    barrier = Barrier(len(processes))

    def work(index: int) -> None:
        try:
            barrier.wait()
            started, done = time.perf_counter(), 0
            while None in rates:  # on, until the slowest has its number, so that none is measured alone
                processes[index].ask(do="time", steps=steps)
                done += steps
                elapsed = time.perf_counter() - started
                if rates[index] is None and elapsed >= seconds:
                    rates[index] = done * tokens / elapsed
        finally:
            if rates[index] is None:
                rates[index] = math.nan  # it died: the others must not wait for it

    with ThreadPoolExecutor(len(processes)) as pool:
        list(pool.map(work, range(len(processes))))
    return [rate for rate in rates if rate is not None]


def epochs_by_size(part: str, key: str, sizes: Sequence[int], computed: Computed) -> list[dict[str, Any]]:
    """Median seconds of an epoch in a run of the full model, the first epoch left out, at each size of ``key``."""
    rows = []
    for size in sizes:
        found = sweep(VARIANTS[:1], {**SIZES, key: size}, computed, audit=False)
        epochs = found.epochs.iloc[1:]["seconds"]
        rows += [{"part": part, "size": size, "repeat": n, "value": value} for n, value in enumerate(epochs, 1)]
        say(f"{key}={size}: {epochs.median():.2f} s an epoch")
    return rows


def sweeps_by_size(sizes: Sequence[int], repeats: int, computed: Computed) -> list[dict[str, Any]]:
    """Seconds of whole sweeps of so many variants, and what of them is not training, without the audit and with."""
    rows = []
    for repeat in range(1, repeats + 1):
        for size in sizes:
            for audit in (False, True):
                found = sweep(VARIANTS[:size], SIZES, computed, audit=audit)
                suffix = " with audit" * audit
                common = {"size": size, "repeat": repeat}
                rows.append({"part": f"variants{suffix}", **common, "value": found.seconds})
                rows.append({"part": f"overhead{suffix}", **common, "value": found.seconds - found.training})
                say(f"{size} variants{suffix}: {found.seconds:.1f} s, {found.training:.1f} of them training")
    return rows


def sweep(variants: Sequence[str], settings: dict[str, int], computed: Computed, *, audit: bool) -> Sweep:
    """Run the command line in a new folder, one run at a time, with ``settings`` put into the smoke profile.

    Raises:
        MeasurementError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(_RUN), "run", "--profile", "smoke", "--variants", ",".join(variants)]
        command += ["--engine", computed.engine, "--precision", computed.precision, "--jobs", "1", "--device", "cpu"]
        command += ["--results", f"{folder}/results", "--reports", f"{folder}/reports"]
        command += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        started = time.perf_counter()
        done = subprocess.run([*command, *["--no-audit"] * (not audit)], capture_output=True, text=True, cwd=folder)
        seconds = time.perf_counter() - started
        if done.returncode:
            raise MeasurementError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        store = Store(Path(folder) / "results")
        return Sweep(seconds, store.runs()["seconds"].sum(), pd.read_parquet(store.epochs_folder))


def render(frame: pd.DataFrame) -> str:
    """The page: a table a part."""
    computed = f"{frame['engine'].iloc[0]} {frame['precision'].iloc[0]}"
    titles = {
        "tokens": "Training text, in tokens (its vocabulary grows with it): seconds of an epoch, validation included",
        "hidden": "Units of a layer: seconds of an epoch, validation included",
        "variants": "Variants, one run at a time: seconds of a sweep from start to report",
        "variants with audit": "The same, each configuration audited first, as by default",
    }
    parts = [f"# Runs side by side, and cost by size: {computed}\n"]
    if (frame["part"] == "jobs").any():
        parts.append(f"Runs of {frame['config'].iloc[0]} side by side, one thread each: tokens a second, added up\n")
        parts.append(_jobs_table(frame) + "\n")
        if frame["device"].eq("cpu").all():
            parts.append("Goal: two runs give at least 1.9 times one.\n")
    for part, title in titles.items():
        of_part = frame[frame["part"] == part]
        if len(of_part):
            parts.append(f"{title}\n\n{_growth_table(of_part)}\n")
    if (frame["part"] == "overhead").any():
        parts.append(_overhead(frame) + "\n")
    return "\n".join([*parts, "Medians. Regenerate with `python -m benchmarks.throughput --save`.\n"])


def _jobs_table(frame: pd.DataFrame) -> str:
    medians = frame.dropna(subset="carrier").groupby(["part", "carrier", "size"])["value"].median()
    rows = []
    for carrier, of_carrier in frame[frame["part"] == "jobs"].groupby("carrier"):
        rates = of_carrier.pivot(index="repeat", columns="size", values="value")
        ratios = rates.div(rates[1], axis=0)
        for count in rates.columns:
            idle, memory = (medians.get((part, carrier, count)) for part in ("idle share", "MiB in use"))
            on_gpu = {} if idle is None else {"GPU idle": f"{idle:.0%}", "MiB in use there": f"{memory:,.0f}"}
            rows.append(
                {
                    "runs": f"{count} in {carrier}",
                    "tokens a second": f"{rates[count].median():.0f}",
                    "lowest to highest": f"{rates[count].min():.0f} to {rates[count].max():.0f}",
                    "times one run": f"{ratios[count].median():.2f}",
                    "lowest to highest of a round": f"{ratios[count].min():.2f} to {ratios[count].max():.2f}",
                    **on_gpu,
                }
            )
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _growth_table(frame: pd.DataFrame) -> str:
    times = frame.groupby("size")["value"].median()
    ratios = (times / times.shift()).map("{:.2f}".format).replace("nan", "–")
    shown = pd.DataFrame({"size": times.index, "seconds": times.map("{:.2f}".format), "times the row above": ratios})
    return shown.to_markdown(index=False, disable_numparse=True)


def _overhead(frame: pd.DataFrame) -> str:
    """What of a sweep is not training, split into a part for the sweep and a part for each run."""
    plain, audited = ((frame[frame["part"] == part].groupby("size")["value"].median()) for part in OVERHEADS)
    least, most = plain.index.min(), plain.index.max()
    if least == most:
        return f"Of a sweep of {most}, {plain[most]:.2f} s are not training; with the audit {audited[most]:.2f} s."
    a_run, a_run_audited = ((times[most] - times[least]) / (most - least) for times in (plain, audited))
    return (
        f"Not training, from the sweeps of {least} and of {most}: {plain[least] - least * a_run:.2f} s to start,\n"
        f"report and end a sweep, and {a_run:.2f} s a run; the audit adds {a_run_audited - a_run:.2f} s a variant."
    )


if __name__ == "__main__":
    run(app)
