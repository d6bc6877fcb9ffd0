"""What callers hand to the library, checked by shape, type and device.

A kernel that is given wrong sizes may read memory that is not its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from awd.messages import beyond_vocabulary

Size = int | str  # a number, or the name of a size that may be anything but 0


def require_tensor(
    what: str, given: Any, sizes: Sequence[Size], like: Tensor, dtype: torch.dtype | None = None
) -> None:
    """Refuse what has another shape, type or device than a call needs.

    Args:
        what: its name, for the message.
        given: maybe no tensor at all.
        sizes: the shape, ``(7, "batch")``.
        like: a tensor on the device, and of the type if ``dtype`` is not given.
        dtype: the type.

    Raises:
        ValueError: names what was given and what is expected.
    """
    if not isinstance(given, Tensor):
        raise ValueError(f"{what}: given {type(given).__name__}, expected a tensor of shape {_shape(sizes)}")
    if given.shape != sizes and not _fits(given.shape, sizes):
        raise ValueError(f"{what}: given shape {_shape(given.shape)}, expected {_shape(sizes)}")
    wanted_type = dtype or like.dtype
    if given.dtype != wanted_type:
        raise ValueError(f"{what}: given {given.dtype}, expected {wanted_type}")
    if given.device != like.device:
        raise ValueError(f"{what}: given on {given.device}, expected on {like.device}")


def require_count(what: str, given: Any) -> None:
    """Refuse what is not an integer from 1 on.

    Raises:
        ValueError: names what was given.
    """
    if not isinstance(given, Integral) or given < 1:
        raise ValueError(f"{what}: given {given!r}, expected an integer from 1 on")


def require_length(what: str, given: Any, length: int) -> None:
    """Refuse what is not a list or tuple of ``length``.

    Raises:
        ValueError: names both lengths.
    """
    if not isinstance(given, list | tuple):
        raise ValueError(f"{what}: given {type(given).__name__}, expected a list of {length}")
    if len(given) != length:
        raise ValueError(f"{what}: given {len(given)}, expected {length}")


def require_ids(what: str, ids: Tensor, vocabulary_size: int) -> None:
    """Refuse ids that are no word of a vocabulary. Waits for a GPU, so it is for once a text, not once a step.

    Raises:
        ValueError: names the lowest and the highest id given, and how many words there are.
    """
    lowest, highest = (int(bound.item()) for bound in ids.aminmax())
    if lowest < 0 or highest >= vocabulary_size:
        raise ValueError(beyond_vocabulary(what, lowest, highest, vocabulary_size))


def _fits(shape: Sequence[int], sizes: Sequence[Size]) -> bool:
    return len(shape) == len(sizes) and all(
        given > 0 if isinstance(wanted, str) else given == wanted for given, wanted in zip(shape, sizes, strict=True)
    )


def _shape(sizes: Sequence[Size]) -> str:
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"
