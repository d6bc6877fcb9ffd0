"""The paper's model on one GPU, one run and several sharing it: ``python -m benchmarks.gpu --help``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import pandas as pd
import typer

from ablations.experiment.plan import Corpus, make_plan
from ablations.experiment.profile import load_profile
from ablations.experiment.suite import load_suite
from awd.device import resolve_device, use_exact_float32
from awd.errors import InputError
from benchmarks.command import MeasurementError, make_app, run, say
from benchmarks.configurations import CONFIGURATIONS
from benchmarks.epoch import SPLITS
from benchmarks.processes import EngineProcess
from benchmarks.record import RESULTS, machine, write
from benchmarks.throughput import numbers, rates_together

# configuration -> the data set it is the paper's model for
DATASETS = {"paper-ptb": "ptb", "paper-wt2": "wikitext-2"}
_STEPS = 10  # between two looks at the clock: each waits for the GPU
_PROFILED = 20

app = make_app("a process failed")


@dataclass(frozen=True)
class Work:
    """What all runs of Table 5 on one data set have to do.

    Attributes:
        runs: number of configurations.
        epochs: of all of them, fine-tuning at its longest.
        trained: tokens trained on.
        validated: tokens of the validations.
    """

    runs: int
    epochs: int
    trained: int
    validated: int


@app.command()
def gpu(
    device: Annotated[str, typer.Option("--device", help="cuda or cuda:N.")] = "cuda",
    engine: Annotated[Literal["torch", "fast"], typer.Option("--engine", help="As run_ablations.py's.")] = "fast",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option("--precision", help="As run_ablations.py's.")
    ] = "auto",
    jobs: Annotated[str, typer.Option("--jobs", help="Numbers of processes that share the GPU.")] = "1,2,4,8",
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Times that each number is measured.")] = 3,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Shortest time of one measurement.")] = 5.0,
    save: Annotated[bool, typer.Option("--save", help="Write it to --results too.")] = False,
    results: Annotated[Path, typer.Option("--results", help="Folder for --save.")] = RESULTS,
) -> None:
    """Measure tokens a second at paper size, how long the GPU idles, and what the whole of Table 5 would take.

    At the paper's batches (40 on Penn Treebank, 80 on WikiText-2), for every number of processes sharing the
    GPU; all start at a barrier, and each goes on until the slowest has been measured. The GPU idles for what of a step
    its kernels, told by torch's profiler, do not fill; the step is timed without the profiler.

    **Examples**

    * `python -m benchmarks.gpu --save` — some minutes
    * `python -m benchmarks.gpu --jobs 1,2 --precision fp32`
    """
    counts = numbers("--jobs", jobs)
    resolved = resolve_gpu(device)
    import torch

    from awd.engine import make_engine

    use_exact_float32()
    computed = make_engine(engine, precision, resolved)
    program = f"{computed.name}-{computed.precision}"
    about = {**machine(), "gpu": torch.cuda.get_device_name(resolved), "cuda_version": torch.version.cuda}
    rows: list[dict[str, Any]] = []
    for config in DATASETS:
        settings = {"config": config, "batch_size": paper_batch(config), "threads": 1, "device": resolved}
        # processes first: what this process then holds of the GPU would be missing to them
        rows += shared(program, settings, counts, rounds, seconds)
        rows += alone(program, settings)
    frame = pd.DataFrame(rows).assign(program=program, device=about["gpu"])
    page = render(frame)
    print(page, end="")
    if save:
        say(f"written: {', '.join(map(str, write('gpu', frame, page, results, about)))}")


def resolve_gpu(name: str) -> str:
    """A CUDA device.

    Raises:
        InputError: there is none, or it is not one.
    """
    import torch

    if not name.startswith("cuda"):
        raise InputError(f"--device {name!r}: expected cuda or cuda:N: this benchmark measures a GPU")
    if not torch.cuda.is_available():
        raise InputError(
            f"no GPU: this PyTorch ({torch.__version__}) finds no CUDA device; benchmarks.step and "
            "benchmarks.throughput measure a CPU"
        )
    return resolve_device(name)


def paper_batch(config: str) -> int:
    """Sequences of a minibatch in the paper's own protocol."""
    profile = load_profile("paper")
    of_dataset = profile.per_dataset.get(DATASETS[config], {})
    return {**profile.config["training"], **of_dataset.get("training", {})}["batch_size"]


def shared(
    program: str, settings: dict[str, Any], counts: Sequence[int], rounds: int, seconds: float
) -> list[dict[str, Any]]:
    """Tokens a second added up over processes that share the GPU, and the most memory that one of them allocates."""
    config, rows = settings["config"], []
    tokens = settings["batch_size"] * CONFIGURATIONS[config].length
    with ExitStack() as stack:
        processes = [stack.enter_context(EngineProcess(program, settings)) for _ in range(max(counts))]
        for process in processes:
            process.wait_until_ready()
            answer = process.ask(do="time", steps=_STEPS)
        rows.append(row(config, "MiB of a run", 1, 1, answer["peak_mib"]))
        for number in range(1, rounds + 1):
            for count in counts if number % 2 else reversed(counts):
                total = sum(rates_together(processes[:count], _STEPS, tokens, seconds))
                rows.append(row(config, "tokens a second", count, number, total))
                say(f"{config}, round {number}, {count} at a time: {total:.0f} tokens a second")
    return rows


def row(config: str, what: str, size: int, repeat: int, value: float) -> dict[str, Any]:
    """One measured value; ``size`` is the number of processes."""
    return {"config": config, "what": what, "size": size, "repeat": repeat, "value": value}


def alone(program: str, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Of one run alone: the share of a step in which the GPU idles, and seconds of a validation."""
    import torch

    from awd.evaluation import evaluate
    from awd.trainer import Trainer
    from benchmarks.measured_process import Worker

    config = settings["config"]
    worker = Worker(CONFIGURATIONS[config], program, settings["batch_size"], settings["device"])
    worker.time(_STEPS)
    seconds = worker.time(_PROFILED)["seconds"]
    busy = kernel_seconds(worker) / _PROFILED
    rows = [row(config, "idle share", 1, 1, 1 - busy / seconds)]
    training = worker.training
    assert isinstance(training, Trainer)
    batches = torch.randint(CONFIGURATIONS[config].vocabulary_size, (SPLITS[config][1] // 10, 10))
    batches = batches.to(worker.device)
    for repeat in (0, 1):  # the first is not counted
        started = time.perf_counter()
        evaluate(training.model, batches)
        rows += [row(config, "seconds of a validation", 1, repeat, time.perf_counter() - started)] * repeat
    say(f"{config}: {seconds:.4f} s a step, {busy:.4f} of it kernels; validation {rows[-1]['value']:.2f} s")
    return rows


def kernel_seconds(worker: Any) -> float:
    """Seconds in which some kernel or copy ran on the GPU during a number of steps."""
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        worker.time(_PROFILED)
    events = [event for event in profiler.events() if event.device_type.name == "CUDA"]
    if not events:
        raise MeasurementError("torch's profiler saw no kernel on the GPU: is CUPTI allowed to measure here?")
    # an annotation's row on the GPU spans what it encloses, gaps included
    kernels = [event.time_range for event in events if not event.is_user_annotation]
    return covered((kernel.start, kernel.end) for kernel in kernels) / 1e6


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals: kernels of several streams overlap."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def table5_work(config: str) -> Work:
    """What the paper profile trains for Table 5 on the data set of ``config``; nothing is loaded."""
    name = DATASETS[config]
    specs = make_plan(load_suite("table5"), load_profile("paper"), [Corpus(name, name, "")])
    epochs = sum(spec.config.most_epochs for spec in specs)
    train, valid = SPLITS[config]
    return Work(len(specs), epochs, epochs * train, epochs * valid)


def hours(work: Work, rate: float, validation: float) -> float:
    """Hours of GPU that ``work`` takes.

    Args:
        rate: tokens a second, of all runs at a time together.
        validation: seconds of one alone on the GPU; what validations would gain side by side is left out.
    """
    return (work.trained / rate + work.epochs * validation) / 3600


def render(frame: pd.DataFrame) -> str:
    """The page."""
    medians = frame.groupby(["config", "what", "size"])["value"].median()
    idle = "; ".join(f"{config} {medians[config, 'idle share', 1]:.0%}" for config in DATASETS)
    work = {config: table5_work(config) for config in DATASETS}
    told = "; ".join(f"{DATASETS[config]} {one.runs} runs, {one.epochs:,} epochs" for config, one in work.items())
    return f"""# The paper's model on one GPU: {frame["program"].iloc[0]}, {frame["device"].iloc[0]}

{_shared_table(frame, medians)}

Medians; beside them the lowest and highest of a round. The GPU idles, one run alone, for this share of a step: {idle}.

The whole of Table 5 ({told}, fine-tuning at its longest), in hours:

{_hours_table(medians, work)}

Extrapolated from training at the full model's speed, which the row with full sized embeddings does not reach, and from
one validation alone on the GPU. Regenerate with `python -m benchmarks.gpu --save`.
"""


def _shared_table(frame: pd.DataFrame, medians: pd.Series[float]) -> str:
    rows = []
    for config in DATASETS:
        of_config = frame[(frame["config"] == config) & (frame["what"] == "tokens a second")]
        rates = of_config.pivot(index="repeat", columns="size", values="value")
        ratios = rates.div(rates[rates.columns.min()], axis=0)
        for count in rates.columns:
            rows.append(
                {
                    "configuration": config,
                    "batch": paper_batch(config),
                    "runs": count,
                    "tokens a second": f"{rates[count].median():,.0f}",
                    "times the fewest": f"{ratios[count].median():.2f}",
                    "of a round": f"{ratios[count].min():.2f} to {ratios[count].max():.2f}",
                    "MiB allocated by a run": f"{medians[config, 'MiB of a run', 1]:,.0f}",
                }
            )
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _hours_table(medians: pd.Series[float], work: dict[str, Work]) -> str:
    counts = sorted({size for _, what, size in medians.index if what == "tokens a second"})
    rows = []
    for count in counts:
        needed = {
            DATASETS[config]: hours(
                one, medians[config, "tokens a second", count], medians[config, "seconds of a validation", 1]
            )
            for config, one in work.items()
        }
        texts = {name: f"{value:,.0f}" for name, value in needed.items()}
        rows.append({"runs at a time": count, **texts, "both": f"{sum(needed.values()):,.0f}"})
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def main() -> NoReturn:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
