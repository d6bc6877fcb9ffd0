"""What a comparison gives, and the text on which both sides are computed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Difference:
    """One comparison.

    Attributes:
        part: what was compared.
        by: what computed the side that is held against theirs.
        largest: relative difference, the largest of all that were compared; of tensors, of their norms.
        where: out of what, or where it was largest.
        allowed: the tolerance.
    """

    part: str
    by: str
    largest: float
    where: str
    allowed: float

    @property
    def within(self) -> bool:
        """Whether it is tolerated; a NaN is not."""
        return self.largest <= self.allowed


def relative(ours: Tensor | float, theirs: Tensor | float) -> float:
    """The norm of the difference over the norm of theirs."""
    # of float64 from the start: a Python number would be rounded to torch's default type
    a, b = (torch.as_tensor(value, dtype=torch.float64).detach() for value in (ours, theirs))
    apart, size = (torch.linalg.vector_norm(values).item() for values in (a - b, b))
    if apart == 0:
        return 0.0
    return apart / size if size else math.inf


def largest(differences: Mapping[str, float]) -> tuple[float, str]:
    """The largest and its name; a NaN counts as larger than any number."""
    name = max(differences, key=lambda key: (math.isnan(differences[key]), differences[key]))
    return differences[name], name


def zipf_text(words: int, tokens: int, seed: int) -> Tensor:
    """Text whose words are drawn by Zipf's law, ``(tokens,)`` of ids.

    The last word of the vocabulary never occurs: their look-up gives it no gradient (docs/fidelity.md).
    """
    frequencies = 1 / torch.arange(1, words, dtype=torch.float64)
    return torch.multinomial(frequencies, tokens, replacement=True, generator=torch.Generator().manual_seed(seed))


def learnable_text(words: int, tokens: int, seed: int) -> Tensor:
    """Text in which a word is followed by one of three, ``(tokens,)`` of ids; without the last word either."""
    choices = torch.randint(3, (tokens,), generator=torch.Generator().manual_seed(seed)).tolist()
    text = itertools.accumulate(choices, lambda word, choice: (2 * word + choice) % (words - 1), initial=0)
    return torch.tensor(list(text)[1:])
