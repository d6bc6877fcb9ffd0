"""How long runs will take here, from a few timed steps of the real trainer on random words.

What words are changes no time, so no corpus is needed; nothing is written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from statistics import fmean

import psutil
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ablations.execution.sizes import Size
from ablations.experiment.plan import RunSpec
from awd.config import Config, ModelConfig, TrainingConfig, WindowConfig
from awd.corpus.batching import batch_key, count_rows, predicted_tokens
from awd.corpus.text import SPLITS, Encoded
from awd.device import keep_freed_memory, use_exact_float32
from awd.engine import make_engine
from awd.errors import DivergedError, InputError
from awd.evaluation import evaluate
from awd.model import AWDLSTM
from awd.trainer import TRAIN, Trainer
from awd.windows import draw_length

_FEWEST_STEPS, _MOST_STEPS = 2, 20  # timed, after one to warm up
_SECONDS = 2.0  # of timed steps
_PATIENCE = 5.0  # seconds, with the one to warm up: after them no other step is begun, however few there were
_STEP_SECONDS = 1.5  # of a timed step, about; where one of a whole window would take longer, the window is cut
_SHORTEST_WINDOW = 4  # rows, however long that takes
_TRAINING_TO_EVALUATION = 3  # seconds of a token, roughly
_EVALUATION_SECONDS = 0.5
_EVALUATION_TOKENS = 20_000  # at most
_DRAWN_LENGTHS = 1_000
_NO_END = 10**9  # epochs: the text of a timing may be short


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


@dataclass(frozen=True)
class _Cost:
    """What times depend on; runs that agree in it share a timing.

    How window lengths vary is left out, as a step is timed by its rows; so are the regularizers, each a few percent
    of a step.
    """

    vocabulary: int
    model: ModelConfig
    window_length: int
    adam: bool
    training: TrainingConfig
    rows: tuple[int, ...]
    engine: str
    precision: str


@dataclass(frozen=True)
class _Pace:
    """Seconds of a training step: some whatever its length, and some for each ``row`` of its window. Seconds of a
    token in validation and in the test."""

    fixed: float
    row: float
    valid: float
    test: float


def estimate(specs: Sequence[RunSpec], sizes: Mapping[str, Size], device: str, console: Console) -> dict[str, Estimate]:
    """Time each distinct cost among the runs, on one thread, and scale it to each run.

    Steps are timed with averaging, as most are: nt-asgd's once it has fired, and all of fine-tuning. Those that average
    nothing are so estimated too long, by a percent for the paper's model and up to a tenth for very small ones.

    Args:
        specs: the runs.
        sizes: of each run, by its id.
        device: a torch device, resolved.
        console: for a bar, drawn if it is a terminal.

    Returns:
        The estimates by run id.

    Raises:
        CorpusError: a split is too short for its batch.
        InputError: a run does not fit into memory; names its variant.
    """
    costs = {spec.run_id: _cost(spec, sizes[spec.run_id]) for spec in specs}
    first: dict[_Cost, RunSpec] = {}
    for spec in specs:
        first.setdefault(costs[spec.run_id], spec)
    paces: dict[_Cost, _Pace] = {}
    columns = (TextColumn("timing steps"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn())
    description = TextColumn("{task.description}", markup=False)
    bars = Progress(*columns, description, console=console, transient=True, disable=not console.is_terminal)
    with _as_in_a_worker(device), bars:
        task = bars.add_task("", total=len(first))
        for cost, spec in first.items():
            bars.update(task, description=f"{spec.dataset} {spec.variant}")
            paces[cost] = _fitting_pace(spec, cost, sizes[spec.run_id], device)
            bars.advance(task)
    return {spec.run_id: _scaled(spec, sizes[spec.run_id], paces[costs[spec.run_id]]) for spec in specs}


def _cost(spec: RunSpec, size: Size) -> _Cost:
    """The key of a run; its rows are those of the text that is timed, as many as the run's or as are enough."""
    config = spec.config
    enough = (1 + _MOST_STEPS) * max(config.windows.length, config.windows.minimum) + 1
    rows = []
    for split in SPLITS:
        columns = getattr(config.training, batch_key(split))
        most = enough if split == "train" else max(2, _EVALUATION_TOKENS // columns)
        rows.append(min(most, count_rows(size.usage.tokens[split], columns, split)))
    return _Cost(
        vocabulary=size.usage.vocabulary,
        model=config.model,
        window_length=config.windows.length,
        adam=config.optimizer.method == "adam",
        training=replace(config.training, epochs=_NO_END),
        rows=tuple(rows),
        engine=spec.engine,
        precision=spec.precision,
    )


def _scaled(spec: RunSpec, size: Size, pace: _Pace) -> Estimate:
    training = spec.config.training
    rows = size.tokens // training.batch_size  # predicted, in an epoch
    length = min(rows, _mean_length(spec.config.windows))
    step = pace.fixed + length * pace.row
    whole, beginning = size.usage.tokens["valid"], spec.config.corpus.valid_tokens or size.usage.tokens["valid"]
    validation, last = (
        predicted_tokens(min(whole, tokens), training.valid_batch_size) * pace.valid for tokens in (beginning, whole)
    )
    epoch = rows / length * step + validation
    test = predicted_tokens(size.usage.tokens["test"], training.test_batch_size) * pace.test
    end = test + (last if beginning < whole else 0.0)
    return Estimate(step, epoch, size.most_epochs * epoch + end)


def _mean_length(config: WindowConfig) -> float:
    generator = torch.Generator().manual_seed(1)
    return fmean(draw_length(config, generator) for _ in range(_DRAWN_LENGTHS))


@contextmanager
def _as_in_a_worker(device: str) -> Iterator[None]:
    """Compute as runs are computed, and leave threads and torch's global generators as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    use_exact_float32()
    keep_freed_memory()
    try:
        with torch.random.fork_rng([device] if device.startswith("cuda") else []):
            yield
    finally:
        torch.set_num_threads(threads)


def _fitting_pace(spec: RunSpec, cost: _Cost, size: Size, device: str) -> _Pace:
    """The pace of a run, or one error if it needs more memory than there is."""
    # before anything is allocated: a system may kill who asks for too much, rather than refuse it
    least, free = _least_bytes(cost, size), _free_bytes(device)
    if least > free:
        raise _too_big(spec, device, f"at least {least / 2**30:,.1f} GiB are needed, {free / 2**30:,.1f} are free")
    try:
        return _pace(spec, cost, device)
    except (MemoryError, RuntimeError) as error:
        text = str(error).partition("\n")[0]
        refused = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in text
        if not refused:
            raise
        raise _too_big(spec, device, text or "out of memory") from None


def _too_big(spec: RunSpec, device: str, why: str) -> InputError:
    return InputError(
        f"{spec.dataset} {spec.variant}: does not fit into the memory of {device} ({why}); try a smaller "
        f"training.batch_size or model"
    )


def _least_bytes(cost: _Cost, size: Size) -> int:
    """Of weights and gradients, their average or Adam's two moments, and the logits where they are kept whole."""
    numbers = size.parameters * (4 if cost.adam else 3)
    if cost.engine == "torch":
        tokens = min(cost.window_length, cost.rows[0] - 1) * cost.training.batch_size
        numbers += 2 * tokens * cost.vocabulary
    return 4 * numbers


def _free_bytes(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    return int(psutil.virtual_memory().available)


def _pace(spec: RunSpec, cost: _Cost, device: str) -> _Pace:
    watch = _Stopwatch()
    trainer = Trainer(
        _timed_config(spec.config),
        _random_corpus(cost),
        spec.seed,
        device=device,
        engine=make_engine(spec.engine, spec.precision, device),
        may_stop=watch,
    )
    # first, as it warms up what is not the steps' own
    valid, test = (_seconds_a_token(trainer.model, data) for data in (trainer.valid_data, trainer.test_data))
    trainer.epoch_data = trainer.valid_data[:2]  # a short text ends, is validated, and begins again
    affordable = _STEP_SECONDS / (_TRAINING_TO_EVALUATION * valid * cost.training.batch_size)
    wanted = max(_SHORTEST_WINDOW, min(affordable, _mean_length(spec.config.windows)))
    length = min(round(wanted), cost.rows[0] - 1)
    one, all_rows = watch.seconds_a_step(trainer, 1), watch.seconds_a_step(trainer, length)
    # by chance, or where it is the longest, a window of one row may take as long as any
    row = min(max(0.0, all_rows - one) / max(1, length - 1), all_rows / length)
    return _Pace(all_rows - row * length, row, valid, test)


def _timed_config(config: Config) -> Config:
    optimizer = config.optimizer
    if optimizer.method != "adam":  # whose own state costs more than an average
        optimizer = replace(optimizer, method="asgd", average_from=0)
    return replace(config, optimizer=optimizer, training=replace(config.training, epochs=_NO_END))


def _random_corpus(cost: _Cost) -> Encoded:
    generator = torch.Generator().manual_seed(1)
    splits = []
    for split, rows in zip(SPLITS, cost.rows, strict=True):
        tokens = rows * getattr(cost.training, batch_key(split))
        splits.append(torch.randint(cost.vocabulary, (tokens,), generator=generator).tolist())
    return Encoded([""] * cost.vocabulary, *splits)


def _seconds_a_token(model: AWDLSTM, batches: torch.Tensor) -> float:
    """Seconds of a predicted token in evaluation, on as much text as takes long enough."""
    evaluate(model, batches[:2])
    rows = 2
    while True:
        started = time.perf_counter()
        evaluate(model, batches[:rows])
        seconds = time.perf_counter() - started
        if seconds >= _EVALUATION_SECONDS or rows >= len(batches):
            return seconds / ((min(rows, len(batches)) - 1) * batches.shape[1])
        rows *= 2


class _EnoughError(Exception):
    """Ends a run of which enough was timed."""


class _Stopwatch:
    """Times a trainer's steps as its ``may_stop``."""

    def seconds_a_step(self, trainer: Trainer, length: int) -> float:
        """Begin a run with windows of ``length`` rows and follow it until enough is known."""
        windows = replace(trainer.config.windows, length=length, variable=False)
        trainer.config = replace(trainer.config, windows=windows)
        trainer.enter(TRAIN)
        self.trainer, self.length, self.steps = trainer, length, list[float]()
        self.began = self.last = time.perf_counter()
        with suppress(_EnoughError, DivergedError):  # numbers that are not finite take no longer
            trainer.run()
        return fmean(self.steps[1:] or self.steps)

    def __call__(self) -> None:
        if self.trainer.device.type == "cuda":
            torch.cuda.synchronize(self.trainer.device)
        now = time.perf_counter()
        # else the window was cut by the end of the text, or an epoch has ended and what passed was its validation
        if self.trainer.position.lengths[-1:] == [self.length]:
            self.steps.append(now - self.last)
        timed = self.steps[1:]
        enough = len(timed) >= _FEWEST_STEPS and sum(timed) >= _SECONDS
        if enough or len(timed) >= _MOST_STEPS or (self.steps and now - self.began >= _PATIENCE):
            raise _EnoughError
        self.last = time.perf_counter()
