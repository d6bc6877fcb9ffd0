"""Single windows at the size asked for: validation losses, and the parts and gradients of training losses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from awd.corpus.batching import batchify
from awd.engine import PLAIN, Engine, FastEngine
from awd.evaluation import evaluate
from awd.model import AWDLSTM, detach
from awd.streams import Streams
from benchmarks.command import MeasurementError
from benchmarks.configurations import Configuration
from benchmarks.published.difference import Difference, largest, relative, zipf_text
from benchmarks.published.program import SHORTEST, Program, Training

LOSS_PARTS = ("cross-entropy", "AR", "TAR")
_SEED = 1
_VALID_COLUMNS, _VALID_WINDOWS = 10, 3.5  # the last window is cut short


@dataclass(frozen=True)
class Side:
    """What computes a training step beside their program in float64.

    Attributes:
        name: as it is printed.
        dtype: of weights and gradients.
        engine: of our step; ``None`` is their program again.
        losses: largest relative difference of a part of the loss that counts as rounding.
        gradients: of a gradient.
    """

    name: str
    dtype: torch.dtype
    engine: Engine | None
    losses: float
    gradients: float


SIDES = (
    Side("torch float64", torch.float64, PLAIN, 1e-12, 1e-11),
    Side("torch fp32", torch.float32, PLAIN, 1e-5, 1e-4),
    Side("fast fp32", torch.float32, FastEngine(), 1e-5, 1e-4),
    Side("fast bf16", torch.float32, FastEngine("bf16"), 1e-2, 5e-2),
    Side("theirs, float32", torch.float32, None, 1e-5, 1e-4),  # a yardstick: what rounding alone does
)
_EVALUATED = SIDES[:2]  # evaluation is PyTorch's own kernels under every engine


@dataclass(frozen=True)
class Window:
    """A training window: the parts of its loss, and its gradients by our names."""

    losses: dict[str, Tensor]
    gradients: dict[str, Tensor]


def validation(program: Program, shape: Configuration) -> Iterator[Difference]:
    """The mean loss of some validation windows, without dropout, in float64 and in float32."""
    rows = int(_VALID_WINDOWS * shape.config.windows.length) + 1
    text = zipf_text(shape.vocabulary_size, rows * _VALID_COLUMNS, seed=2)
    where = f"{(rows - 1) * _VALID_COLUMNS:,} words, no dropout"
    for side in _EVALUATED:
        model = _network(shape, side.dtype)
        theirs = Training(program, model, shape.config, text, _unwanted, _unwanted)
        ours = evaluate(model, batchify(text, _VALID_COLUMNS, "valid"))
        difference = relative(ours, theirs.evaluate(text, _VALID_COLUMNS))
        yield Difference("validation loss", side.name, difference, where, side.losses)


def _unwanted() -> Any:
    raise MeasurementError("validation: their program asks for masks or a window length")


def training_windows(program: Program, shape: Configuration) -> Iterator[Difference]:
    """Parts of the loss and gradients of two windows, the state carried, under the same masks, before clipping."""
    config = replace(
        shape.config,
        optimizer=replace(shape.config.optimizer, clip_norm=None),
        training=replace(shape.config.training, batch_size=shape.batch_size),
    )
    shape = replace(shape, config=config)
    lengths = [max(SHORTEST, shape.length), max(SHORTEST, shape.length // 2)]
    text = zipf_text(shape.vocabulary_size, (sum(lengths) + 1) * shape.batch_size, seed=3)
    reference = _their_windows(program, _network(shape, torch.float64), shape, text, lengths)
    for side in SIDES:
        model = _network(shape, side.dtype, side.engine or PLAIN)
        if side.engine is None:
            found = _their_windows(program, model, shape, text, lengths)
        else:
            found = _our_windows(model, batchify(text, shape.batch_size, "train"), lengths)
        yield from _compared(side, found, reference)


def _network(shape: Configuration, dtype: torch.dtype, engine: Engine = PLAIN) -> AWDLSTM:
    # drawn in float32, so that weights are the same in every type
    sizes, strengths = shape.config.model, shape.config.regularization
    return AWDLSTM(shape.vocabulary_size, sizes, strengths, streams=Streams(_SEED), engine=engine).to(dtype)


class _Recorder(torch.optim.SGD):
    """Takes no step, and keeps the gradients that there were for it."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__(list(parameters.values()), lr=1.0)
        self.named = parameters
        self.gradients: list[dict[str, Tensor]] = []

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Keep them."""
        self.gradients.append(_gradients(self.named))


def _gradients(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # a parameter that nothing reached has none, which is as good as zeros
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in parameters.items()
    }


def _their_windows(
    program: Program, model: AWDLSTM, shape: Configuration, text: Tensor, lengths: list[int]
) -> list[Window]:
    streams, drawn = Streams(_SEED), iter(lengths)
    theirs = Training(
        program, model, shape.config, text, lambda: model.draw_masks(shape.batch_size, streams), lambda: next(drawn)
    )
    recorder = _Recorder(theirs.parameters)
    theirs.train(recorder)
    if len(recorder.gradients) != len(lengths):
        raise MeasurementError(f"windows: their train() took {len(recorder.gradients)} steps, ours {len(lengths)}")
    seen = theirs.seen
    # a penalty that their loss does not have is none
    parts = itertools.zip_longest(seen.cross_entropy, seen.activation, seen.temporal, fillvalue=torch.zeros(()))
    return [
        Window(dict(zip(LOSS_PARTS, values, strict=True)), gradients)
        for values, gradients in zip(parts, recorder.gradients, strict=True)
    ]


def _our_windows(model: AWDLSTM, rows: Tensor, lengths: list[int]) -> list[Window]:
    columns, streams = rows.shape[1], Streams(_SEED)
    found, start, state = [], 0, model.initial_state(columns)
    for length in lengths:
        end = start + length
        output = model(rows[start:end], state, model.draw_masks(columns, streams))
        loss = model.loss(output, rows[start + 1 : end + 1])
        model.zero_grad()
        loss.total.backward()
        parts = (part.detach() for part in (loss.cross_entropy, loss.activation, loss.temporal))
        found.append(Window(dict(zip(LOSS_PARTS, parts, strict=True)), _gradients(dict(model.named_parameters()))))
        start, state = end, detach(output.state)
    return found


def _compared(side: Side, found: list[Window], reference: list[Window]) -> Iterator[Difference]:
    pairs = list(enumerate(zip(found, reference, strict=True), 1))
    for part in LOSS_PARTS:
        apart = {f"window {number}": relative(a.losses[part], b.losses[part]) for number, (a, b) in pairs}
        yield Difference(part, side.name, *largest(apart), side.losses)
    apart = {
        f"{name}, window {number}": relative(a.gradients[name], b.gradients[name])
        for number, (a, b) in pairs
        for name in b.gradients
    }
    yield Difference("gradients", side.name, *largest(apart), side.gradients)
