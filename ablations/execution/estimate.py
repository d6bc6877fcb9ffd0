"""How long runs will take here: steps and evaluations of the real trainer, timed on random words.

What words are changes no time, so no corpus is needed; nothing is written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean

import psutil
import torch
from rich.console import Console
from rich.progress import track

from ablations.execution.job import RunOptions
from ablations.execution.sizes import Size
from ablations.execution.worker import compute_on_one_thread, is_out_of_memory
from ablations.experiment.plan import RunSpec
from awd.config import Config, OptimizerConfig
from awd.corpus.batching import batch_key, count_rows
from awd.corpus.text import SPLITS, Encoded
from awd.engine import make_engine
from awd.errors import InputError
from awd.evaluation import evaluate
from awd.streams import Streams
from awd.trainer import Trainer
from awd.windows import Window, windows

_SECONDS = 0.5  # after which what is timed is not called again
_GLANCE = 0.05  # the same where all that is wanted is about how long it takes
_PATIENCE = 2.0  # seconds of a first call after which there is no second
_FEW_SECONDS = 1e10  # of parameters times tokens: over before it is worth to be timed
_EVALUATED_ROWS = 200  # at most
_BYTES = 3 * 4  # of a parameter: weight, gradient and average, in float32


@dataclass(frozen=True)
class Estimate:
    """What a run takes on this machine when nothing else runs there.

    Attributes:
        seconds_a_step: of a training step of the mean window length.
        seconds_an_epoch: of all its steps and the validation.
        seconds: of all epochs it may have, and the test.
    """

    seconds_a_step: float
    seconds_an_epoch: float
    seconds: float


def estimate(
    specs: Sequence[RunSpec],
    sizes: Mapping[str, Size],
    device: str,
    console: Console,
    budget: float = _SECONDS,
) -> dict[str, Estimate]:
    """Time each distinct cost among the runs, on one thread, and scale it to each run.

    Args:
        specs: the runs.
        sizes: of each run, by its id.
        device: a torch device, resolved.
        console: for a bar, drawn if it is a terminal.
        budget: seconds after which what is timed is not called again.

    Returns:
        The estimates by run id.

    Raises:
        CorpusError: a split is too short for its batch.
        InputError: a run does not fit into memory; names its variant.
    """
    costs = {spec.run_id: (_timed_config(spec.config), spec.source, spec.engine, spec.precision) for spec in specs}
    first = {costs[spec.run_id]: spec for spec in reversed(specs)}
    bar = track(first.items(), "timing steps", console=console, transient=True, disable=not console.is_terminal)
    with _as_in_a_worker():
        timed = {cost: _fitting_times(spec, sizes[spec.run_id], device, budget) for cost, spec in bar}

    def scaled(spec: RunSpec) -> Estimate:
        step, epoch, end = timed[costs[spec.run_id]]
        return Estimate(step, epoch, spec.config.most_epochs * epoch + end)

    return {spec.run_id: scaled(spec) for spec in specs}


def needed(estimates: Mapping[str, Estimate], at_once: int) -> float:
    """Seconds that runs take so many at a time: the longest has its own time, however many that are."""
    seconds = [one.seconds for one in estimates.values()]
    return max(sum(seconds) / at_once, *seconds)


def about(specs: Sequence[RunSpec], sizes: Mapping[str, Size], options: RunOptions, console: Console) -> str:
    """``about 12 minutes``, from a glance at each distinct cost; empty where it is seconds, or cannot be known here."""
    taken = [sizes[spec.run_id] for spec in specs]
    work = sum(size.parameters * size.tokens * size.most_epochs for size in taken)
    # what is timed on a GPU would stay in its memory, beside the runs
    if work < _FEW_SECONDS or options.gpus or options.device != "cpu" or options.backend == "dask":
        return ""
    try:
        minutes = needed(estimate(specs, sizes, options.device, console, _GLANCE), options.at_once) / 60
    except InputError:  # one that does not fit fails by itself, and the others are trained
        return ""
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes:.0f} minutes" if minutes < 100 else f"about {minutes / 60:,.0f} hours"


def _timed_config(config: Config) -> Config:
    """With averaging, as most steps have it, and every regularizer; each is a few percent of a step."""
    optimizer = OptimizerConfig(method="adam" if config.optimizer.method == "adam" else "asgd", average_from=0)
    return Config(
        config.model, windows=config.windows, optimizer=optimizer, training=config.training, corpus=config.corpus
    )


@contextmanager
def _as_in_a_worker() -> Iterator[None]:
    """Compute as runs are computed, and leave threads and torch's global generator as they were."""
    threads = torch.get_num_threads()
    compute_on_one_thread()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)


def _fitting_times(spec: RunSpec, size: Size, device: str, budget: float) -> tuple[float, float, float]:
    on_gpu, least = device.startswith("cuda"), _BYTES * size.parameters
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else psutil.virtual_memory().available
    try:
        # before anything is allocated: a system may kill who asks for too much, rather than refuse it
        if least > free:
            raise MemoryError(f"at least {least / 2**30:,.1f} GiB are needed, {free / 2**30:,.1f} are free")
        return _times(spec, size, device, budget)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        why = str(error).partition("\n")[0] or "out of memory"
        raise InputError(
            f"{spec.dataset} {spec.variant}: does not fit into the memory of {device} ({why}); try a smaller "
            f"training.batch_size or model"
        ) from None


def _times(spec: RunSpec, size: Size, device: str, budget: float) -> tuple[float, float, float]:
    """Seconds of a step, of an epoch, and of what comes after the last epoch."""
    config = _timed_config(spec.config)
    columns = {split: getattr(config.training, batch_key(split)) for split in SPLITS}
    rows = {split: count_rows(size.usage.tokens[split], columns[split], split) for split in SPLITS}
    steps = sum(1 for _ in windows(rows["train"], config.windows, Streams(spec.seed)["window lengths"]))
    window = Window(0, round((rows["train"] - 1) / steps), rate_scale=1.0)
    kept = {split: min(rows[split], _EVALUATED_ROWS) for split in SPLITS} | {"train": window.length + 1}
    words = {split: torch.randint(size.usage.vocabulary, (kept[split] * columns[split],)).tolist() for split in SPLITS}
    corpus, engine = Encoded([""] * size.usage.vocabulary, **words), make_engine(spec.engine, spec.precision, device)
    trainer = Trainer(config, corpus, spec.seed, device=device, engine=engine)

    def evaluation(batches: torch.Tensor, rows: int) -> float:
        seconds = _seconds(lambda: evaluate(trainer.model, batches), device, budget)
        return seconds * (rows - 1) / (len(batches) - 1)

    step = _seconds(lambda: trainer.step(window), device, budget)
    whole = evaluation(trainer.valid_data, rows["valid"])
    beginning = config.corpus.valid_tokens or math.inf  # on which an epoch is validated
    share = min(1.0, beginning / size.usage.tokens["valid"])
    end = evaluation(trainer.test_data, rows["test"]) + (whole if share < 1 else 0.0)
    return step, steps * step + share * whole, end


def _seconds(call: Callable[[], object], device: str, budget: float) -> float:
    """Mean seconds of a call, without the first, in which memory is allocated: it may take twenty times as long."""

    def once() -> float:
        started = time.perf_counter()
        call()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    first = once()
    seconds: list[float] = []
    while first + sum(seconds) < (budget if seconds else _PATIENCE):
        seconds.append(once())
    return fmean(seconds or [first])
