"""A real run in float64, step by step: what each step did to the weights, and which weights were validated.

Validation is scripted: the decoder's scores for the only word of the validation text are set so that perplexities
follow a list on which different readings of the non-monotonic criterion fire at different checks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from ablations.audit.probes.reference import Schedule
from awd import trainer as trainer_module
from awd.config import Config
from awd.corpus.text import Encoded
from awd.engine import Engine
from awd.errors import DivergedError
from awd.trainer import TRAIN, EpochRecord, Trainer, TrainingResult

_WHOLE = (1, 2)  # steps of a phase at which every parameter is looked at; at others, the vectors alone
_ULPS = 32 * torch.finfo(torch.float64).eps  # rounding of a few operations
_PARALLEL = 1 - 1e-6
_TINY = 1e-290  # and of numbers too small to be held in full

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Moved:
    """What a step did to one parameter.

    Attributes:
        rate: what moved it along its gradient, over what should have; 1 if the movement is as due.
        decay: the L2 term, likewise as a share of what is due, or itself where none is due.
        as_due: whether every element moved as due, up to rounding.
    """

    rate: float
    decay: float
    as_due: bool


@dataclass(frozen=True)
class Step:
    """One optimizer step.

    Attributes:
        phase: ``train`` or ``finetune``; ``epoch`` within it, from 1.
        length: tokens of its window.
        due: the rate it should have; ``None`` where the text ended before what was drawn, so that nobody can tell.
        base: the rate due at the base length.
        shrunk_as_due: whether before it nothing but Polyak-Juditsky's term had taken from the weights.
        norms: gradient norms of each parameter, before and after clipping.
        moved: by parameter; those of which only the vectors are looked at in most steps.
        still: parameters that got no gradient at all.
    """

    phase: str
    epoch: int
    length: int
    due: float | None
    base: float
    shrunk_as_due: bool
    norms: dict[str, tuple[float, float]]
    moved: dict[str, Moved]
    still: tuple[str, ...]


@dataclass(frozen=True)
class Check:
    """One validation.

    Attributes:
        phase: ``train`` or ``finetune``; ``number`` of the check within it, from 1.
        averaged: iterates that should be in the average; 0 if the raw weights should be judged.
        as_due: whether the weights judged were those; ``raw``: whether they were the last iterate.
    """

    phase: str
    number: int
    averaged: int
    as_due: bool
    raw: bool


@dataclass
class BestTrace:
    """The weights judged best so far, and their perplexity."""

    value: float = math.inf
    weights: Weights = field(default_factory=dict)


class Walk:
    """Trains a configuration by the real trainer and keeps what its steps and validations did.

    Args:
        config: what to train, cut short.
        corpus: what to train on, cut short; its validation text repeats word 0.
        seed: of the run.
        engine: what computes it.
        script: validation perplexities to bring about, the same for both phases.
    """

    def __init__(self, config: Config, corpus: Encoded, seed: int, engine: Engine, script: list[float]) -> None:
        self.config, self.script = config, script
        self.steps: list[Step] = []
        self.checks: list[Check] = []
        self.started_from_best: bool | None = None
        self.replaced: list[int] = []  # epochs of training before a step of which something else changed the weights
        self.kept_best = False
        optimizer = config.optimizer
        from_step, from_epoch = math.inf, 0
        if optimizer.method == "asgd":
            from_step, from_epoch = optimizer.average_from, optimizer.average_from_epoch
        rate = config.finetuning.learning_rate or optimizer.learning_rate
        self.schedules = {
            TRAIN: _schedule(config, optimizer.method, optimizer.learning_rate, from_step, from_epoch),
            "finetune": _schedule(config, "asgd", rate, 0, 0),
        }
        self.phase, self.epoch, self.position = TRAIN, 1, 0
        self.best = BestTrace()
        self._sum: Weights = {}  # of the iterates to be averaged
        self._largest: dict[str, float] = {}  # weight among them
        self._judged: tuple[Weights, bool, bool] | None = None
        self._before: Weights = {}
        self._moments: Weights = {}
        self._called: Weights = {}  # the vectors among the weights when the model was called
        self._after: Weights = {}  # and after the step before
        self._unclipped: dict[str, float] = {}
        with _default_dtype(torch.float64):
            self.trainer: Trainer = trainer_module.Trainer(
                config, corpus, seed, engine=engine, on_epoch=self._epoch_ended
            )
        self.rows = len(corpus.train) // config.training.batch_size - 1
        self.named = dict(self.trainer.model.named_parameters())

    def run(self) -> TrainingResult:
        """Train, with hooks that are gone afterwards.

        Raises:
            DivergedError: a loss became NaN or infinite.
        """
        with _default_dtype(torch.float64), ExitStack() as hooks:
            for handle in self._handles(self.trainer.model):
                hooks.callback(handle.remove)
            result = self.trainer.run()
        self.kept_best = _same(dict(result.model.named_parameters()), self.best.weights)
        return result

    def _handles(self, model: nn.Module) -> Iterable[Any]:
        # plain functions: an average is a deep copy of the model, and would copy the object of a bound method too
        yield model.register_forward_pre_hook(lambda module, inputs: self._forward(module, inputs[0]))
        decoder = model.get_submodule("decoder")
        yield decoder.register_forward_hook(lambda module, _, output: self._scripted(module, output))
        for name, parameter in self.named.items():
            yield parameter.register_post_accumulate_grad_hook(lambda given, name=name: self._arrived(name, given))
        yield register_optimizer_step_pre_hook(lambda optimizer, *_: self._stepping(optimizer))
        yield register_optimizer_step_post_hook(lambda optimizer, *_: self._stepped(optimizer))

    @property
    def schedule(self) -> Schedule:
        """What the current phase's steps should be."""
        return self.schedules[self.phase]

    def _forward(self, model: nn.Module, tokens: Tensor) -> None:
        if not model.training:
            if self._judged is None:
                self._judge(model)
            return
        if self.phase != TRAIN and self.started_from_best is None:
            self.started_from_best = _same(self.named, self.best.weights)
        self._length = len(tokens)
        self._called = self._vectors()
        if self.phase == TRAIN and self._after and not _same(self._called, self._after):
            self.replaced.append(self.epoch)
        self._unclipped = {}

    def _vectors(self) -> Weights:
        return {name: weight.detach().clone() for name, weight in self.named.items() if weight.ndim == 1}

    def _judge(self, model: nn.Module) -> None:
        """Whether the weights about to be validated are those that should be."""
        seen = dict(model.named_parameters())
        count = self.schedule.averaged
        raw = _same(seen, self.named)
        as_due = raw
        if count:
            as_due = self._is_mean(seen, count)
        self._judged = ({name: weight.detach().clone() for name, weight in seen.items()}, as_due, raw)

    @torch.no_grad()
    def _is_mean(self, seen: Mapping[str, Tensor], count: int) -> bool:
        """Whether weights are the plain mean of the iterates since averaging began."""
        if seen.keys() != self._sum.keys():
            return False
        allowed = {name: _ULPS * count * largest for name, largest in self._largest.items()}
        return all(bool((seen[name] - total / count).abs().max() <= allowed[name]) for name, total in self._sum.items())

    def _scripted(self, decoder: nn.Module, scores: Tensor) -> Tensor:
        words = scores.shape[-1]
        if decoder.training or words < 2:
            return scores
        perplexity = self.script[min(self.epoch, len(self.script)) - 1]
        scores = torch.zeros_like(scores)
        scores[..., 0] = math.log((words - 1) / (perplexity - 1))
        return scores

    def _arrived(self, name: str, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self._unclipped[name] = parameter.grad.norm().item()

    def _looked_at(self) -> Mapping[str, Tensor]:
        if self.schedule.steps in _WHOLE:
            return self.named
        return {name: weight for name, weight in self.named.items() if weight.ndim == 1}

    def _stepping(self, optimizer: torch.optim.Optimizer) -> None:
        self._before = {name: weight.detach().clone() for name, weight in self._looked_at().items()}
        states = {name: optimizer.state.get(self.named[name], {}) for name in self._before}
        self._moments = {name: state["exp_avg"].clone() for name, state in states.items() if "exp_avg" in state}

    def _stepped(self, optimizer: torch.optim.Optimizer) -> None:
        self.position += self._length
        self._after = self._vectors()
        scale = self._scale_due()
        due = None if scale is None else self.schedule.next_rate(scale)
        given = {name: weight.grad for name, weight in self.named.items() if weight.grad is not None}
        norms = {name: (norm, given[name].norm().item()) for name, norm in self._unclipped.items() if name in given}
        moved = {}
        if due is not None:
            found = {name: self._moved(name, due, optimizer) for name in self._before if name in given}
            moved = {name: one for name, one in found.items() if one is not None}
        self.steps.append(
            Step(
                self.phase,
                self.epoch,
                self._length,
                due,
                self.schedule.next_rate(1.0),
                self._shrunk_as_due(due),
                norms,
                moved,
                tuple(name for name in self.named if name not in given),
            )
        )
        if self.schedule.step():
            self._add_iterate()

    @torch.no_grad()
    def _add_iterate(self) -> None:
        for name, weight in self.named.items():
            if name in self._sum:
                self._sum[name].add_(weight)
            else:
                self._sum[name] = weight.clone()
            self._largest[name] = max(self._largest.get(name, 0.0), weight.abs().max().item())

    def _scale_due(self) -> float | None:
        """Factor on the rate that the window calls for."""
        windows = self.config.windows
        if not windows.variable:
            return 1.0
        return None if self.position >= self.rows else self._length / windows.length

    def _shrunk_as_due(self, due: float | None) -> bool:
        lambd = self.schedule.lambd if self.schedule.averaging else 0.0
        if lambd and due is None:
            return True
        kept = 1 - lambd * (due or 0.0)
        return all(
            bool(((self._before[name] - kept * was).abs() <= _ULPS * was.abs() * (1 + abs(kept))).all())
            for name, was in self._called.items()
        )

    def _moved(self, name: str, due: float, optimizer: torch.optim.Optimizer) -> Moved | None:
        parameter, before, decay = self.named[name], self._before[name], self.config.regularization.weight_decay
        gradient, state = parameter.grad, optimizer.state.get(parameter, {})
        assert gradient is not None
        if not bool(parameter.isfinite().all()):
            raise DivergedError(self.phase, self.epoch, self.schedule.steps + 1)
        if "exp_avg" in state:
            earlier = self._moments.get(name, torch.zeros_like(before))
            group = optimizer.param_groups[0]
            return _moved_by_adam(before, parameter.detach(), gradient, earlier, state, group, due, decay)
        return _moved_by_sgd(before, parameter.detach(), gradient, due, decay)

    def _epoch_ended(self, record: EpochRecord) -> None:
        if self._judged is None:
            return
        weights, as_due, raw = self._judged
        self.checks.append(Check(self.phase, self.epoch, self.schedule.averaged, as_due, raw))
        if record.valid_ppl < self.best.value:
            self.best = BestTrace(record.valid_ppl, weights)
        self.schedule.check(record.valid_ppl)
        self._judged = None
        self.epoch, self.position = self.epoch + 1, 0
        if self.phase == TRAIN and self.epoch > self.config.training.epochs:
            self.phase, self.epoch, self._sum, self._largest = "finetune", 1, {}, {}


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _schedule(config: Config, method: str, rate: float, from_step: float, from_epoch: int) -> Schedule:
    settings = config.optimizer
    averaging = settings.lambd, settings.alpha, from_epoch
    return Schedule(method, rate, settings.nonmonotone_interval, from_step, *averaging)


def _same(seen: Mapping[str, Tensor], due: Mapping[str, Tensor]) -> bool:
    return seen.keys() == due.keys() and all(torch.equal(weight, due[name]) for name, weight in seen.items())


def _moved_by_sgd(before: Tensor, after: Tensor, gradient: Tensor, rate: float, decay: float) -> Moved | None:
    """Compare with ``before - rate * (gradient + decay * before)``; where that fails, find what is off.

    ``None`` where it fails and gradient and weights point the same way, so that nobody can tell rate from decay.
    """
    step, towards = before - after, gradient + decay * before
    sizes = before.abs() + rate * (gradient.abs() + decay * before.abs())

    def explains(movement: Tensor) -> bool:
        return bool(((step - movement).abs() <= _ULPS * sizes + _TINY).all())

    if explains(rate * towards):
        return Moved(1.0, 1.0 if decay else 0.0, as_due=True)
    if abs(_cosine(gradient, before)) > _PARALLEL:
        return None
    # the rate alone; the decay alone; or both, by least squares
    along = _slope(step, towards)
    if explains(along * towards):
        return Moved(along / rate, 1.0 if decay else 0.0, as_due=False)
    shrink = _slope(step - rate * gradient, before)
    if explains(rate * gradient + shrink * before):
        return Moved(1.0, _over(shrink / rate, decay), as_due=False)
    columns = torch.stack([gradient.flatten(), before.flatten()], dim=1)
    # scaled first: the two differ by orders of magnitude
    norms = columns.norm(dim=0).clamp_min(_TINY)
    along, shrink = (torch.linalg.lstsq(columns / norms, step.flatten()[:, None]).solution[:, 0] / norms).tolist()
    return Moved(along / rate, _over(shrink / along if along else math.nan, decay), as_due=False)


def _moved_by_adam(
    before: Tensor,
    after: Tensor,
    gradient: Tensor,
    earlier: Tensor,
    state: dict[str, Any],
    group: dict[str, Any],
    rate: float,
    decay: float,
) -> Moved:
    """The rate from the step over Adam's direction; the L2 term from what was fed to the first moment."""
    (first, second), count, moment = group["betas"], float(state["step"]), state["exp_avg"]
    spread = (state["exp_avg_sq"] / (1 - second**count)).sqrt() + group["eps"]
    direction = moment / (1 - first**count) / spread
    step = before - after
    fed = (moment - first * earlier) / (1 - first) - gradient
    fed_rounding = _ULPS * (moment.abs() + earlier.abs() + gradient.abs() + decay * before.abs()) / (1 - first) + _TINY
    fed_as_due = bool(((fed - decay * before).abs() <= fed_rounding).all())
    rounding = _ULPS * (before.abs() + rate * direction.abs()) + _TINY
    step_as_due = bool(((step - rate * direction).abs() <= rounding).all())
    along = 1.0 if step_as_due else (_slope(step, direction) / rate)
    found = (1.0 if decay else 0.0) if fed_as_due else _over(_slope(fed, before), decay)
    return Moved(along, found, step_as_due and fed_as_due)


def _slope(values: Tensor, column: Tensor) -> float:
    return ((values * column).sum() / column.square().sum()).item()


def _cosine(first: Tensor, second: Tensor) -> float:
    """1 where one of the two is zero."""
    size = first.norm().item() * second.norm().item()
    return (first * second).sum().item() / size if size else 1.0


def _over(found: float, due: float) -> float:
    return found / due if due else found
