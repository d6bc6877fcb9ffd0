"""Short whole runs in float64: our trainer beside their ``train`` and ``evaluate``, epoch by epoch."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from awd.config import Config, override
from awd.corpus.text import Encoded
from awd.evaluation import perplexity
from awd.model import AWDLSTM
from awd.streams import Streams
from awd.trainer import FINETUNE, TRAIN, Trainer, TrainingResult
from awd.windows import draw_length, windows
from benchmarks.published.difference import Difference, largest, learnable_text, relative
from benchmarks.published.optimizers import SMALL, WORDS, averages_in_place, make_optimizer
from benchmarks.published.program import Program, Training

_ROWS = 301  # of the training text: about fifteen windows
_ALLOWED = 1e-9


def _run(epochs: int, finetuning: int) -> Config:
    changes = {
        "optimizer": {"clip_norm": 0.25},  # it learns enough for the criterion to fire
        "training": {"epochs": epochs},
        "finetuning": {"epochs": finetuning},
    }
    return override(SMALL, changes, "benchmarks/published/runs.py")


RUNS = (_run(epochs=11, finetuning=0), _run(epochs=13, finetuning=6))


@dataclass
class Progress:
    """What a run of theirs gave so far.

    Attributes:
        perplexities: on validation, an epoch each, by ``phase`` and epoch.
        averaging: of the epochs, those validated under averages.
        best: validation loss, and the parameters that had it.
    """

    perplexities: dict[str, float] = field(default_factory=dict)
    averaging: list[str] = field(default_factory=list)
    best: tuple[float, dict[str, torch.Tensor]] = (math.inf, {})


def whole_runs(program: Program) -> Iterator[Difference]:
    """Perplexities of all epochs and of the test, training and fine-tuning, their ASGD made a plain mean."""
    for config in RUNS:
        with _default_float64():
            seed, corpus = _seed(config), _corpus(config)
            theirs = _TheirRun(program, config, corpus, seed)
            theirs.run()
            trainer = Trainer(config, corpus, seed)
            ours = trainer.run()
        yield _compared(ours, theirs)


def _compared(ours: TrainingResult, theirs: _TheirRun) -> Difference:
    found = {f"{record.phase} {record.epoch}": record.valid_ppl for record in ours.epochs}
    averaging = [f"{record.phase} {record.epoch}" for record in ours.epochs if record.averaging]
    there = theirs.progress
    steps = len(theirs.training.seen.lengths)
    part = f"a run of {steps} steps"
    if (list(found), averaging) != (list(there.perplexities), there.averaging):
        where = (
            f"ours has {len(found)} epochs, {len(averaging)} of them averaged; theirs "
            f"{len(there.perplexities)} and {len(there.averaging)}"
        )
        return Difference(part, "torch float64", math.inf, where, _ALLOWED)
    apart = {f"epoch {name}": relative(value, there.perplexities[name]) for name, value in found.items()}
    apart["test"] = relative(ours.test_ppl, theirs.test_ppl())
    value, name = largest(apart)
    where = f"{name}, of {len(found)} epochs ({len(averaging)} averaged) and test"
    return Difference(part, "torch float64", value, where, _ALLOWED)


class _TheirRun:
    """A run around their ``train`` and ``evaluate``: when averages begin, what is kept, when fine-tuning ends.

    These few decisions lie in their scripts outside any function; they are written anew here.
    """

    def __init__(self, program: Program, config: Config, corpus: Encoded, seed: int) -> None:
        self.config, self.progress = config, Progress()
        self.valid, self.test = torch.tensor(corpus.valid), torch.tensor(corpus.test)
        streams = Streams(seed)
        model = AWDLSTM(len(corpus.words), config.model, config.regularization, streams=streams)
        self.training = Training(
            program,
            model,
            config,
            torch.tensor(corpus.train),
            lambda: model.draw_masks(config.training.batch_size, streams),
            lambda: draw_length(config.windows, streams["window lengths"]),
        )

    def run(self) -> None:
        """Train, fine-tune from the best weights, and end with the best."""
        self._train()
        self._take_best()
        if self.config.finetuning.epochs:
            self._finetune()
            self._take_best()

    def test_ppl(self) -> float:
        """Test perplexity of the weights that are best on validation."""
        return perplexity(self.training.evaluate(self.test, self.config.training.test_batch_size))

    def _train(self) -> None:
        optimizer, averages, history = self._optimizer(averages=False), False, list[float]()
        for epoch in range(1, self.config.training.epochs + 1):
            loss = self._epoch(f"{TRAIN} {epoch}", optimizer, averages)
            if not averages and self._worse(loss, history):
                optimizer, averages = self._optimizer(averages=True), True
            history.append(loss)

    def _finetune(self) -> None:
        optimizer, history = self._optimizer(averages=True), list[float]()
        for epoch in range(1, self.config.finetuning.epochs + 1):
            loss = self._epoch(f"{FINETUNE} {epoch}", optimizer, averages=True)
            if self._worse(loss, history):
                break
            history.append(loss)

    def _optimizer(self, averages: bool) -> torch.optim.Optimizer:
        return make_optimizer(self.training, self.config, averages=averages)

    def _worse(self, loss: float, history: list[float]) -> bool:
        interval = self.config.optimizer.nonmonotone_interval
        return len(history) > interval and loss > min(history[:-interval])

    def _epoch(self, name: str, optimizer: torch.optim.Optimizer, averages: bool) -> float:
        self.training.train(optimizer)
        with averages_in_place(optimizer):
            loss = self.training.evaluate(self.valid, self.config.training.valid_batch_size)
            if loss < self.progress.best[0]:
                parameters = self.training.parameters.items()
                self.progress.best = loss, {key: parameter.detach().clone() for key, parameter in parameters}
        self.progress.perplexities[name] = perplexity(loss)
        if averages:
            self.progress.averaging.append(name)
        return loss

    @torch.no_grad()
    def _take_best(self) -> None:
        for name, weights in self.progress.best[1].items():
            self.training.parameters[name].copy_(weights)


def _corpus(config: Config) -> Encoded:
    lengths = {"train": _ROWS * config.training.batch_size, "valid": 1000, "test": 200}
    splits = {
        name: learnable_text(WORDS, length, seed).tolist() for seed, (name, length) in enumerate(lengths.items(), 5)
    }
    return Encoded([str(word) for word in range(WORDS)], **splits)


def _seed(config: Config) -> int:
    """The first seed with no last window of a single step, which their ``train`` skips and ours does not."""

    def skips(seed: int) -> bool:
        generator = Streams(seed)["window lengths"]
        epochs = (windows(_ROWS, config.windows, generator) for _ in range(config.most_epochs))
        return any(window.length == 1 for window in itertools.chain.from_iterable(epochs))

    return next(seed for seed in itertools.count(1) if not skips(seed))


@contextlib.contextmanager
def _default_float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
