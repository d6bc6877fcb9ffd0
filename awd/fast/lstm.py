"""The LSTM of the fast engine on a CPU, forward and backward written out.

What makes it fast: one product for the inputs of all steps; the recurrent matrix packed once a minibatch; the gates'
derivatives formed many steps at a time, so that little is left to do inside the recursion; each weight's gradient
one product over all steps. With bfloat16 operands the weights, the state and the activations stay float32; what a
product gives is rounded to bfloat16, and so are the gates before their nonlinearity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from awd.dropout import apply
from awd.fast.matmul import Matrix, times, times_transposed, transposed_times

_CHUNK = 1 << 18  # gate values whose derivatives are formed at a time: 1 MiB of float32, about a core's cache


class FastLSTM(torch.autograd.Function):
    """One layer over a window, as :meth:`awd.lstm.WeightDropLSTM.forward` has it.

    ``apply(inputs, hidden, cell, weight_ih, weight_hh, bias_ih, bias_hh, weight_mask, operand)`` gives the outputs
    ``(time, batch, hidden)`` and the hidden and cell state after the window, ``(batch, hidden)`` each; ``operand`` is
    the type that is multiplied in. Gates lie in torch's order: input, forget, cell, output.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        hidden: Tensor,
        cell: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias_ih: Tensor,
        bias_hh: Tensor,
        weight_mask: Tensor | None,
        operand: torch.dtype,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the window."""
        steps, batch, _ = inputs.shape
        size = hidden.shape[1]
        x = inputs.flatten(0, 1).to(operand)  # (time * batch, input)
        dropped = apply(weight_mask, weight_hh).to(operand)
        gates = inputs.new_empty(steps, batch, 4 * size)
        # row t is the state before step t
        cells, outputs = (inputs.new_empty(steps + 1, batch, size) for _ in range(2))  # each can be let go alone
        cells[0], outputs[0] = cell, hidden
        states = outputs if outputs.dtype == operand else outputs.to(operand)
        from_input = times_transposed(x, weight_ih.to(operand)).view(steps, batch, 4 * size)
        _recur(from_input, Matrix(dropped, batch), bias_ih + bias_hh, gates, cells, outputs, states)
        ctx.save_for_backward(weight_ih, weight_mask)
        # not saved like those, so that the backward pass can let each go once it is used up: there memory peaks
        ctx.x, ctx.dropped, ctx.gates, ctx.cells, ctx.states = x, dropped, gates, cells, states
        ctx.versions = _versions(ctx)
        return outputs[1:], outputs[-1].clone(), cells[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor, d_hidden: Tensor, d_cell: Tensor) -> tuple[Tensor | None, ...]:
        """Backpropagate through time; what was saved is used up, so that a second time raises."""
        if ctx.gates is None:
            raise RuntimeError("backward a second time: what the LSTM had kept for it is used up")
        if _versions(ctx) != ctx.versions:
            raise RuntimeError("what the LSTM keeps for its backward pass was modified by an inplace operation")
        weight_ih, weight_mask = ctx.saved_tensors
        kind, operand = d_outputs.dtype, ctx.x.dtype
        d_gates, d_hidden, d_cell = _recur_back(ctx, d_outputs, d_hidden, d_cell)
        d_bias = ctx.gates.sum(dim=(0, 1))
        ctx.gates = ctx.cells = ctx.dropped = None
        flat = d_gates.flatten(0, 1)  # (time * batch, 4 * hidden)
        d_inputs = None
        if ctx.needs_input_grad[0]:
            d_inputs = times(flat, weight_ih.to(operand)).to(kind).view(*d_outputs.shape[:2], -1)
        d_weight_ih = transposed_times(flat, ctx.x).to(kind)
        d_weight_hh = transposed_times(flat, ctx.states[:-1].flatten(0, 1))
        d_weight_hh = d_weight_hh.to(kind) if weight_mask is None else weight_mask * d_weight_hh
        ctx.x = ctx.states = None
        return d_inputs, d_hidden, d_cell, d_weight_ih, d_weight_hh, d_bias, d_bias.clone(), None, None


def _versions(ctx: Any) -> list[int]:
    """How often what is kept, which callers may hold too, was written to; autograd counts for what it saves alone."""
    kept = (ctx.x, ctx.dropped, ctx.states)
    return [0 if tensor.is_inference() else tensor._version for tensor in kept]


def _recur(
    from_input: Tensor, recurrent: Matrix, bias: Tensor, gates: Tensor, cells: Tensor, outputs: Tensor, states: Tensor
) -> None:
    """Fill ``gates`` (time, batch, 4 * hidden), and ``cells`` and ``outputs`` (time + 1, batch, hidden) from row 1 on.

    ``states`` is ``outputs`` in the operands' type, or ``outputs`` itself.
    """
    size = cells.shape[2]
    tanh_ = _tanh_of(states.dtype)
    # views of all steps at once: one of each inside the loop would cost as much as the arithmetic
    gate, from_input_at = gates.unbind(), from_input.unbind()
    cell, output, state = cells.unbind(), outputs.unbind(), states.unbind()
    opened = gates[:, :, : 2 * size].unbind()  # input and forget gate
    enter, forget, candidate, leave = (part.unbind() for part in gates.chunk(4, dim=2))
    for t in range(len(gate)):
        torch.add(recurrent.times(state[t], from_input_at[t]), bias, out=gate[t])
        opened[t].sigmoid_()
        tanh_(candidate[t])
        leave[t].sigmoid_()
        torch.mul(forget[t], cell[t], out=cell[t + 1]).addcmul_(enter[t], candidate[t])
        tanh_(output[t + 1].copy_(cell[t + 1])).mul_(leave[t])
        if states is not outputs:
            state[t + 1].copy_(output[t + 1])


def _recur_back(ctx: Any, d_outputs: Tensor, d_hidden: Tensor, d_cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn ``ctx.gates`` into the gradient before their nonlinearities, in place.

    Returns:
        That gradient in the operands' type, and the gradients of the hidden and cell state before the window.
    """
    gates, cells, operand = ctx.gates, ctx.cells, ctx.x.dtype
    recurrent = Matrix(ctx.dropped.t(), d_outputs.shape[1])
    steps, batch, size = d_outputs.shape
    kind = gates.dtype
    d_gates = gates if operand == kind else torch.empty_like(gates, dtype=operand)
    gate, d_gate, d_output = gates.unbind(), d_gates.unbind(), d_outputs.unbind()
    into_cell = gates[:, :, : 3 * size].unflatten(2, (3, size)).unbind()  # all but the output gate
    leave = gates[:, :, 3 * size :].unbind()
    d_cell = d_cell.clone()
    d_hidden = d_output[-1] + d_hidden
    chunk = max(1, _CHUNK // (batch * 4 * size))
    for end in range(steps, 0, -chunk):
        start = max(0, end - chunk)
        to_cell, kept = (factor.unbind() for factor in _factors(gates[start:end], cells[start : end + 1], operand))
        for t in range(end - 1, start - 1, -1):
            d_cell.addcmul_(d_hidden, to_cell[t - start])
            leave[t].mul_(d_hidden)
            into_cell[t].mul_(d_cell.unsqueeze(1))
            d_cell.mul_(kept[t - start])
            if d_gates is not gates:
                d_gate[t].copy_(gate[t])
            if t and operand == kind:
                d_hidden = recurrent.times(d_gate[t], d_output[t - 1])
            elif t:
                d_hidden = torch.add(d_output[t - 1], recurrent.times(d_gate[t]))
    return d_gates, recurrent.times(d_gate[0]).to(kind), d_cell


def _factors(gates: Tensor, cells: Tensor, operand: torch.dtype) -> tuple[Tensor, Tensor]:
    """Turn gate values into the factors that make gradients of them, in place, for several steps.

    With c' = f * c + i * g and h = o * tanh(c'), and d the derivative of the nonlinearity, the gradient before it is
    dh * tanh(c') * do for the output gate, and dc' times g * di, c * df and i * dg for the others.

    Args:
        gates: ``(steps, batch, 4 * hidden)``.
        cells: before and after each step, ``(steps + 1, batch, hidden)``.

    Returns:
        o * (1 - tanh(c') ** 2), which takes dh to dc', and the forget gate, which takes dc' to dc.
    """
    i, f, g, o = gates.chunk(4, dim=2)
    squashed = _tanh_of(operand)(cells[1:].clone())
    to_cell = torch.addcmul(o, o, squashed.square(), value=-1)
    kept = f.clone()
    o.addcmul_(o, o, value=-1).mul_(squashed)
    f.addcmul_(f, f, value=-1).mul_(cells[:-1])
    d_enter = torch.addcmul(i, i, i, value=-1).mul_(g)
    torch.addcmul(i, i, g.square_(), value=-1, out=g)
    i.copy_(d_enter)
    return to_cell, kept


def _tanh_of(operand: torch.dtype) -> Callable[[Tensor], Tensor]:
    """A tanh in place as exact as the operands are: torch's own takes six times as long as its sigmoid."""
    return _tanh_by_sigmoid_ if operand == torch.bfloat16 else torch.tanh_


def _tanh_by_sigmoid_(x: Tensor) -> Tensor:
    """tanh(x) = 2 sigmoid(2 x) - 1 in place, within 1.2e-7 in float32."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)
