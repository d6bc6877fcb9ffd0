"""Time and memory of one training step, by engine: ``python -m benchmarks.step --help``."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from ablations.terminal import bars
from awd.device import resolve_device
from awd.errors import InputError
from benchmarks.command import WIDE, MeasurementError, make_app, run, say_written, stderr
from benchmarks.configurations import CONFIGURATIONS, ENGINES, require_configuration
from benchmarks.options import DeviceOption, ResultsOption, SaveOption, names
from benchmarks.processes import EngineProcess
from benchmarks.record import RESULTS, machine, write
from benchmarks.tables import operations_frame, operations_page, summary, terminal_table, timings_frame, timings_page

app = make_app("the process of an engine failed")


def _positive(text: str) -> int:
    # the library's own message would not say what was given
    if not re.fullmatch(r"0*[1-9]\d{0,8}", str(text)):
        raise typer.BadParameter(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _number(name: str, told: str) -> Any:
    return typer.Option(name, parser=_positive, metavar="N", help=told)


@app.command()
def step(
    config: Annotated[str, typer.Option("--config", help=f"What is trained: {', '.join(CONFIGURATIONS)}.")] = "small",
    batch_size: Annotated[
        int | None, _number("--batch-size", "Sequences. Default: the configuration's: 20, demo's 10.")
    ] = None,
    threads: Annotated[int, _number("--threads", "Threads of each process.")] = 1,
    rounds: Annotated[int, _number("--rounds", "Times that each engine is timed.")] = 5,
    steps: Annotated[
        int | None, _number("--steps-per-round", "Steps between two looks at the clock. Default: 1 for paper-*.")
    ] = None,
    engines: Annotated[str, typer.Option("--engines", help="Only these, separated by commas.")] = ",".join(ENGINES),
    device: DeviceOption = "cpu",
    profile: Annotated[
        str | None, typer.Option("--profile", help="Instead of timing: what one step of this engine spends time on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and no table.")] = False,
    save: SaveOption = False,
    results: ResultsOption = RESULTS,
) -> None:
    """Time one training step: masks, forward, loss, backward, clipping, the optimizer's step.

    A process for each engine lives through all rounds and only one works at a time; the order rotates from round to
    round, and each engine first takes a step that is not timed. Text is random, words as frequent as Zipf's law
    says, and every window is as long as the next, so that nothing but the engine differs. Times are medians over
    rounds. Memory is the peak of the whole process, PyTorch itself included; on a GPU, of what PyTorch allocated there.

    **Examples**

    * `python -m benchmarks.step --config paper-ptb --batch-size 20 --threads 1 --save` — minutes on one core
    * `python -m benchmarks.step --config demo --engines torch-fp32,fast-fp32 --json` — seconds
    * `python -m benchmarks.step --config paper-ptb --profile fast-bf16` — where its time goes
    """
    settings = _settings(config, batch_size, threads, device)
    about = machine()
    if profile is not None:
        if as_json:
            raise InputError("--json: --profile prints a table in markdown; leave one of the two out")
        frame, page = _profile(names("--profile", "engine", profile, ENGINES)[0], settings)
        if save:
            say_written(write(_file_name(f"profile-{profile}", settings), frame, page, results, about))
        print(page, end="")
        return
    chosen = names("--engines", "engine", engines, ENGINES)
    result = {**settings, **_measure(chosen, settings, rounds, steps), "machine": about}
    if save:
        name, frame, page = _file_name("step", settings), timings_frame(result), timings_page(result)
        say_written(write(name, frame, page, results, about))
    if as_json:
        print(json.dumps(result))
    else:
        Console(width=None if sys.stdout.isatty() else WIDE).print(terminal_table(result), highlight=False)


def main() -> NoReturn:
    """Run the command line."""
    run(app)


def _settings(config: str, batch_size: int | None, threads: int, device: str) -> dict[str, Any]:
    require_configuration(config)
    return {
        "config": config,
        "device": resolve_device(device),
        "batch_size": batch_size or CONFIGURATIONS[config].batch_size,
        "length": CONFIGURATIONS[config].length,
        "threads": threads,
    }


def _measure(engines: Sequence[str], settings: dict[str, Any], rounds: int, steps: int | None) -> dict[str, Any]:
    steps = steps or CONFIGURATIONS[settings["config"]].steps_per_round
    with ExitStack() as stack:
        bar = stack.enter_context(bars(stderr, transient=True))
        task = bar.add_task("starting", total=len(engines) * (rounds + 1))
        workers = [stack.enter_context(EngineProcess(engine, settings)) for engine in engines]
        ready = [worker.wait_until_ready() for worker in workers]
        for worker in workers:
            worker.ask(do="time", steps=1)  # memory is allocated and kernels are chosen in the first
            bar.advance(task)
        answers = _rounds(workers, rounds, steps, lambda engine: bar.update(task, advance=1, description=engine))
    seconds = {engine: [answer["seconds"] for answer in answers[engine]] for engine in engines}
    return {
        "rounds": rounds,
        "steps_per_round": steps,
        **summary(seconds, settings["batch_size"] * settings["length"]),
        "peak_mib": {engine: answers[engine][-1]["peak_mib"] for engine in engines},
        "peak_of": ready[0]["peak_of"],
        "loss": {engine: answers[engine][-1]["loss"] for engine in engines},
        "bf16_in_hardware": ready[0]["bf16_in_hardware"],
    }


def _rounds(
    workers: Sequence[EngineProcess], rounds: int, steps: int, on_engine: Callable[[str], None]
) -> dict[str, list[dict[str, Any]]]:
    """The answers of each engine, one a round; who comes first rotates."""
    answers: dict[str, list[dict[str, Any]]] = {worker.engine: [] for worker in workers}
    for number in range(rounds):
        first = number % len(workers)
        for worker in [*workers[first:], *workers[:first]]:
            answer = worker.ask(do="time", steps=steps)
            if not math.isfinite(answer["loss"]):
                raise MeasurementError(f"{worker.engine}: its loss is {answer['loss']}: its times would say nothing")
            answers[worker.engine].append(answer)
            on_engine(worker.engine)
    return answers


def _profile(engine: str, settings: dict[str, Any]) -> tuple[Any, str]:
    """The operations of one step, as frame and page."""
    with EngineProcess(engine, settings) as worker:
        worker.wait_until_ready()
        worker.ask(do="time", steps=1)
        operations = worker.ask(do="profile")["operations"]
    frame = operations_frame(engine, settings, operations)
    return frame, operations_page(frame)


def _file_name(kind: str, settings: dict[str, Any]) -> str:
    suffix = "" if settings["device"] == "cpu" else "-cuda"
    return f"{kind}-{settings['config']}-b{settings['batch_size']}-t{settings['threads']}{suffix}"


if __name__ == "__main__":
    main()
