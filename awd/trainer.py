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
from awd.engine import PLAIN, Engine
from awd.errors import DivergedError
from awd.evaluation import evaluate, perplexity
from awd.model import AWDLSTM, detach
from awd.optim import NonMonotonicTrigger, Stepper
from awd.streams import Streams
from awd.windows import windows

TRAIN, FINETUNE = "train", "finetune"
_CHECK_EVERY = 100  # steps between looks for a loss that is not finite; on a GPU, where a look waits, one an epoch


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, as it is reported and stored.

    Attributes:
        phase: ``train`` or ``finetune``.
        epoch: within the phase, from 1.
        train_ppl: perplexity of the training text as it was trained on, dropout included.
        valid_ppl: perplexity of the validation text under the weights that count (the average, if any).
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
        valid_ppl: best validation perplexity.
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


class Trainer:
    """Trains one configuration on one corpus from one seed.

    Args:
        config: what to train.
        corpus: the encoded text.
        seed: of every random draw.
        device: where to train.
        engine: what computes the training steps.
        on_epoch: called with each epoch's record as it ends.

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
    ) -> None:
        self.config, self.device = config, torch.device(device)
        self.on_epoch = on_epoch or (lambda record: None)
        sizes = config.training
        self.train_data = self._batches(corpus.train, sizes.batch_size, "train")
        self.valid_data = self._batches(corpus.valid, sizes.valid_batch_size, "valid")
        self.test_data = self._batches(corpus.test, sizes.test_batch_size, "test")
        self.streams = Streams(seed)  # initial weights and window lengths: the same on every device
        self.mask_streams = Streams(seed, self.device)
        self.model = AWDLSTM(
            len(corpus.words), config.model, config.regularization, streams=self.streams, engine=engine
        )
        self.model.to(self.device)
        self.best = Best()
        self.epochs: list[EpochRecord] = []

    def _batches(self, tokens: list[int], batch_size: int, split: str) -> Tensor:
        return batchify(torch.tensor(tokens), batch_size, split).to(self.device)

    def run(self) -> TrainingResult:
        """Train, fine-tune, and evaluate the best weights on test, once.

        Raises:
            DivergedError: a loss became NaN or infinite.
        """
        self._training_phase()
        if self.config.finetuning.epochs:
            self._finetuning_phase()
        self.model.load_state_dict(self.best.weights)
        self.model.eval()
        test_ppl = perplexity(evaluate(self.model, self.test_data))
        return TrainingResult(self.best.valid_ppl, test_ppl, self.epochs, self.model)

    def _training_phase(self) -> None:
        settings = self.config.optimizer
        stepper = self._stepper(settings, settings.learning_rate)
        trigger = NonMonotonicTrigger(settings.nonmonotone_interval)
        for epoch in range(1, self.config.training.epochs + 1):
            record = self._epoch(stepper, TRAIN, epoch)
            fired = trigger.check(record.valid_ppl)
            if fired and settings.method == "nt-asgd" and stepper.average is None:
                stepper.start_averaging()
            if fired and settings.method == "sgd-halving":
                stepper.learning_rate /= 2

    def _finetuning_phase(self) -> None:
        settings = self.config.optimizer
        self.model.load_state_dict(self.best.weights)
        rate = self.config.finetuning.learning_rate or settings.learning_rate
        stepper = self._stepper(replace(settings, method="asgd", average_from=0), rate)
        trigger = NonMonotonicTrigger(settings.nonmonotone_interval)
        for epoch in range(1, self.config.finetuning.epochs + 1):
            record = self._epoch(stepper, FINETUNE, epoch)
            if trigger.check(record.valid_ppl):
                break

    def _stepper(self, settings: OptimizerConfig, learning_rate: float) -> Stepper:
        return Stepper(self.model, settings, learning_rate, self.config.regularization.weight_decay)

    def _epoch(self, stepper: Stepper, phase: str, epoch: int) -> EpochRecord:
        started = time.perf_counter()
        train_loss, tokens = self._train_epoch(stepper, phase, epoch)
        evaluated = stepper.evaluated
        valid_ppl = perplexity(evaluate(evaluated, self.valid_data))
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
        """Train on the whole text once; returns the mean cross-entropy in nats and the number of tokens."""
        self.model.train()
        rows, columns = self.train_data.shape
        state = self.model.initial_state(columns)
        losses: list[Tensor] = []
        lengths: list[int] = []
        for window in windows(rows, self.config.windows, self.streams["window lengths"]):
            end = window.start + window.length
            masks = self.model.draw_masks(columns, self.mask_streams)
            output = self.model(self.train_data[window.start : end], state, masks)
            state = detach(output.state)
            loss = self.model.loss(output, self.train_data[window.start + 1 : end + 1])
            stepper.step(loss.total, window.rate_scale)
            losses.append(loss.cross_entropy.detach())
            lengths.append(window.length)
            if self.device.type == "cpu" and len(losses) % _CHECK_EVERY == 0:
                self._check_finite(losses, phase, epoch)
        self._check_finite(losses, phase, epoch)
        total = torch.dot(torch.stack(losses).double(), torch.tensor(lengths, device=self.device).double())
        return total.item() / sum(lengths), sum(lengths) * columns

    def _check_finite(self, losses: list[Tensor], phase: str, epoch: int) -> None:
        finite = torch.isfinite(torch.stack(losses)).tolist()
        if not all(finite):
            raise DivergedError(phase, epoch, finite.index(False) + 1)
