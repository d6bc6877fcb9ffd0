"""A real training run, watched through hooks: what every layer was given and gave, and which gradients came back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ablations.audit.probes import reference
from awd import evaluation
from awd import trainer as trainer_module
from awd.config import Config
from awd.corpus.text import Encoded
from awd.engine import Engine
from awd.model import Loss, Output
from awd.trainer import EpochRecord, Trainer

_CHANCE = 1e-6  # below it, a coincidence is ruled out
_NUDGE = 0.5  # added to a recurrent weight to see whether the loss takes notice


@dataclass(frozen=True)
class LayerPass:
    """One layer's call: ``inputs`` and ``outputs`` of a window, ``hidden`` and ``cell`` state before it."""

    inputs: Tensor
    hidden: Tensor
    cell: Tensor
    outputs: Tensor


@dataclass
class ForwardTrace:
    """One call of the model.

    Attributes:
        embedded: rows of the embedding matrix for ``tokens``, ``(time, batch, width)``.
        layers: each layer's call, first to last.
        raw: last layer's output before dropout; ``dropped``: after it.
    """

    tokens: Tensor
    embedded: Tensor
    layers: list[LayerPass] = field(default_factory=list)
    raw: Tensor = field(default_factory=lambda: torch.empty(0))
    dropped: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def shown(self) -> Tensor:
        """Where the output's dropout can be read off, ``(time, batch, width)``: elsewhere a zero hides it."""
        return self.raw != 0

    @property
    def output_factors(self) -> Tensor:
        """The output's dropout, elementwise; 1 where it is not shown."""
        return torch.where(self.shown, self.dropped / self.raw, 1.0).double()


@dataclass(frozen=True)
class Recurrent:
    """What one window's gradients say of one recurrent matrix.

    Attributes:
        zero: where they are exactly zero, whatever is differentiated; ``None`` if there is no gradient at all.
        visible: where it could have been other than zero: the unit fed from did something, the unit fed counted.
    """

    zero: Tensor | None
    visible: Tensor


@dataclass
class WindowTrace:
    """One window trained on.

    Attributes:
        epoch: from 1.
        seen: the model's call.
        in_order: whether inputs and targets were the next piece of the text.
        cross_entropy: as reported; ``own``: as computed here from the raw softmax weights.
        gradients: in the last layer's raw output: of the reported cross-entropy (``reported``), of ``own``, and of
            what was really differentiated (``total``).
        recurrent: each layer's recurrent gradient.
    """

    epoch: int
    seen: ForwardTrace
    in_order: bool
    cross_entropy: float
    own: float
    gradients: dict[str, Tensor]
    recurrent: list[Recurrent] = field(default_factory=list)


@dataclass(frozen=True)
class Nudge:
    """How the outputs answered when recurrent weights were changed: every dropped one at once, one kept one per layer.

    Attributes:
        dropped: weights without gradient that were changed.
        dropped_moved: whether that moved any output by a single bit.
        kept_moved: the same for the kept weight of largest gradient, for each layer that has one.
        loss_change: smallest change of the cross-entropy that a kept one caused.
    """

    dropped: int
    dropped_moved: bool
    kept_moved: list[bool]
    loss_change: float


@dataclass(frozen=True)
class Evaluation:
    """One call of a model in evaluation mode: what was seen of it, and the model, which may be an average."""

    seen: ForwardTrace
    model: nn.Module


class Observer:
    """Trains a configuration by the real trainer and keeps what it sees.

    Args:
        config: what to train, cut short.
        corpus: what to train on, cut short.
        seed: of the run.
        engine: what computes it.
    """

    def __init__(self, config: Config, corpus: Encoded, seed: int, engine: Engine) -> None:
        self.config, self.precision = config, engine.precision
        self.windows: list[WindowTrace] = []
        self.evaluations: list[Evaluation] = []
        self.nudge: Nudge | None = None
        self.kernel_errors: dict[str, list[float]] = {"train": [], "evaluation": []}
        self.valid_losses: list[tuple[float, float]] = []  # of each epoch: as reported, and with nothing dropped
        self.repeats: list[tuple[float, float]] = []  # two evaluations of the same weights
        self.lengths: list[list[int]] = []  # of the windows of each epoch
        self.epoch, self.position = 1, 0
        self._muted = False
        self._call: tuple[Any, ...] = ()
        self._arrived: dict[str, Tensor] = {}
        self._pass = ForwardTrace(torch.empty(0), torch.empty(0))
        self.trainer: Trainer = trainer_module.Trainer(config, corpus, seed, engine=engine, on_epoch=self._epoch_ended)
        self.text = reference.layout(corpus.train, config.training.batch_size)

    def run(self) -> None:
        """Train, with hooks that are gone afterwards."""
        model = self.trainer.model
        with ExitStack() as hooks:
            for handle in self._handles(model):
                hooks.callback(handle.remove)
            loss = model.loss
            model.loss = lambda output, targets: self._lost(output, targets, loss(output, targets))  # type: ignore[method-assign]
            self.trainer.run()

    def _handles(self, model: nn.Module) -> Iterable[Any]:
        # plain functions: an average is a deep copy of the model, and would copy the object of a bound method too
        yield model.register_forward_pre_hook(lambda *call: self._called(*call), with_kwargs=True)
        yield model.register_forward_hook(lambda module, _, output: self._returned(module, output))
        for layer in model.get_submodule("layers").children():
            yield layer.register_forward_hook(lambda _, inputs, output: self._layer(inputs, output))
        for name, parameter in model.named_parameters():
            if name.endswith(("weight_hh", "bias_hh")):
                yield parameter.register_post_accumulate_grad_hook(lambda given, name=name: self._came(name, given))
        yield register_optimizer_step_pre_hook(lambda *_: self._stepping(model))

    def _called(self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self._muted:
            return
        tokens = inputs[0]
        self._arrived = {}
        self._call = (inputs, named, torch.get_rng_state())
        self._pass = ForwardTrace(tokens, model.get_submodule("embedding").get_parameter("weight").detach()[tokens])

    def _came(self, name: str, parameter: Tensor) -> None:
        """Keep a gradient as it comes from the kernel: before it is clipped, or anything is added to it."""
        if parameter.grad is not None:
            self._arrived[name] = parameter.grad.clone()

    def _layer(self, inputs: tuple[Any, ...], output: Any) -> None:
        if not self._muted:
            hidden, cell = inputs[1]
            self._pass.layers.append(LayerPass(inputs[0].detach(), hidden.detach(), cell.detach(), output[0].detach()))

    def _returned(self, model: nn.Module, output: Output) -> None:
        if self._muted:
            return
        self._pass.raw, self._pass.dropped = output.raw.detach(), output.dropped.detach()
        if not model.training:
            self.evaluations.append(Evaluation(self._pass, model))

    def _lost(self, output: Output, targets: Tensor, loss: Loss) -> Loss:
        if self._muted:
            return loss
        seen = self._pass
        end = self.position + len(seen.tokens)
        text = [self.text[self.position : end], self.text[self.position + 1 : end + 1]]
        own, gradient = reference.cross_entropy(self.trainer.model, seen.raw, seen.output_factors, targets)
        (reported,) = torch.autograd.grad(loss.cross_entropy, output.raw, retain_graph=True)
        gradients = {"own": gradient, "reported": reported.double()}
        # from here on: the gradient of whatever the trainer chooses to differentiate
        output.raw.register_hook(lambda total: gradients.update(total=total.detach().double()))
        in_order = all(map(torch.equal, text, (seen.tokens, targets)))
        self.windows.append(WindowTrace(self.epoch, seen, in_order, loss.cross_entropy.item(), own, gradients))
        self.position = end
        return loss

    def _stepping(self, model: nn.Module) -> None:
        window = self.windows[-1]
        p = self.config.regularization.weight_dropout
        zero = self._without_gradient(model)
        for index, seen in enumerate(window.seen.layers):
            bias = self._arrived.get(f"layers.{index}.bias_hh")
            window.recurrent.append(_recurrent(seen, zero.get(f"layers.{index}.weight_hh"), bias, p))
        if not self.kernel_errors["train"] and all(recurrent.visible.all() for recurrent in window.recurrent):
            self._compare_kernels(model, window.seen, window.recurrent, "train")
        if self.nudge is None and any(recurrent.visible.any() for recurrent in window.recurrent):
            self.nudge = self._nudged(model, window)

    def _without_gradient(self, model: nn.Module) -> dict[str, Tensor]:
        """Where the recurrent matrices that got a gradient have none, whatever is differentiated.

        A gradient is a sum over time, and rounded numbers may add up to exactly zero: that of a kept weight does once
        in some thousand times where torch adds in bfloat16, as on processors for which oneDNN has no bfloat16. So
        outputs summed with random weights are differentiated too, until one more sum finds nothing that was missed.
        """
        zero = {name: gradient == 0 for name, gradient in self._arrived.items() if name.endswith("weight_hh")}
        matrices = [model.get_parameter(name) for name in zero]
        draws = torch.Generator().manual_seed(0)
        left, before = _count(zero), None
        while left and left != before:
            with torch.enable_grad():
                raw = self._again().raw
            along = torch.randn(raw.shape, generator=draws).to(raw)
            gradients = torch.autograd.grad(raw, matrices, along, allow_unused=True, materialize_grads=True)
            zero = {name: where & (new == 0) for (name, where), new in zip(zero.items(), gradients, strict=True)}
            left, before = _count(zero), left
        return zero

    def _compare_kernels(self, model: nn.Module, seen: ForwardTrace, found: list[Recurrent] | None, phase: str) -> None:
        """How far every layer's outputs are from an LSTM written out, with the weights it should have used."""
        keep = 1 - self.config.regularization.weight_dropout
        for index, layer in enumerate(model.get_submodule("layers").children()):
            matrix, call = layer.get_parameter("weight_hh").detach(), seen.layers[index]
            zero = found[index].zero if found else None
            if found:
                matrix = matrix / keep if zero is None else torch.where(zero, 0.0, matrix / keep)
            expected = reference.lstm(layer, matrix, call.inputs, call.hidden, call.cell)
            self.kernel_errors[phase].append((call.outputs - expected).abs().max().item())

    def _nudged(self, model: nn.Module, window: WindowTrace) -> Nudge:
        matrices = [layer.get_parameter("weight_hh") for layer in model.get_submodule("layers").children()]
        hidden = [_hidden(recurrent) for recurrent in window.recurrent]
        before = self._replayed(matrices, [None] * len(matrices))
        after = self._replayed(matrices, hidden)
        kept_moved, changes = [], []
        for index, recurrent in enumerate(window.recurrent):
            gradient = self._arrived.get(f"layers.{index}.weight_hh")
            if gradient is None or not (recurrent.visible & (gradient != 0)).any():
                continue
            one = torch.zeros_like(recurrent.visible)
            one.view(-1)[gradient.abs().argmax()] = True
            moved = self._replayed(matrices, [one if other == index else None for other in range(len(matrices))])
            kept_moved.append(not torch.equal(before[0], moved[0]))
            changes.append(abs(moved[1] - before[1]))
        dropped = sum(int(places.sum()) for places in hidden)
        return Nudge(dropped, not torch.equal(before[0], after[0]), kept_moved, min(changes, default=0.0))

    @torch.no_grad()
    def _replayed(self, matrices: list[nn.Parameter], places: Sequence[Tensor | None]) -> tuple[Tensor, float]:
        """The last window once more, with recurrent weights nudged at the given places: outputs and loss."""
        saved = [matrix.clone() for matrix in matrices]
        for matrix, where in zip(matrices, places, strict=True):
            if where is not None:
                matrix.add_(where.to(matrix.dtype), alpha=_NUDGE)
        output = self._again()
        targets = self.text[self.position - len(output.raw) + 1 : self.position + 1]
        self._muted = True
        value = self.trainer.model.loss(output, targets).cross_entropy.item()
        self._muted = False
        for matrix, values in zip(matrices, saved, strict=True):
            matrix.copy_(values)
        return output.raw, value

    def _again(self) -> Output:
        """The last window once more, with the same masks."""
        inputs, named, state = self._call
        self._muted = True
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            output: Output = self.trainer.model(*inputs, **named)
        self._muted = False
        return output

    def _epoch_ended(self, record: EpochRecord) -> None:
        self.lengths.append([len(window.seen.tokens) for window in self.windows if window.epoch == self.epoch])
        last = self.evaluations[-1]
        self._compare_kernels(last.model, last.seen, None, "evaluation")
        text = self.trainer.epoch_data
        self.valid_losses.append((record.valid_ppl, evaluation.perplexity(reference.undropped_loss(last.model, text))))
        first, second = (evaluation.evaluate(self.trainer.model, text) for _ in range(2))
        self.repeats.append((first, second))
        self.epoch, self.position = self.epoch + 1, 0


def _count(places: Mapping[str, Tensor]) -> int:
    return sum(int(where.sum()) for where in places.values())


def _recurrent(seen: LayerPass, zero: Tensor | None, bias: Tensor | None, p: float) -> Recurrent:
    fed_from = (torch.cat([seen.hidden[None], seen.outputs[:-1]]) != 0).flatten(0, 1).any(dim=0)
    # a gate whose bias has no gradient did not count in this window, whatever was dropped
    counted = torch.ones(4 * len(fed_from), dtype=torch.bool) if bias is None else bias != 0
    if zero is None:
        return Recurrent(None, counted[:, None] & fed_from[None])
    if p ** int(fed_from.sum()) < _CHANCE:
        # nor did one without any gradient at all, where dropping a whole row by chance is out of the question
        counted = counted & ~zero[:, fed_from].all(dim=1)
    return Recurrent(zero, counted[:, None] & fed_from[None])


def _hidden(recurrent: Recurrent) -> Tensor:
    """Recurrent weights that the kernel cannot have used."""
    return torch.zeros_like(recurrent.visible) if recurrent.zero is None else recurrent.zero & recurrent.visible
