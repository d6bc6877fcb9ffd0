"""Matrix products of the fast engine: oneDNN's, with a matrix packed once and used many times.

The two operations of PyTorch that do it are those its own compiler calls, and are not documented; where they are
missing, or refuse a type, ``torch.mm`` does the same, slower.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def packing_works(dtype: torch.dtype) -> bool:
    """Whether this PyTorch multiplies packed matrices of ``dtype`` on this processor; tried on a tiny product."""
    if dtype not in (torch.float32, torch.bfloat16) or not torch.backends.mkldnn.is_available():
        return False
    x, weight = torch.eye(2, dtype=dtype), torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=dtype)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 2)
        product = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "")
        added = torch.ops.mkldnn._linear_pointwise.binary(x, x, packed, None, "add")
    except (RuntimeError, AttributeError):
        return False
    return torch.equal(product, weight.t()) and torch.equal(added, weight.t() + x)


class Matrix:
    """A matrix ready to be multiplied by: ``x @ weight.T``.

    Args:
        weight: ``(out, in)``, of the type to multiply in; may be a transposed view.
        rows: rows of ``x``, for which it is laid out.
    """

    def __init__(self, weight: Tensor, rows: int) -> None:
        self._packed = weight.device.type == "cpu" and packing_works(weight.dtype)
        self._weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, rows) if self._packed else weight.t()

    def times(self, x: Tensor, add: Tensor | None = None) -> Tensor:
        """``x @ weight.T``, plus ``add`` if it is given.

        Args:
            x: ``(rows, in)``.
            add: ``(rows, out)``, of the same type.
        """
        if self._packed and add is None:
            return torch.ops.mkldnn._linear_pointwise(x, self._weight, None, "none", [], "")
        if self._packed:
            return torch.ops.mkldnn._linear_pointwise.binary(x, add, self._weight, None, "add")
        return torch.mm(x, self._weight) if add is None else torch.addmm(add, x, self._weight)


def times_transposed(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight.T``: ``(rows, in)`` and ``(out, in)`` give ``(rows, out)``."""
    return Matrix(weight, len(x)).times(x)


def times(x: Tensor, weight: Tensor) -> Tensor:
    """``x @ weight``: ``(rows, in)`` and ``(in, out)`` give ``(rows, out)``."""
    # in bfloat16 torch.mm is oneDNN too, and takes any layout as fast; in float32 it is another library, and slower
    return torch.mm(x, weight) if x.dtype == torch.bfloat16 else times_transposed(x, weight.t())


def transposed_times(a: Tensor, b: Tensor) -> Tensor:
    """``a.T @ b``, a sum of outer products over rows: ``(rows, out)`` and ``(rows, in)`` give ``(out, in)``."""
    return times(a.t(), b)
