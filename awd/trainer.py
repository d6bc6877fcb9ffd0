"""A run: training, fine-tuning, validation after every epoch, the test once at the end (paper, section 5)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from awd.config import Config, OptimizerConfig
from awd.corpus.batching import batchify
from awd.corpus.text import Encoded
from awd.engine import PLAIN, Engine, State
from awd.errors import DivergedError
from awd.evaluation import evaluate, perplexity
from awd.model import AWDLSTM, detach
from awd.optim import NonMonotonicTrigger, Stepper
from awd.streams import Streams
from awd.windows import windows

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
    """The weights on which validation was best so far."""

    valid_ppl: float = math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)


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


class Trainer:
    """Trains one configuration on one corpus from one seed.

    Args:
        config: what to train.
        corpus: the encoded text.
        seed: of every random draw.
        device: where to train.
        engine: what computes the training steps.
        on_epoch: called with each epoch's record as it ends.
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
        self.model = AWDLSTM(
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
        """Train, fine-tune, and evaluate the best weights on test, once; goes on from :attr:`position`.

        Raises:
            DivergedError: a loss became NaN or infinite.
        """
        if self.position.phase == TRAIN:
            self._training_phase()
            if self.config.finetuning.epochs:
                self._start_finetuning()
        if self.position.phase == FINETUNE:
            self._finetuning_phase()
        self.position = Position(TEST)
        self.may_stop()
        self.model.load_state_dict(self.best.weights)
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
            settings = replace(settings, method="asgd", average_from=0)
        self.position = Position(phase)
        self.stepper = self._stepper(settings, rate)
        self.trigger = NonMonotonicTrigger(settings.nonmonotone_interval)

    def _training_phase(self) -> None:
        method = self.config.optimizer.method
        while self.position.epoch < self.config.training.epochs:
            record = self._epoch(self.stepper, TRAIN, self.position.epoch + 1)
            fired = self.trigger.check(record.valid_ppl)
            if fired and method == "nt-asgd" and self.stepper.average is None:
                self.stepper.start_averaging()
            if fired and method == "sgd-halving":
                self.stepper.learning_rate /= 2
            self._epoch_ended()

    def _start_finetuning(self) -> None:
        self.model.load_state_dict(self.best.weights)
        self.enter(FINETUNE)

    def _finetuning_phase(self) -> None:
        while self.position.epoch < self.config.finetuning.epochs:
            record = self._epoch(self.stepper, FINETUNE, self.position.epoch + 1)
            if self.trigger.check(record.valid_ppl):
                break
            self._epoch_ended()

    def _epoch_ended(self) -> None:
        self.position = Position(self.position.phase, self.position.epoch + 1)
        self.may_stop()

    def _stepper(self, settings: OptimizerConfig, learning_rate: float) -> Stepper:
        return Stepper(self.model, settings, learning_rate, self.config.regularization.weight_decay)

    def _epoch(self, stepper: Stepper, phase: str, epoch: int) -> EpochRecord:
        started = time.perf_counter() - self.position.seconds
        train_loss, tokens = self._train_epoch(stepper, phase, epoch)
        evaluated = stepper.evaluated
        valid_ppl = perplexity(evaluate(evaluated, self.epoch_data))
        if not math.isfinite(valid_ppl):
            raise DivergedError(phase, epoch, None)
        if valid_ppl < self.best.valid_ppl:
            weights = {name: tensor.detach().clone() for name, tensor in evaluated.state_dict().items()}
            self.best = Best(valid_ppl, weights)
        record = EpochRecord(
            phase,
            epoch,
            perplexity(train_loss),
            valid_ppl,
            stepper.learning_rate,
            evaluated is not self.model,
            time.perf_counter() - started,
            tokens,
        )
        self.epochs.append(record)
        self.on_epoch(record)
        return record

    def _train_epoch(self, stepper: Stepper, phase: str, epoch: int) -> tuple[float, int]:
        """Train on the rest of the text; returns the epoch's mean cross-entropy in nats and number of tokens."""
        self.model.train()
        rows, columns = self.train_data.shape
        here = self.position
        state = here.state or self.model.initial_state(columns)
        started = time.perf_counter() - here.seconds
        for window in windows(rows, self.config.windows, self.streams["window lengths"], here.start):
            end = window.start + window.length
            masks = self.model.draw_masks(columns, self.mask_streams)
            output = self.model(self.train_data[window.start : end], state, masks)
            state = detach(output.state)
            loss = self.model.loss(output, self.train_data[window.start + 1 : end + 1])
            stepper.step(loss.total, window.rate_scale)
            here.losses.append(loss.cross_entropy.detach())
            here.lengths.append(window.length)
            if self.device.type == "cpu" and len(here.losses) % _CHECK_EVERY == 0:
                self._check_finite(here.losses, phase, epoch)
            here.start, here.state, here.seconds = end, state, time.perf_counter() - started
            self.may_stop()
        self._check_finite(here.losses, phase, epoch)
        lengths = torch.tensor(here.lengths, device=self.device).double()
        total = torch.dot(torch.stack(here.losses).double(), lengths)
        return total.item() / sum(here.lengths), sum(here.lengths) * columns

    def _check_finite(self, losses: list[Tensor], phase: str, epoch: int) -> None:
        finite = torch.isfinite(torch.stack(losses)).tolist()
        if not all(finite):
            raise DivergedError(phase, epoch, finite.index(False) + 1)
