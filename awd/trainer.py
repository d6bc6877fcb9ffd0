"""A run: training, fine-tuning, validation after every epoch, the test once at the end (paper, section 5)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from awd.config import Config
from awd.corpus.batching import batchify
from awd.corpus.text import Encoded
from awd.engine import PLAIN, Engine, State
from awd.errors import DivergedError
from awd.evaluation import evaluate, perplexity
from awd.model import AWDLSTM, detach
from awd.optim import NonMonotonicTrigger, Stepper
from awd.streams import Streams
from awd.windows import Window, windows

TRAIN, FINETUNE, TEST = "train", "finetune", "test"
_CHECK_EVERY = 100  # steps between looks for a loss that is not finite; on a GPU, where a look waits, one an epoch


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, as it is reported and stored.

    Attributes:
        phase: ``train`` or ``finetune``.
        epoch: within the phase, from 1.
        train_ppl: perplexity of the training text as it was trained on, dropout included.
        valid_ppl: perplexity of the validation text, or of its beginning (``corpus.valid_tokens``), under the weights
            that count (the average, if any).
        learning_rate: rate of a window of the base length in this epoch.
        averaging: whether the weights validated were an average of iterates.
        seconds: wall-clock time of training and validation.
        tokens: tokens trained on.
    """

    phase: str
    epoch: int
    train_ppl: float
    valid_ppl: float
    learning_rate: float
    averaging: bool
    seconds: float
    tokens: int


@dataclass(frozen=True)
class TrainingResult:
    """What a run gives.

    Attributes:
        valid_ppl: validation perplexity of the weights that were best on what an epoch is validated on; of the whole
            split, as ``test_ppl`` is.
        test_ppl: test perplexity of the weights that reached it.
        epochs: every epoch, in order.
        model: the network with its best weights, in evaluation mode.
    """

    valid_ppl: float
    test_ppl: float
    epochs: list[EpochRecord]
    model: AWDLSTM

    @property
    def averaging_started(self) -> int | None:
        """Epochs of the training phase that had ended when averaging began; ``None`` if it never did."""
        return next((record.epoch - 1 for record in self.epochs if record.phase == TRAIN and record.averaging), None)


@dataclass
class Best:
    """The weights on which validation was best so far; a tied matrix once, by its first name."""

    valid_ppl: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """Its part of a checkpoint."""
        return {"best": self.weights, "best_valid_ppl": self.valid_ppl if self.weights else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.weights = dict(state.get("best", {}))
        self.valid_ppl = state["best_valid_ppl"] if self.weights else math.inf


@dataclass
class Position:
    """How far a run is.

    Attributes:
        phase: ``train``, ``finetune``, or ``test`` once all that remains is the test.
        epoch: epochs of the phase that have ended.
        start: row of the training text where the next window begins; 0 between epochs.
        state: hidden and cell state before that window, ``(batch, width)`` each.
        losses: cross-entropy of each window of this epoch so far; ``lengths`` of the same windows.
        seconds: this epoch has taken so far.
    """

    phase: str = TRAIN
    epoch: int = 0
    start: int = 0
    state: list[State] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Its part of a checkpoint; a layer's state by the layer's number."""
        return {
            "phase": self.phase,
            "epoch": self.epoch,
            "start": self.start,
            "hidden": {str(layer): hidden for layer, (hidden, _) in enumerate(self.state)},
            "cell": {str(layer): cell for layer, (_, cell) in enumerate(self.state)},
            **({"losses": torch.stack(self.losses)} if self.losses else {}),
            "lengths": list(self.lengths),
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Take over what :meth:`state_dict` gave, tensors on ``device``."""
        self.phase, self.epoch, self.start = state["phase"], state["epoch"], state["start"]
        # copies: what a product gives may depend on how its operands are aligned, and a file does not see to that
        hidden, cell = (
            {layer: tensor.to(device, copy=True) for layer, tensor in state.get(part, {}).items()}
            for part in ("hidden", "cell")
        )
        self.state = [(hidden[str(layer)], cell[str(layer)]) for layer in range(len(hidden))]
        self.losses = list(state["losses"].to(device).unbind()) if "losses" in state else []
        self.lengths, self.seconds = list(state["lengths"]), state["seconds"]


class Trainer:
    """Trains one configuration on one corpus from one seed.

    A run is :meth:`train` and :meth:`finish`; training is one :meth:`epoch` after another, an epoch one :meth:`step`
    after another and a validation. Each goes on from :attr:`position`.

    Args:
        config: what to train.
        corpus: the encoded text.
        seed: of every random draw.
        device: where to train.
        engine: what computes the training steps.
        on_epoch: called with each epoch's record as it ends.
        network: what is trained: :class:`AWDLSTM`, or a subclass with a loss of its own.
        may_stop: called after every step and after every epoch, where the run may be saved
            (:mod:`awd.checkpoint`); what it raises ends the run.

    Raises:
        CorpusError: a split is too short for its batch.
    """

    def __init__(
        self,
        config: Config,
        corpus: Encoded,
        seed: int,
        *,
        device: torch.device | str = "cpu",
        engine: Engine = PLAIN,
        network: type[AWDLSTM] = AWDLSTM,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        may_stop: Callable[[], None] | None = None,
    ) -> None:
        self.config, self.seed, self.words = config, seed, corpus.words
        self.device, self.engine = torch.device(device), engine
        self.on_epoch, self.may_stop = on_epoch or (lambda record: None), may_stop or (lambda: None)
        sizes = config.training
        self.train_data = self._batches(corpus.train, sizes.batch_size, "train")
        self.valid_data = self._batches(corpus.valid, sizes.valid_batch_size, "valid")
        beginning = corpus.valid[: config.corpus.valid_tokens]
        self.epoch_data = self._batches(beginning, sizes.valid_batch_size, "valid")  # what an epoch is validated on
        self.test_data = self._batches(corpus.test, sizes.test_batch_size, "test")
        self.streams = Streams(seed)  # initial weights and window lengths: the same on every device
        self.mask_streams = Streams(seed, self.device)
        self.model = network(
            len(corpus.words), config.model, config.regularization, streams=self.streams, engine=engine
        )
        self.model.to(self.device)
        self.best = Best()
        self.epochs: list[EpochRecord] = []
        self.position: Position
        self.stepper: Stepper
        self.trigger: NonMonotonicTrigger
        self.enter(TRAIN)

    def _batches(self, tokens: list[int], batch_size: int, split: str) -> Tensor:
        return batchify(torch.tensor(tokens), batch_size, split).to(self.device)

    def run(self) -> TrainingResult:
        """Train, fine-tune, and evaluate the best weights on test, once.

        Raises:
            DivergedError: a loss became NaN or infinite.
        """
        self.train()
        return self.finish()

    def train(self) -> None:
        """All that is left of both phases.

        Raises:
            DivergedError: a loss became NaN or infinite.
        """
        while not self.trained:
            self.epoch()

    @property
    def trained(self) -> bool:
        """Whether both phases are over."""
        here, finetuning = self.position, self.config.finetuning.epochs
        if here.phase == TRAIN:
            return here.epoch == self.config.training.epochs and not finetuning
        return here.phase == TEST or here.epoch == finetuning

    def finish(self) -> TrainingResult:
        """Evaluate the best weights so far on the whole validation split, and on test; training is over then."""
        self.position = Position(TEST)
        self.may_stop()
        self._take_best_weights()
        self.model.eval()
        valid_ppl = self.best.valid_ppl
        if len(self.epoch_data) < len(self.valid_data):
            valid_ppl = perplexity(evaluate(self.model, self.valid_data))
        test_ppl = perplexity(evaluate(self.model, self.test_data))
        return TrainingResult(valid_ppl, test_ppl, self.epochs, self.model)

    def enter(self, phase: str) -> None:
        """Begin a phase: its own steps, averages and criterion, on whatever weights the model has."""
        settings = self.config.optimizer
        rate = settings.learning_rate
        if phase == FINETUNE:
            rate = self.config.finetuning.learning_rate or rate
            settings = replace(settings, method="asgd", average_from=0, average_from_epoch=0)
        self.position = Position(phase)
        self.stepper = Stepper(self.model, settings, rate, self.config.regularization.weight_decay)
        self.trigger = NonMonotonicTrigger(settings.nonmonotone_interval)

    def epoch(self) -> EpochRecord:
        """The rest of an epoch: steps to the end of the text, validation, and what the criterion makes of it.

        Raises:
            DivergedError: a loss became NaN or infinite.
            RuntimeError: both phases are over.
        """
        if self.trained:
            raise RuntimeError("both phases are over: all that is left is to finish()")
        if self.position.phase == TRAIN and self.position.epoch == self.config.training.epochs:
            self._start_finetuning()
        here = self.position
        self.stepper.epoch = here.epoch
        started = time.perf_counter() - here.seconds
        lengths = self.streams["window lengths"]
        for window in windows(len(self.train_data), self.config.windows, lengths, here.start):
            self.step(window)
            if self.device.type == "cpu" and len(here.losses) % _CHECK_EVERY == 0:
                self._check_finite()
            here.seconds = time.perf_counter() - started
            self.may_stop()
        self._check_finite()
        valid_ppl = self._validate()
        record = EpochRecord(
            here.phase,
            here.epoch + 1,
            self._train_ppl(),
            valid_ppl,
            self.stepper.learning_rate,
            self.stepper.evaluated is not self.model,
            time.perf_counter() - started,
            sum(here.lengths) * self.train_data.shape[1],
        )
        self.epochs.append(record)
        self.on_epoch(record)
        if self._obey_criterion(valid_ppl):
            self.position = Position(TEST)  # where finish() may be stopped
        else:
            self.position = Position(here.phase, here.epoch + 1)
            self.may_stop()
        return record

    def step(self, window: Window) -> Tensor:
        """Train on one window of the training text: masks, forward pass, loss, update; :attr:`position` moves on.

        Returns:
            The loss that was differentiated, a scalar.
        """
        here, end = self.position, window.start + window.length
        columns = self.train_data.shape[1]
        if not self.model.training:
            self.model.train()
        masks = self.model.draw_masks(columns, self.mask_streams, window.length)
        state = here.state or self.model.initial_state(columns)
        output = self.model(self.train_data[window.start : end], state, masks)
        loss = self.model.loss(output, self.train_data[window.start + 1 : end + 1])
        total = loss.total
        self.stepper.step(total, window.rate_scale)
        here.start, here.state = end, detach(output.state)
        here.losses.append(loss.cross_entropy.detach())
        here.lengths.append(window.length)
        return total.detach()

    def state_dict(self) -> dict[str, Any]:
        """The run between two steps: the sum of what its parts give, plain values and (nested) tensors.

        Tensors are the run's own, not copies: write them before it goes on.
        """
        return {
            "model": dict(self.model.named_parameters()),  # a tied matrix once
            **self.stepper.state_dict(),
            **self.trigger.state_dict(),
            **self.position.state_dict(),
            **self.best.state_dict(),
            "streams": self.streams.state_dict(),
            "mask streams": self.mask_streams.state_dict(),
            "epochs": [asdict(record) for record in self.epochs],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Bring a new trainer of the same configuration, corpus and seed to where :meth:`state_dict` was called; what
        is given stays as it is."""
        self.model.load_state_dict(state["model"], strict=False)  # a tied matrix has two names
        if state["phase"] != TEST:  # whose steps are over
            self.enter(state["phase"])
            self.stepper.load_state_dict(state)
            self.trigger.load_state_dict(state)
        self.position.load_state_dict(state, self.device)
        self.best.load_state_dict(state)
        self.streams.load_state_dict(state.get("streams", {}))
        self.mask_streams.load_state_dict(state.get("mask streams", {}))
        self.epochs = [EpochRecord(**record) for record in state["epochs"]]

    def _start_finetuning(self) -> None:
        self._take_best_weights()
        self.enter(FINETUNE)

    def _take_best_weights(self) -> None:
        self.model.load_state_dict(self.best.weights, strict=False)

    def _validate(self) -> float:
        """Perplexity of the weights that count; they are kept if they are the best so far."""
        evaluated, here = self.stepper.evaluated, self.position
        valid_ppl = perplexity(evaluate(evaluated, self.epoch_data))
        if not math.isfinite(valid_ppl):
            raise DivergedError(here.phase, here.epoch + 1, None)
        if valid_ppl < self.best.valid_ppl:
            weights = {name: weight.detach().clone() for name, weight in evaluated.named_parameters()}
            self.best = Best(valid_ppl, weights)
        return valid_ppl

    def _obey_criterion(self, valid_ppl: float) -> bool:
        """Average, or halve the rate, if the criterion fires; returns whether it ends the fine-tuning."""
        if not self.trigger.check(valid_ppl):
            return False
        stepper, method = self.stepper, self.stepper.config.method
        if method == "nt-asgd" and stepper.average is None:
            stepper.start_averaging()
        if method == "sgd-halving":
            stepper.learning_rate /= 2
        return self.position.phase == FINETUNE

    def _train_ppl(self) -> float:
        """Of the epoch, from the mean loss of its tokens."""
        lengths = torch.tensor(self.position.lengths, device=self.device).double()
        total = torch.dot(torch.stack(self.position.losses).double(), lengths)
        return perplexity(total.item() / sum(self.position.lengths))

    def _check_finite(self) -> None:
        here = self.position
        finite = torch.isfinite(torch.stack(here.losses)).tolist()
        if not all(finite):
            raise DivergedError(here.phase, here.epoch + 1, finite.index(False) + 1)
