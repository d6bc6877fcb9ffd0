"""Perplexity of a model on a text: no dropout, the state carried through."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from awd.checks import require_ids, require_tensor
from awd.model import AWDLSTM

# what bounds memory: the layers read many tokens at once, as each call packs their weights anew; the softmax fewer
_TOKENS_AT_ONCE = 4096
_LOGITS_AT_ONCE = 2_000_000


def perplexity(mean_loss: float) -> float:
    """exp(mean negative log-likelihood in nats); infinite where that overflows."""
    try:
        return math.exp(mean_loss)
    except OverflowError:
        return math.inf


def evaluate(model: AWDLSTM, batches: Tensor) -> float:
    """Mean negative log-likelihood, in nats per predicted token.

    (The published code divides by the length of the data; ours divides by what was predicted, one fewer per column.)

    Args:
        model: left in the mode it was in, whatever happens.
        batches: ids, ``(rows, columns)``; all but the first row are predicted.

    Raises:
        ValueError: no such ids: of another shape, type or device, fewer than two rows, or beyond the vocabulary.
    """
    require_batches(model, batches)
    total = torch.zeros((), dtype=torch.float64, device=batches.device)
    rows_at_once = max(1, _LOGITS_AT_ONCE // model.vocabulary_size)
    with evaluating(model):
        for hidden, targets in read(model, batches):
            # (time, columns, width) -> (time * columns, width)
            parts = zip(hidden.flatten(0, 1).split(rows_at_once), targets.flatten().split(rows_at_once), strict=True)
            for some, wanted in parts:
                total += F.cross_entropy(model.decoder(some), wanted, reduction="sum").double()
    return total.item() / batches[1:].numel()


def require_batches(model: AWDLSTM, batches: Tensor) -> None:
    """Refuse what is no text for a model, as :func:`evaluate` says."""
    require_tensor("batches", batches, ("rows", "columns"), model.decoder.bias, torch.int64)
    if len(batches) < 2:
        raise ValueError(f"batches: given {len(batches)} row, expected 2 or more: the first is not predicted")
    require_ids("batches", batches, model.vocabulary_size)


@contextmanager
def evaluating(model: AWDLSTM) -> Iterator[None]:
    """In the block nothing is dropped and no gradient kept; the model then is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(was_training)


def read(model: AWDLSTM, batches: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """A text's hidden states, ``(time, columns, width)``, and the tokens that followed, ``(time, columns)``, part by
    part, the state carried through; for a model in :func:`evaluating`."""
    rows, columns = batches.shape
    chunk = max(1, _TOKENS_AT_ONCE // columns)
    state = model.initial_state(columns)
    for start in range(0, rows - 1, chunk):
        inputs = batches[start : min(start + chunk, rows - 1)]
        output = model(inputs, state)
        state = output.state
        yield output.dropped, batches[start + 1 : start + 1 + len(inputs)]
