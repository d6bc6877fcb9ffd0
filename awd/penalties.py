"""Activation and temporal activation regularization (paper, section 4.6).

The text writes an L2 norm; the published code, which the paper's numbers come from, uses mean squares. So do we.
"""

from __future__ import annotations

from torch import Tensor


def activation_penalty(dropped: Tensor, alpha: float) -> Tensor:
    """AR: ``alpha * mean(dropped ** 2)``.

    Args:
        dropped: the last layer's output AFTER its dropout, ``(time, batch, width)``.
        alpha: strength; the paper uses 2.
    """
    return alpha * dropped.square().mean()


def temporal_activation_penalty(raw: Tensor, beta: float) -> Tensor:
    """TAR: ``beta * mean((h[t + 1] - h[t]) ** 2)``; 0 for a window of one step, which has no difference.

    Args:
        raw: the last layer's output BEFORE its dropout, ``(time, batch, width)``.
        beta: strength; the paper uses 1.
    """
    if len(raw) < 2:
        return raw.new_zeros(())
    return beta * (raw[1:] - raw[:-1]).square().mean()
