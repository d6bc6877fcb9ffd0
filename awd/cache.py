"""The continuous cache: words that were just read become more probable again (Grave et al., arXiv 1612.04426; the
paper's section on pointer models uses it on a trained network)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from awd.evaluation import evaluating, read, require_batches
from awd.model import AWDLSTM

_ROWS_AT_ONCE = 256  # that look back together, which takes 256 x (window + 256) numbers per column


@dataclass(frozen=True)
class Cache:
    """How far a cache looks back and how much it is believed; nothing of it is trained.

    The cache holds pairs of a hidden state and the word that followed it. At hidden state ``h`` it gives a word ``w``
    the probability ``sum of exp(theta h . h_i) over the pairs with word w / the same over all pairs``. A word's
    probability is ``(1 - lambda)`` of the network's and ``lambda`` of the cache's.

    Attributes:
        window: how many pairs it holds, the latest ones.
        theta: 0 counts words, a large one believes the most similar state alone.
        lambda_: share of the cache in a word's probability, 0 to 1.
    """

    window: int = 2000
    theta: float = 0.6
    lambda_: float = 0.1

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ValueError(f"window: given {self.window}, expected 1 or more")
        if not (self.theta >= 0 and math.isfinite(self.theta)):
            raise ValueError(f"theta: given {self.theta}, expected 0 or more")
        if not 0 <= self.lambda_ <= 1:
            raise ValueError(f"lambda_: given {self.lambda_}, expected 0 to 1")


def evaluate_with_caches(model: AWDLSTM, batches: Tensor, caches: Sequence[Cache]) -> list[float]:
    """Mean negative log-likelihood, in nats per predicted token, with each of several caches; the text is read once.

    Each column has a cache of its own, empty at its beginning, where the network's probability stands alone.

    Args:
        model: as for :func:`awd.evaluate`.
        batches: ids, ``(rows, columns)``; all but the first row are predicted.
        caches: settings, such as a grid.

    Raises:
        ValueError: as for :func:`awd.evaluate`.
    """
    require_batches(model, batches)
    longest = max((cache.window for cache in caches), default=1)
    totals = [torch.zeros((), dtype=torch.float64, device=batches.device) for _ in caches]
    with evaluating(model):
        states, words = batches.new_zeros(0), batches.new_zeros(0)
        for hidden, targets in read(model, batches):
            parts = zip(hidden.split(_ROWS_AT_ONCE), targets.split(_ROWS_AT_ONCE), strict=True)
            for new_states, new_words in parts:
                states = torch.cat([states[-longest:], new_states]) if len(states) else new_states
                words = torch.cat([words[-longest:], new_words]) if len(words) else new_words
                # (rows, columns, vocabulary) -> (rows, columns)
                of_model = -F.cross_entropy(model.decoder(new_states).movedim(-1, 1), new_words, reduction="none")
                recalled = _Recalled(states, words, len(new_states))
                for total, cache in zip(totals, caches, strict=True):
                    total -= mix(of_model, recalled.log_probability(cache), cache.lambda_).double().sum()
    return [total.item() / batches[1:].numel() for total in totals]


def tune_cache(
    model: AWDLSTM,
    batches: Tensor,
    windows: Sequence[int] = (500, 2000),
    thetas: Sequence[float] = (0.1, 0.3, 0.6, 1.0),
    lambdas: Sequence[float] = (0.05, 0.1, 0.2),
) -> Cache:
    """The cache of a grid with the least loss on a text; the validation text, never the test.

    Raises:
        ValueError: as for :func:`awd.evaluate`; or the grid is empty.
    """
    grid = [Cache(window, theta, lambda_) for window in windows for theta in thetas for lambda_ in lambdas]
    losses = evaluate_with_caches(model, batches, grid)
    return grid[losses.index(min(losses))]


def mix(of_model: Tensor, of_cache: Tensor, lambda_: float) -> Tensor:
    """Log-probabilities of words by both; by the model alone where the cache is empty, so that its own is ``nan``."""
    if lambda_ == 0:
        return of_model
    mixed = torch.logaddexp(of_model + math.log1p(-lambda_), of_cache + math.log(lambda_)) if lambda_ < 1 else of_cache
    return torch.where(of_cache.isnan(), of_model, mixed)


class _Recalled:
    """What the last rows of a text find in the rows before them.

    Args:
        states: hidden states, ``(rows, columns, width)``, the newest last.
        words: that followed each, ``(rows, columns)``.
        new: how many of the last rows look back; a row sees those before it, and itself not.
    """

    def __init__(self, states: Tensor, words: Tensor, new: int) -> None:
        by_column = states.transpose(0, 1)  # (columns, rows, width)
        rows = torch.arange(len(states), device=states.device)
        self.back = rows[-new:, None] - rows  # (new, rows): how far behind the one that looks
        self.similarity = by_column[:, -new:] @ by_column.transpose(1, 2)  # (columns, new, rows)
        self.same_word = words.T[:, -new:, None] == words.T[:, None]  # (columns, new, rows)
        self._known: dict[tuple[int, float], Tensor] = {}

    def log_probability(self, cache: Cache) -> Tensor:
        """Of each new row's word, ``(new, columns)``; ``nan`` where the cache is empty."""
        key = (cache.window, cache.theta)
        if key not in self._known:
            seen = (self.back >= 1) & (self.back <= cache.window)
            scores = (cache.theta * self.similarity).masked_fill(~seen, -math.inf)
            found = scores.masked_fill(~self.same_word, -math.inf)
            # -inf - -inf is nan where nothing is seen
            self._known[key] = (found.logsumexp(-1) - scores.logsumexp(-1)).T
        return self._known[key]
