"""Softmax and cross-entropy of the fast engine: some rows of logits at a time, and their gradient at once.

A plain softmax allocates at every step a dense matrix of logits in float32 (time * batch rows, one column per word) and
two more of its gradients. Here a block of rows is scored, normalised in float32 and replaced by its gradient, while it
is in reach; what outlives the block is the gradient of the decoder's inputs and of its weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from awd.fast.matmul import Matrix, times, transposed_times

# bytes of the logits that are multiplied at a time, and logits in float32 that are normalised at a time: on a CPU what
# stays below the size at which the C library hands memory back to the system, and about a core's cache
_BLOCK = {"cpu": 1 << 24, "cuda": 1 << 28}
_CHUNK = {"cpu": 1 << 18, "cuda": 1 << 26}


class FastCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy, in nats, of a linear softmax.

    ``apply(x, weight, bias, targets, operand)``: ``x`` is ``(rows, width)``, ``weight`` ``(words, width)``, ``bias``
    ``(words,)``, ``targets`` ``(rows,)``; ``operand`` is the type that is multiplied in.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, operand: torch.dtype) -> Tensor:
        """The loss; its gradients are computed on the way and kept."""
        rows, words = len(x), len(weight)
        x_operand, weight_operand = x.to(operand), weight.to(operand)
        block = max(1, min(rows, _BLOCK[x.device.type] // (words * operand.itemsize)))
        decoder = Matrix(weight_operand, block)
        losses, d_x = x.new_empty(rows), torch.empty_like(x)
        d_weight, d_bias = None, torch.zeros_like(bias)
        for start in range(0, rows, block):
            part = x_operand[start : start + block]
            logits = decoder.times(part)  # (block, words)
            losses[start : start + block] = _to_gradient(logits, bias, targets[start : start + block], rows, d_bias)
            d_x[start : start + block] = times(logits, weight_operand)
            of_block = transposed_times(logits, part)
            d_weight = of_block.to(weight.dtype) if d_weight is None else d_weight.add_(of_block)
            del logits, of_block  # before the next block's are made
        ctx.save_for_backward(d_x, d_weight, d_bias)
        return losses.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients kept, times the incoming one."""
        d_x, d_weight, d_bias = ctx.saved_tensors
        return d_x * gradient, d_weight * gradient, d_bias * gradient, None, None


def _to_gradient(logits: Tensor, bias: Tensor, targets: Tensor, rows: int, d_bias: Tensor) -> Tensor:
    """Replace logits without bias by the gradient of the mean over ``rows``, add the bias's to ``d_bias``.

    Returns:
        The cross-entropy of each row.
    """
    losses = bias.new_empty(len(logits))
    chunk = max(1, _CHUNK[logits.device.type] // logits.shape[1])
    for start in range(0, len(logits), chunk):
        part, wanted = logits[start : start + chunk], targets[start : start + chunk, None]
        scores = torch.add(part, bias)  # (chunk, words) in float32
        scores -= scores.amax(dim=1, keepdim=True)
        wanted_scores = scores.gather(1, wanted)
        total = scores.exp_().sum(dim=1, keepdim=True)
        losses[start : start + chunk] = (total.log() - wanted_scores).squeeze(1)
        # (softmax - one-hot) / rows
        scores /= total * rows
        scores.scatter_add_(1, wanted, scores.new_full((), -1 / rows).expand_as(wanted))
        d_bias += scores.sum(dim=0)
        part.copy_(scores)
    return losses
