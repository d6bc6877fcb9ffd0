"""Window lengths of backpropagation through time (paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from awd.config import WindowConfig


@dataclass(frozen=True)
class Window:
    """One window of the training text.

    Attributes:
        start: position of its first input.
        length: inputs in it; less than what was drawn where the text ends.
        rate_scale: factor on the learning rate, the drawn length over the base length.
    """

    start: int
    length: int
    rate_scale: float


def draw_length(config: WindowConfig, generator: torch.Generator) -> int:
    """Draw a length: N(base, spread) truncated to an integer, at least ``minimum``; base is halved with
    ``short_probability``. A fixed length draws nothing."""
    if not config.variable:
        return config.length
    short = torch.rand((), generator=generator).item() < config.short_probability
    base = config.length / 2 if short else config.length
    drawn = base + config.spread * torch.randn((), generator=generator).item()
    return max(config.minimum, int(drawn))


def windows(total: int, config: WindowConfig, generator: torch.Generator, start: int = 0) -> Iterator[Window]:
    """Cut ``total`` time steps of text into windows whose targets cover every token but the first, once each.

    Args:
        total: rows of the batched text; each window needs one more row than its length, for the last target.
        generator: stream of the lengths, on CPU.
        start: where the first begins.
    """
    while start < total - 1:
        drawn = draw_length(config, generator)
        yield Window(start, min(drawn, total - 1 - start), drawn / config.length)
        start += drawn
