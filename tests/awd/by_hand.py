"""A run written out as one loop, in the paper's terms: what a trainer's epochs are compared with.

The network and its masks are the package's; the rest is written here: laying out the text, windows, losses, clipping,
steps, averages, the criterion, both phases and perplexity.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from awd.config import Config
from awd.corpus.text import Encoded
from awd.model import AWDLSTM
from awd.streams import Streams

Weights = list[Tensor]


@dataclass
class Epoch:
    phase: str
    train_ppl: float
    valid_ppl: float
    learning_rate: float
    averaging: bool
    judged: Weights
    iterates: list[Weights]


def lay_out(tokens: list[int], columns: int) -> Tensor:
    rows = len(tokens) // columns
    return torch.tensor([[tokens[column * rows + row] for column in range(columns)] for row in range(rows)])


def put(model: AWDLSTM, weights: Weights) -> None:
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            parameter.copy_(weight)


def perplexity_of(model: AWDLSTM, weights: Weights, text: Tensor) -> float:
    judged = copy.deepcopy(model).eval()
    put(judged, weights)
    with torch.no_grad():
        logits = judged.logits(judged(text[:-1], judged.initial_state(text.shape[1])))
    return math.exp(-logits.log_softmax(-1).gather(-1, text[1:, :, None]).mean().item())


def mean_of(iterates: list[Weights]) -> Weights:
    return [torch.stack(weights).mean(dim=0) for weights in zip(*iterates, strict=True)]


def fires(v: list[float], current: float, n: int) -> bool:
    return len(v) > n and current > min(v[: len(v) - n])


def iterates_of_an_epoch(
    model: AWDLSTM, config: Config, text: Tensor, lengths: torch.Generator, masks: Streams, learning_rate: float
) -> Iterator[tuple[float, Weights]]:
    """The cross-entropy of each window, summed over its tokens, and the weights after its step."""
    cut, strength, clip = config.windows, config.regularization, config.optimizer.clip_norm
    state, start = model.initial_state(text.shape[1]), 0
    parameters = list(model.train().parameters())
    while start < len(text) - 1:
        length = cut.length
        if cut.variable:
            base = length / 2 if torch.rand((), generator=lengths) < cut.short_probability else length
            length = max(cut.minimum, int(base + cut.spread * torch.randn((), generator=lengths).item()))
        stop = min(start + length, len(text) - 1)
        output = model(text[start:stop], state, model.draw_masks(text.shape[1], masks, stop - start))
        targets = text[start + 1 : stop + 1, :, None]
        cross_entropy = -model.logits(output).log_softmax(-1).gather(-1, targets)
        loss = cross_entropy.mean() + strength.activation_penalty * (output.dropped**2).mean()
        if stop - start > 1:
            loss = loss + strength.temporal_activation_penalty * ((output.raw[1:] - output.raw[:-1]) ** 2).mean()
        gradients = torch.autograd.grad(loss, parameters)
        norm = math.sqrt(sum((gradient**2).sum().item() for gradient in gradients))
        factor = min(1.0, clip / (norm + 1e-6)) if clip else 1.0
        rate = learning_rate * length / cut.length
        pairs = zip(parameters, gradients, strict=True)
        put(model, [w.detach() - rate * (factor * g + strength.weight_decay * w.detach()) for w, g in pairs])
        yield cross_entropy.sum().item(), [parameter.detach().clone() for parameter in parameters]
        state = [(hidden.detach(), cell.detach()) for hidden, cell in output.state]
        start += length


def run_by_hand(config: Config, corpus: Encoded, seed: int) -> list[Epoch]:
    streams, masks = Streams(seed), Streams(seed)
    lengths = streams["window lengths"]
    model = AWDLSTM(len(corpus.words), config.model, config.regularization, streams=streams)
    text = lay_out(corpus.train, config.training.batch_size)
    valid = lay_out(corpus.valid, config.training.valid_batch_size)
    method, n = config.optimizer.method, config.optimizer.nonmonotone_interval
    epochs: list[Epoch] = []

    def one_epoch(phase: str, rate: float, average_from: float) -> float:
        """``average_from``: steps of this phase after which averaging starts."""
        before = [weights for epoch in epochs if epoch.phase == phase for weights in epoch.iterates]
        losses, iterates = zip(*iterates_of_an_epoch(model, config, text, lengths, masks, rate), strict=True)
        iterates = list(iterates)
        train_ppl = math.exp(sum(losses) / text[1:].numel())
        averaging = average_from < len(before) + len(iterates)
        judged = mean_of((before + iterates)[int(average_from) :]) if averaging else iterates[-1]
        current = perplexity_of(model, judged, valid)
        epochs.append(Epoch(phase, train_ppl, current, rate, averaging, judged, iterates))
        return current

    rate = config.optimizer.learning_rate
    average_from: float = config.optimizer.average_from if method == "asgd" else math.inf
    v: list[float] = []
    for epoch in range(config.training.epochs):
        if method == "asgd" and epoch <= config.optimizer.average_from_epoch:  # T is not before this epoch's first step
            average_from = max(config.optimizer.average_from, sum(len(one.iterates) for one in epochs))
        current = one_epoch("train", rate, math.inf if epoch < config.optimizer.average_from_epoch else average_from)
        fired = fires(v, current, n)
        v.append(current)
        if fired and method == "nt-asgd" and average_from == math.inf:
            average_from = sum(len(epoch.iterates) for epoch in epochs)
        if fired and method == "sgd-halving":
            rate /= 2
    put(model, best_of(epochs).judged)
    v = []
    for _ in range(config.finetuning.epochs):
        current = one_epoch("finetune", config.finetuning.learning_rate or config.optimizer.learning_rate, 0)
        if fires(v, current, n):
            break
        v.append(current)
    return epochs


def best_of(epochs: list[Epoch]) -> Epoch:
    return min(epochs, key=lambda epoch: epoch.valid_ppl)
