"""Faults that ports of this model could have, each put in by replacing a piece of `awd`; more of them are classes of
`tests.awd.test_regressions`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from awd import dropout
from awd import model as model_module
from awd import penalties as penalties_module
from awd import trainer as trainer_module
from awd import windows as windows_module
from awd.lstm import WeightDropLSTM
from awd.model import AWDLSTM, Loss, Output
from awd.optim import NonMonotonicTrigger, Stepper
from awd.trainer import Trainer

Patch = Callable[[Any], None]
LOCKED = ("input", "hidden", "output")


class DoesNotScaleWhatItKeeps(WeightDropLSTM):
    def forward(self, inputs, state, weight_mask=None):
        unscaled = None if weight_mask is None else weight_mask.ne(0).to(weight_mask.dtype)
        return super().forward(inputs, state, unscaled)


def layer(layer_class: type[WeightDropLSTM]) -> Patch:
    return lambda patch: patch.setattr(model_module, "WeightDropLSTM", layer_class)


def masks(change: Callable[[dropout.Masks, Any], dropout.Masks]) -> Patch:
    """Change the masks of each minibatch."""

    def draw(model, regularization, vocabulary_size, batch_size, **streams):
        return change(dropout.draw_masks(model, regularization, vocabulary_size, batch_size, **streams), regularization)

    return lambda patch: patch.setattr(model_module, "draw_masks", draw)


def swapped(first: str, second: str) -> Patch:
    def draw(model, regularization, *sizes, **streams):
        mixed = {first: getattr(regularization, second), second: getattr(regularization, first)}
        return dropout.draw_masks(model, replace(regularization, **mixed), *sizes, **streams)

    return lambda patch: patch.setattr(model_module, "draw_masks", draw)


PAPERS = {"mask_per": "window", "embedding_drops": "words", "recurrent_drops": "weights"}


def ignored(choice: str) -> Patch:
    """The paper's masks whatever is configured, spread out to the shapes that the model asks for."""

    def draw(model, regularization, *sizes, steps=None, **streams):
        papers = replace(regularization, **{choice: PAPERS[choice]})
        drawn = dropout.draw_masks(model, papers, *sizes, steps=steps, **streams)
        if choice == "recurrent_drops":
            return drawn
        if choice == "embedding_drops":
            return replace(drawn, embedding=drawn.embedding.expand(-1, model.embedding_width))
        hidden = tuple(mask.expand(steps, -1, -1) for mask in drawn.hidden)
        others = {place: getattr(drawn, place).expand(steps, -1, -1) for place in ("input", "output")}
        return replace(drawn, hidden=hidden, **others)

    return lambda patch: patch.setattr(model_module, "draw_masks", draw)


def whole_columns(patch: Any) -> None:
    """Recurrent units dropped where weights are configured."""

    def draw(model, regularization, *sizes, **streams):
        return dropout.draw_masks(model, replace(regularization, recurrent_drops="units"), *sizes, **streams)

    patch.setattr(model_module, "draw_masks", draw)


def never_drawn_again() -> Patch:
    kept: dict[int, dropout.Masks] = {}

    def draw(*args, **kwargs):
        return kept.setdefault(args[3], dropout.draw_masks(*args, **kwargs))

    return lambda patch: patch.setattr(model_module, "draw_masks", draw)


def new_mask_every_step(patch: Any) -> None:
    """Locked masks with time and batch swapped."""

    def apply(mask, values):
        if mask is None or mask.ndim != 3:
            return dropout.apply(mask, values)
        kept = mask.max()
        return values * kept * (torch.rand(len(values), 1, values.shape[-1]) < 1 / kept)

    patch.setattr(model_module, "apply", apply)


def shared_across_the_batch(place: str) -> Patch:
    def change(drawn, _):
        mask = getattr(drawn, place)
        shared = tuple(one[:, :1].expand_as(one) for one in mask) if place == "hidden" else mask[:, :1].expand_as(mask)
        return replace(drawn, **{place: shared})

    return masks(change)


def unscaled(patch: Any) -> None:
    real = dropout.bernoulli_mask
    patch.setattr(dropout, "bernoulli_mask", lambda shape, p, *args: real(shape, p, *args) * (1 - p))


def tokens_instead_of_words(patch: Any) -> None:
    """Embedding dropout anew at every place in the text."""
    p = []

    def draw(*args, **kwargs):
        masks = dropout.draw_masks(*args, **kwargs)
        p[:] = [1 - 1 / masks.embedding.max().item()]
        return replace(masks, embedding=None)

    def embedding(tokens, weight):
        found = F.embedding(tokens, weight)
        share = p.pop() if p else 0.0
        return found * (torch.rand(*tokens.shape, 1) >= share) / (1 - share)

    patch.setattr(model_module, "draw_masks", draw)
    patch.setattr(model_module, "F", SimpleNamespace(embedding=embedding, cross_entropy=F.cross_entropy))


def model(model_class: type[AWDLSTM]) -> Patch:
    return lambda patch: patch.setitem(trainer_module.Trainer.__init__.__kwdefaults__, "network", model_class)


class DropsWordsFromTheSoftmax(AWDLSTM):
    def forward(self, tokens, state, masks=None):
        self.mask = None if masks is None else masks.embedding
        return super().forward(tokens, state, masks)

    def loss(self, output, targets):
        loss = super().loss(output, targets)
        if self.mask is None:
            return loss
        logits = output.dropped @ (self.mask * self.decoder.weight).T + self.decoder.bias
        return replace(loss, cross_entropy=F.cross_entropy(logits.flatten(0, 1), targets.flatten()))


class PenalisesUndroppedOutput(AWDLSTM):
    def loss(self, output, targets):
        loss = super().loss(output, targets)
        alpha = self.regularization.activation_penalty
        return replace(loss, activation=penalties_module.activation_penalty(output.raw, alpha))


class ComparesDroppedOutputs(AWDLSTM):
    def loss(self, output, targets):
        loss = super().loss(output, targets)
        beta = self.regularization.temporal_activation_penalty
        return replace(loss, temporal=penalties_module.temporal_activation_penalty(output.dropped, beta))


class ReportsPenaltiesButLearnsNothingFromThem(AWDLSTM):
    def loss(self, output, targets):
        loss = super().loss(output, targets)
        return Loss(loss.cross_entropy, loss.activation.detach(), loss.temporal.detach())


class AddsUpSquares(AWDLSTM):
    """The norm of the paper's text, squared, in place of the mean."""

    def loss(self, output, targets):
        loss = super().loss(output, targets)
        return replace(loss, activation=self.regularization.activation_penalty * output.dropped.square().sum())


class DropsInEvaluation(AWDLSTM):
    def forward(self, tokens, state, masks=None):
        if self.training:
            return super().forward(tokens, state, masks)
        self.training = True
        try:
            return super().forward(tokens, state)
        finally:
            self.training = False


class DropsWeightsInEvaluation(WeightDropLSTM):
    def forward(self, inputs, state, weight_mask=None):
        if not self.training:
            weight_mask = torch.rand_like(self.weight_hh).gt(0.5).to(self.weight_hh) * 2
        return super().forward(inputs, state, weight_mask)


class DropsOutputOnlyInFirstTraining(AWDLSTM):
    evaluated = False

    def forward(self, tokens, state, masks=None):
        self.evaluated = self.evaluated or not self.training
        output = super().forward(tokens, state, masks)
        return Output(output.raw, output.raw, output.state) if self.evaluated else output


class CopiesInsteadOfTying(AWDLSTM):
    def reset_parameters(self, streams=None):
        self.decoder.weight = nn.Parameter(self.embedding.weight.detach().clone())
        super().reset_parameters(streams)


class ForgetsTheState(AWDLSTM):
    def forward(self, tokens, state, masks=None):
        return super().forward(tokens, self.initial_state(tokens.shape[1]), masks)


def stepper(stepper_class: type[Stepper]) -> Patch:
    return lambda patch: patch.setattr(trainer_module, "Stepper", stepper_class)


class RatesLandOneStepLate(Stepper):
    """As those of ``torch.optim.ASGD``."""

    before = 1.0

    def step(self, loss, rate_scale=1.0):
        super().step(loss, self.before)
        self.before = rate_scale


class AveragesWhatWasBefore(Stepper):
    def start_averaging(self):
        super().start_averaging()
        self.averaged_steps += 1


class LeavesOutTheFirstIterate(Stepper):
    """As ``torch.optim.ASGD`` with ``t0=0``."""

    left_out = False

    def step(self, loss, rate_scale=1.0):
        super().step(loss, rate_scale)
        if self.averaged_steps == 2 and not self.left_out:
            self.averaged_steps, self.left_out = 1, True
            self._join(self.average)


class AveragesByExponentialDecay(Stepper):
    def _join(self, average):
        with torch.no_grad():
            for mean, weight in zip(average.parameters(), self.parameters, strict=True):
                mean.lerp_(weight, 0.1 if self.averaged_steps > 1 else 1.0)


class DecaysNoBiases(Stepper):
    def __init__(self, model, config, learning_rate, weight_decay):
        super().__init__(model, config, learning_rate, weight_decay)
        groups = [
            {"params": [weight for weight in self.parameters if weight.ndim > 1], "weight_decay": weight_decay},
            {"params": [bias for bias in self.parameters if bias.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = type(self.optimizer)(groups, lr=learning_rate)


class DecaysNothing(Stepper):
    def __init__(self, model, config, learning_rate, weight_decay):
        super().__init__(model, config, learning_rate, 0.0)


class ClipsTheDecayToo(Stepper):
    """The L2 term added before clipping."""

    def __init__(self, model, config, learning_rate, weight_decay):
        super().__init__(model, config, learning_rate, 0.0)
        self.decay = weight_decay

    def step(self, loss, rate_scale=1.0):
        real = torch.nn.utils.clip_grad_norm_

        def clip(parameters, limit):
            for parameter in parameters:
                parameter.grad.add_(parameter.detach(), alpha=self.decay)
            return real(parameters, limit)

        torch.nn.utils.clip_grad_norm_ = clip
        try:
            super().step(loss, rate_scale)
        finally:
            torch.nn.utils.clip_grad_norm_ = real


class AveragesFromTheFirstEpoch(Stepper):
    """Whatever ``average_from_epoch`` says."""

    def __init__(self, model, config, learning_rate, weight_decay):
        super().__init__(model, replace(config, average_from_epoch=0), learning_rate, weight_decay)


class AveragesOneEpochLate(Stepper):
    def __init__(self, model, config, learning_rate, weight_decay):
        late = config.average_from_epoch + (config.average_from_epoch > 0)
        super().__init__(model, replace(config, average_from_epoch=late), learning_rate, weight_decay)


class ClipsNothing(Stepper):
    def __init__(self, model, config, learning_rate, weight_decay):
        super().__init__(model, replace(config, clip_norm=None), learning_rate, weight_decay)


def trigger(trigger_class: type[NonMonotonicTrigger]) -> Patch:
    return lambda patch: patch.setattr(trainer_module, "NonMonotonicTrigger", trigger_class)


class ComparesWithTheLastChecks(NonMonotonicTrigger):
    def check(self, value):
        fired = len(self.history) > self.interval and value > min(self.history[-self.interval :])
        self.history.append(value)
        return fired


class FiresAtATie(NonMonotonicTrigger):
    def check(self, value):
        settled = self.history[: max(0, len(self.history) - self.interval)]
        self.history.append(value)
        return bool(settled) and value >= min(settled)


def trainer(trainer_class: type[Trainer]) -> Patch:
    return lambda patch: patch.setattr(trainer_module, "Trainer", trainer_class)


class RemembersTheFirstPhase(Trainer):
    """One history of the criterion for both phases."""

    def enter(self, phase):
        earlier = self.trigger.history if phase != "train" else []
        super().enter(phase)
        self.trigger.history = earlier


class FinetunesFromTheLastWeights(Trainer):
    def _start_finetuning(self):
        last = {name: weight.clone() for name, weight in self.model.state_dict().items()}
        best, self.best = self.best, replace(self.best, weights=last)
        super()._start_finetuning()
        self.best = best


class KeepsTheLastWeights(Trainer):
    def epoch(self):
        record = super().epoch()
        self.best = replace(self.best, weights={name: w.clone() for name, w in self.model.state_dict().items()})
        return record


class SkipsEveryOtherWindow(Trainer):
    def epoch(self):
        real = windows_module.windows
        trainer_module.windows = lambda *cut: itertools.islice(real(*cut), 0, None, 2)
        try:
            return super().epoch()
        finally:
            trainer_module.windows = real


def lengths(draw: Callable[..., int]) -> Patch:
    return lambda patch: patch.setattr(windows_module, "draw_length", draw)


def _length(config, generator, *, short=True, spread=1.0, whole=int, least=True):
    draw = torch.rand((), generator=generator).item()
    base = config.length / 2 if short and draw < config.short_probability else config.length
    drawn = whole(base + spread * config.spread * torch.randn((), generator=generator).item())
    return max(config.minimum if least else 1, drawn)


def never_short(config, generator):
    return _length(config, generator, short=False)


def twice_the_spread(config, generator):
    return _length(config, generator, spread=2.0)


def rounded_up(config, generator):
    return _length(config, generator, whole=lambda value: int(value) + 1)


def no_minimum(config, generator):
    return _length(config, generator, least=False)


def always_the_base(config, generator):
    return config.length
