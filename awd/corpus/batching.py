"""Text laid out for training and evaluation: columns read in parallel, time down the rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from awd.config import TrainingConfig
from awd.corpus.text import SPLITS
from awd.errors import CorpusError

if TYPE_CHECKING:
    from torch import Tensor


def batchify(tokens: Tensor, batch_size: int, split: str) -> Tensor:
    """Cut a text into ``batch_size`` equal consecutive pieces, one per column; what does not fill a row is left out.

    Args:
        tokens: ids, ``(tokens,)``.
        batch_size: columns.
        split: name for the error message.

    Returns:
        ``(tokens // batch_size, batch_size)``.

    Raises:
        CorpusError: fewer than two rows, so that nothing could be predicted.
        ValueError: ``tokens`` has more or fewer dimensions than one, or ``batch_size`` is below 1.
    """
    if tokens.dim() != 1:
        raise ValueError(f"tokens: given shape {tuple(tokens.shape)}, expected (tokens,)")
    rows = count_rows(len(tokens), batch_size, split)
    # (tokens,) -> (batch, rows) -> (rows, batch)
    return tokens[: rows * batch_size].view(batch_size, rows).t().contiguous()


def count_rows(tokens: int, batch_size: int, split: str) -> int:
    """Rows of a batched split.

    Raises:
        CorpusError: fewer than two, so that nothing could be predicted; the message names split, sizes and key.
        ValueError: ``batch_size`` is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: given {batch_size}, expected an integer from 1 on")
    rows = tokens // batch_size
    if rows < 2:
        raise CorpusError(
            f"the {split} split has {tokens} tokens, too few for {batch_size} columns: at least {2 * batch_size} "
            f"are needed; use a longer text or a smaller training.{batch_key(split)}"
        )
    return rows


def batch_key(split: str) -> str:
    """Field of :class:`awd.config.TrainingConfig` that holds a split's columns."""
    return "batch_size" if split == "train" else f"{split}_batch_size"


def require_fit(tokens: Mapping[str, int], training: TrainingConfig, valid_tokens: int | None = None) -> None:
    """Check every split against its batch, before anything is trained.

    Args:
        tokens: how many each split has.
        training: whose batches they must fill.
        valid_tokens: of the validation split that an epoch is validated on.

    Raises:
        CorpusError: a split is too short.
    """
    for split in SPLITS:
        count_rows(tokens[split], getattr(training, batch_key(split)), split)
    if valid_tokens is not None:
        least = 2 * training.valid_batch_size
        if valid_tokens < least:
            raise CorpusError(
                f"corpus.valid_tokens: {valid_tokens} is too few for training.valid_batch_size "
                f"{training.valid_batch_size}: at least {least} are needed"
            )


def predicted_tokens(tokens: int, batch_size: int) -> int:
    """Tokens predicted in one pass over a split: all that fill a row, but the first of each column;
    0 where there are too few to predict any."""
    return max(0, tokens // batch_size - 1) * batch_size
