"""Text laid out for training and evaluation: columns read in parallel, time down the rows."""

from __future__ import annotations

import torch
from torch import Tensor

from awd.errors import CorpusError


def batchify(tokens: Tensor, batch_size: int, split: str) -> Tensor:
    """Cut a text into ``batch_size`` equal consecutive pieces, one a column; what does not fill a row is left out.

    Args:
        tokens: ids, ``(tokens,)``.
        batch_size: columns.
        split: name for the error message.

    Returns:
        ``(tokens // batch_size, batch_size)``.

    Raises:
        CorpusError: fewer than two rows, so that nothing could be predicted.
    """
    rows = len(tokens) // batch_size
    if rows < 2:
        raise CorpusError(
            f"the {split} split has {len(tokens)} tokens, too few for {batch_size} columns: at least "
            f"{2 * batch_size} are needed; use a longer text or a smaller training.{_BATCH_KEY[split]}"
        )
    # (tokens,) -> (batch, rows) -> (rows, batch)
    return tokens[: rows * batch_size].view(batch_size, rows).t().contiguous()


_BATCH_KEY = {"train": "batch_size", "valid": "valid_batch_size", "test": "test_batch_size"}


def to_device(batches: Tensor, device: torch.device) -> Tensor:
    """The whole batched text on the device, once."""
    return batches.to(device)
