"""One LSTM layer whose recurrent weights are dropped by DropConnect (paper, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from awd.checks import require_count, require_length, require_tensor
from awd.engine import PLAIN, Engine, State, Weights


class WeightDropLSTM(nn.Module):
    """An LSTM layer that takes the mask of its hidden-to-hidden matrix as an argument.

    The dropped matrix is a value of the call: it is computed from the raw parameter and handed to the kernel,
    so the kernel always uses it, gradients reach the raw parameter, and no attribute is ever re-assigned.

    Args:
        input_size: width of each input vector.
        hidden_size: width of the state.
        engine: what computes it in training mode.

    Raises:
        ValueError: a size is not an integer from 1 on.
    """

    def __init__(self, input_size: int, hidden_size: int, engine: Engine = PLAIN) -> None:
        super().__init__()
        require_count("input_size", input_size)
        require_count("hidden_size", hidden_size)
        self.engine = engine
        self.input_size, self.hidden_size = input_size, hidden_size
        # gates stacked as torch does: input, forget, cell, output
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(4 * hidden_size))
        self.bias_hh = nn.Parameter(torch.empty(4 * hidden_size))
        bound = 1 / math.sqrt(hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, inputs: Tensor, state: State, weight_mask: Tensor | None = None) -> tuple[Tensor, State]:
        """Run the layer over a window.

        Args:
            inputs: ``(time, batch, input_size)``.
            state: hidden and cell state before the window, each ``(batch, hidden_size)``.
            weight_mask: ``(4 * hidden_size, hidden_size)``, or ``None`` to drop nothing.

        Returns:
            Outputs ``(time, batch, hidden_size)`` and the state after the window.

        Raises:
            ValueError: an argument has another shape, type or device than this layer needs.
        """
        require_tensor("inputs", inputs, ("time", "batch", self.input_size), self.weight_hh)
        require_state("state", state, (inputs.shape[1], self.hidden_size), self.weight_hh)
        if weight_mask is not None:
            require_tensor("weight_mask", weight_mask, self.weight_hh.shape, self.weight_hh)
        weights = Weights(self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        engine = self.engine if self.training else PLAIN
        return engine.lstm(inputs, state, weights, weight_mask)


def require_state(what: str, state: State, shape: tuple[int, int], like: Tensor) -> None:
    """Refuse what is not a hidden and a cell state of ``shape``, ``(batch, hidden_size)``.

    Raises:
        ValueError: names what was given and what is expected.
    """
    require_length(what, state, 2)
    require_tensor(f"{what}, hidden", state[0], shape, like)
    require_tensor(f"{what}, cell", state[1], shape, like)
