"""The three kinds of dropout mask (paper, sections 3, 4.2 and 4.3), and an alternative to each.

A mask is drawn once a minibatch, holds 0 where something is dropped and 1 / (1 - p) where it is kept, and is
handed to the model explicitly; nothing here keeps state. An alternative is a mask of another shape, or one whose
rows are all alike, so that the model does not know of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from awd.checks import require_count, require_length, require_tensor
from awd.config import LARGEST_DROPOUT, ModelConfig, RegularizationConfig
from awd.streams import Streams


def bernoulli_mask(
    shape: tuple[int, ...], p: float, generator: torch.Generator | None, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """A mask of ``shape``: 0 with probability ``p``, to the nearest 1 / 65536, else 1 / (1 - p).

    Raises:
        ValueError: ``p`` is below 0 or beyond 1 - 1 / 65536, where less than the least share would have to be kept.
    """
    if not 0 <= p <= LARGEST_DROPOUT:
        raise ValueError(f"dropout probability: given {p}, expected 0 to {LARGEST_DROPOUT}, which is 1 - 2 ** -16")
    count = math.prod(shape)
    # four numbers of 16 bits in each random integer: on a CPU a fifth of the time that bernoulli_ takes, or less
    integers = torch.empty(-(-count // 4), dtype=torch.int64, device=device).random_(
        -(2**63), None, generator=generator
    )
    numbers = integers.view(torch.int16)[:count].view(shape)  # uniform on [-32768, 32767]
    kept = torch.empty(shape, dtype=dtype, device=device)
    return torch.ge(numbers, round(p * 65536) - 32768, out=kept).mul_(1 / (1 - p))


@dataclass(frozen=True)
class Masks:
    """Every mask of one minibatch; ``None`` drops nothing there.

    Attributes:
        embedding: ``(vocabulary, 1)``, whole words of the input look-up (section 4.3); or ``(vocabulary, embedding)``,
            single units of each word's vector.
        input: ``(1, batch, embedding)``, locked: one value for all time steps, another for each sequence; or
            ``(time, batch, embedding)``, another for each step, too. Likewise the next two.
        hidden: one ``(1, batch, hidden)`` a boundary between layers.
        output: ``(1, batch, last layer)``.
        weight: one ``(4 * hidden, hidden)`` a layer, DropConnect on the hidden-to-hidden matrix (section 3). Where
            units are dropped in place of weights its rows are all alike, so that whole columns are 0: as
            ``U (m * h) = (U diag(m)) h``, that is dropout of the hidden state as the four gates read it, from the state
            before the window on, with one mask for all steps and all sequences of the minibatch. It is not a mask for
            each sequence or each step, and touches neither the cell state nor what the layer hands on.
    """

    embedding: Tensor | None
    input: Tensor | None
    hidden: tuple[Tensor | None, ...]
    output: Tensor | None
    weight: tuple[Tensor | None, ...]


def no_masks(num_layers: int) -> Masks:
    """Masks that drop nothing, as in evaluation."""
    return Masks(None, None, (None,) * (num_layers - 1), None, (None,) * num_layers)


def draw_masks(
    model: ModelConfig,
    regularization: RegularizationConfig,
    vocabulary_size: int,
    batch_size: int,
    *,
    steps: int | None = None,
    streams: Streams | None,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Masks:
    """Draw the masks of one minibatch; elsewhere than on a CPU all masks of a kind at once, in as few launches.

    Args:
        steps: length of the window; needed where each step has masks of its own (``mask_per``).
        streams: one named stream for each mask, or for each kind where they are drawn at once; ``None`` draws from
            torch's global generator.

    Returns:
        Masks shaped as :class:`Masks` says. A probability of 0 draws nothing from its stream.

    Raises:
        ValueError: a size is not an integer from 1 on.
    """
    require_count("vocabulary_size", vocabulary_size)
    require_count("batch_size", batch_size)
    if regularization.mask_per == "step":
        require_count("steps", steps)

    def mask(name: str, shape: tuple[int, ...], p: float) -> Tensor | None:
        if p == 0:
            return None
        return bernoulli_mask(shape, p, streams[name] if streams else None, device, dtype)

    def masks(name: str, shapes: list[tuple[int, ...]], p: float) -> tuple[Tensor | None, ...]:
        counts = [math.prod(shape) for shape in shapes]
        whole = None if device.type == "cpu" else mask(name, (sum(counts),), p)
        if whole is None:
            return tuple(mask(f"{name} {layer}", shape, p) for layer, shape in enumerate(shapes))
        return tuple(part.view(shape) for part, shape in zip(whole.split(counts), shapes, strict=True))

    shapes = _shapes(model, regularization, vocabulary_size, steps or 1, batch_size)
    rows = [shape if regularization.recurrent_drops == "weights" else (1, shape[1]) for shape in shapes.weight]
    weight = masks("weight mask", rows, regularization.weight_dropout)
    return Masks(
        embedding=mask("embedding mask", shapes.embedding, regularization.embedding_dropout),
        input=mask("input mask", shapes.input, regularization.input_dropout),
        hidden=masks("hidden mask", shapes.hidden, regularization.hidden_dropout),
        output=mask("output mask", shapes.output, regularization.output_dropout),
        # where units are dropped one row stands for all
        weight=tuple(
            None if one is None else one.expand(shape) for one, shape in zip(weight, shapes.weight, strict=True)
        ),
    )


class _Shapes(NamedTuple):
    """Of every mask, as :class:`Masks` says."""

    embedding: tuple[int, ...]
    input: tuple[int, ...]
    hidden: list[tuple[int, ...]]
    output: tuple[int, ...]
    weight: list[tuple[int, ...]]


def _shapes(
    model: ModelConfig, regularization: RegularizationConfig, vocabulary: int, steps: int, batch: int
) -> _Shapes:
    widths = [width for _, width in model.layer_sizes]
    time = steps if regularization.mask_per == "step" else 1
    return _Shapes(
        embedding=(vocabulary, model.embedding_width if regularization.embedding_drops == "units" else 1),
        input=(time, batch, model.embedding_width),
        hidden=[(time, batch, width) for width in widths[:-1]],
        output=(time, batch, widths[-1]),
        weight=[(4 * width, width) for width in widths],
    )


def require_masks(
    masks: Masks,
    model: ModelConfig,
    regularization: RegularizationConfig,
    vocabulary: int,
    steps: int,
    batch: int,
    like: Tensor,
) -> None:
    """Refuse masks that are not of a network's shapes, as :class:`Masks` has them.

    Args:
        steps: length of the window.
        like: a tensor of the network.

    Raises:
        ValueError: names the mask, and the shape, type or device given and expected.
    """
    shapes = _shapes(model, regularization, vocabulary, steps, batch)
    require_length("masks.hidden", masks.hidden, len(shapes.hidden))
    require_length("masks.weight", masks.weight, len(shapes.weight))
    _require("embedding", masks.embedding, shapes.embedding, like)
    _require("input", masks.input, shapes.input, like)
    _require("output", masks.output, shapes.output, like)
    for layer, mask in enumerate(masks.weight):
        _require(f"weight of layer {layer}", mask, shapes.weight[layer], like)
    for layer, mask in enumerate(masks.hidden):
        _require(f"hidden after layer {layer}", mask, shapes.hidden[layer], like)


def _require(name: str, mask: Tensor | None, shape: tuple[int, ...], like: Tensor) -> None:
    if mask is not None:
        require_tensor(f"mask, {name}", mask, shape, like)


def apply(mask: Tensor | None, values: Tensor) -> Tensor:
    """``mask * values`` with broadcasting; the values themselves where there is no mask."""
    return values if mask is None else mask * values
