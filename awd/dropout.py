"""The three kinds of dropout mask (paper, sections 3, 4.2 and 4.3).

A mask is drawn once a minibatch, holds 0 where something is dropped and 1 / (1 - p) where it is kept, and is
handed to the model explicitly; nothing here keeps state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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
        embedding: ``(vocabulary, 1)``, whole words of the input look-up (section 4.3).
        input: ``(1, batch, embedding)``, locked: one value for all time steps, another for each sequence.
        hidden: one ``(1, batch, hidden)`` a boundary between layers.
        output: ``(1, batch, last layer)``.
        weight: one ``(4 * hidden, hidden)`` a layer, DropConnect on the hidden-to-hidden matrix (section 3).
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
    streams: Streams | None,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
) -> Masks:
    """Draw the masks of one minibatch; elsewhere than on a CPU all masks of a kind at once, in as few launches.

    Args:
        streams: one named stream for each mask, or for each kind where they are drawn at once; ``None`` draws from
            torch's global generator.

    Returns:
        Masks shaped as :class:`Masks` says. A probability of 0 draws nothing from its stream.

    Raises:
        ValueError: a size is not an integer from 1 on.
    """
    require_count("vocabulary_size", vocabulary_size)
    require_count("batch_size", batch_size)

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

    sizes = model.layer_sizes
    return Masks(
        embedding=mask("embedding mask", (vocabulary_size, 1), regularization.embedding_dropout),
        input=mask("input mask", (1, batch_size, model.embedding_width), regularization.input_dropout),
        hidden=masks("hidden mask", [(1, batch_size, width) for _, width in sizes[:-1]], regularization.hidden_dropout),
        output=mask("output mask", (1, batch_size, sizes[-1][1]), regularization.output_dropout),
        weight=masks("weight mask", [(4 * width, width) for _, width in sizes], regularization.weight_dropout),
    )


def require_masks(masks: Masks, sizes: list[tuple[int, int]], vocabulary: int, batch: int, like: Tensor) -> None:
    """Refuse masks that are not of a network's shapes, as :class:`Masks` has them.

    Args:
        sizes: ``(input width, output width)`` of each layer.
        like: a tensor of the network.

    Raises:
        ValueError: names the mask, and the shape, type or device given and expected.
    """
    require_length("masks.hidden", masks.hidden, len(sizes) - 1)
    require_length("masks.weight", masks.weight, len(sizes))
    _require("embedding", masks.embedding, (vocabulary, 1), like)
    _require("input", masks.input, (1, batch, sizes[0][0]), like)
    _require("output", masks.output, (1, batch, sizes[-1][1]), like)
    for layer, (_, width) in enumerate(sizes):
        _require(f"weight of layer {layer}", masks.weight[layer], (4 * width, width), like)
    for layer, mask in enumerate(masks.hidden):
        _require(f"hidden after layer {layer}", mask, (1, batch, sizes[layer][1]), like)


def _require(name: str, mask: Tensor | None, shape: tuple[int, ...], like: Tensor) -> None:
    if mask is not None:
        require_tensor(f"mask, {name}", mask, shape, like)


def apply(mask: Tensor | None, values: Tensor) -> Tensor:
    """``mask * values`` with broadcasting; the values themselves where there is no mask."""
    return values if mask is None else mask * values
