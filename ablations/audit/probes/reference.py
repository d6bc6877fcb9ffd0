"""The paper's equations in plain torch, in float64: what measurements are compared with. Nothing of ``awd`` is used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


def layout(tokens: Sequence[int], columns: int) -> Tensor:
    """A text as ``(rows, columns)``, each column a consecutive piece."""
    rows = len(tokens) // columns
    return torch.tensor(tokens[: rows * columns]).view(columns, rows).t()


def lstm(layer: nn.Module, recurrent: Tensor, inputs: Tensor, hidden: Tensor, cell: Tensor) -> Tensor:
    """One LSTM layer, step by step.

    Args:
        layer: whose other weights are used.
        recurrent: the hidden-to-hidden matrix, ``(4 * hidden, hidden)``, rows as input, forget, cell, output gate.
        inputs: ``(time, batch, input)``.
        hidden: ``(batch, hidden)``, before the window; likewise ``cell``.

    Returns:
        Outputs ``(time, batch, hidden)``.
    """
    weights = {name: parameter.detach().double() for name, parameter in layer.named_parameters()}
    recurrent = recurrent.detach().double().t()
    hidden, cell = hidden.double(), cell.double()
    outputs = []
    for driven in inputs.double() @ weights["weight_ih"].t() + weights["bias_ih"] + weights["bias_hh"]:
        enter, forget, candidate, leave = (driven + hidden @ recurrent).chunk(4, dim=-1)
        cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        hidden = leave.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs)


def undropped_loss(model: nn.Module, text: Tensor) -> float:
    """Mean negative log-likelihood of a text, ``(rows, columns)``, with nothing dropped, from zero state."""
    weights = {name: parameter.detach().double() for name, parameter in model.named_parameters()}
    hidden = weights["embedding.weight"][text[:-1]]
    for layer in model.get_submodule("layers").children():
        recurrent = layer.get_parameter("weight_hh")
        zero = torch.zeros(text.shape[1], recurrent.shape[1])
        hidden = lstm(layer, recurrent, hidden, zero, zero)
    # a tied decoder has no name of its own
    decoder = weights.get("decoder.weight", weights["embedding.weight"])
    scores = (hidden @ decoder.t() + weights["decoder.bias"]).log_softmax(dim=-1)
    return -scores.gather(-1, text[1:, :, None]).mean().item()


def cross_entropy(model: nn.Module, raw: Tensor, factors: Tensor, targets: Tensor) -> tuple[float, Tensor]:
    """Mean cross-entropy of a softmax over every word's raw vector, and its gradient in the raw last output.

    Args:
        raw: last layer's output before dropout, ``(time, batch, width)``.
        factors: its dropout, elementwise.
        targets: ``(time, batch)``.
    """
    decoder = model.get_submodule("decoder")
    weight, bias = (decoder.get_parameter(name).detach().double() for name in ("weight", "bias"))
    start = raw.double().requires_grad_()
    scores = ((start * factors) @ weight.t() + bias).log_softmax(dim=-1)
    value = -scores.gather(-1, targets[:, :, None]).mean()
    (gradient,) = torch.autograd.grad(value, start)
    return value.item(), gradient


def penalty_gradients(raw: Tensor, factors: Tensor) -> dict[str, Tensor]:
    """Gradients, in the raw last output, of the mean squares that AR and TAR could be meant to be."""
    start = raw.double().requires_grad_()
    dropped = start * factors
    values = {"AR": dropped.square().mean(), "AR, undropped": start.square().mean()}
    if len(raw) > 1:
        values["TAR"] = (start[1:] - start[:-1]).square().mean()
        values["TAR, dropped"] = (dropped[1:] - dropped[:-1]).square().mean()
    return {name: torch.autograd.grad(value, start, retain_graph=True)[0] for name, value in values.items()}


def parameter_count(vocabulary: int, embedding: int, widths: Sequence[int], tied: bool) -> int:
    """Parameters of an LSTM language model with two bias vectors a layer."""
    layers = sum(4 * width * (before + width + 2) for before, width in zip([embedding, *widths], widths, strict=False))
    return vocabulary * embedding + layers + vocabulary + (0 if tied else vocabulary * widths[-1])


@dataclass
class Schedule:
    """What a phase's steps should be: rate, averaging, and what the criterion does.

    Attributes:
        method: as in :class:`awd.config.OptimizerConfig`, whose terms the others are too.
        average_from: steps after which iterates are averaged; infinite while nothing has said so.
        average_from_epoch: epochs after which they are.
        steps: taken so far; ``averaged``: how many of them are in the average.
        values: validation perplexities so far; ``fired``: the checks, from 1, at which the criterion fired.
    """

    method: str
    rate: float
    interval: int
    average_from: float
    lambd: float
    alpha: float
    average_from_epoch: int = 0
    steps: int = 0
    averaged: int = 0
    values: list[float] = field(default_factory=list)
    fired: list[int] = field(default_factory=list)

    @property
    def averaging(self) -> bool:
        """Whether the next iterate goes into the average."""
        return self.steps >= self.average_from and len(self.values) >= self.average_from_epoch

    def next_rate(self, scale: float) -> float:
        """Rate of the next step, whose window calls for ``scale`` times the base rate."""
        decay = (1 + self.lambd * self.rate * self.averaged) ** -self.alpha if self.averaging else 1.0
        return self.rate * scale * decay

    def step(self) -> bool:
        """Take a step; returns whether its iterate is averaged."""
        averaged = self.averaging
        self.averaged += averaged
        self.steps += 1
        return averaged

    def check(self, value: float) -> bool:
        """Check a validation perplexity against ``min(v[:-n])``; returns whether the criterion fired."""
        lie_behind = len(self.values) > self.interval
        fires = lie_behind and value > min(self.values[: len(self.values) - self.interval])
        self.values.append(value)
        if fires:
            self.fired.append(len(self.values))
            if self.method == "nt-asgd" and math.isinf(self.average_from):
                self.average_from = self.steps
            if self.method == "sgd-halving":
                self.rate /= 2
        return fires
