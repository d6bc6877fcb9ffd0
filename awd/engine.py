"""What computes a model: an engine in a precision. The function computed is the same; see docs/performance.md.

Weights, gradients, averages, the optimizer and all evaluation are float32 under both precisions; ``bf16`` rounds what
goes into the LSTM's and the softmax's matrix products in training to bfloat16. A model in float64 ignores it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from awd.dropout import apply
from awd.fast.cross_entropy import FastCrossEntropy
from awd.fast.lstm import FastLSTM

Precision = Literal["fp32", "bf16"]
State = tuple[Tensor, Tensor]

# narrowest layer for which the LSTM written out is faster on a CPU than the kernel that torch calls, which is oneDNN's
# and keeps to its cache where layers are narrow; measured with docs/performance.md's table of widths
_NARROWEST = {torch.float32: 1000, torch.bfloat16: 350}

# below it the few operations of a plain softmax take less time than the many of the chunked one
_FEWEST_LOGITS = 1 << 20

# by default torch leaves out rows whose target is -100; no tensor of ids is checked against this one
_NONE_IGNORED = torch.iinfo(torch.int64).min


class Weights(NamedTuple):
    """An LSTM layer's parameters, gates stacked as torch does: input, forget, cell, output."""

    input: Tensor
    recurrent: Tensor
    input_bias: Tensor
    recurrent_bias: Tensor


@dataclass(frozen=True)
class Engine(ABC):
    """How the two expensive parts of a training step are computed.

    Attributes:
        precision: what matrix products multiply, ``fp32`` or ``bf16``.
        name: of the implementation.
    """

    precision: Precision = "fp32"
    name: ClassVar[str]

    def operand(self, kind: torch.dtype) -> torch.dtype:
        """The type that matrix products multiply for tensors of type ``kind``."""
        return torch.bfloat16 if self.precision == "bf16" and kind == torch.float32 else kind

    @abstractmethod
    def lstm(self, inputs: Tensor, state: State, weights: Weights, mask: Tensor | None) -> tuple[Tensor, State]:
        """One layer over a window; arguments and result as in :meth:`awd.lstm.WeightDropLSTM.forward`."""

    @abstractmethod
    def cross_entropy(self, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of the softmax of ``x @ weight.T + bias``.

        Args:
            x: ``(rows, width)``.
            weight: ``(words, width)``.
            bias: ``(words,)``.
            targets: ids, ``(rows,)``; every row counts, as no id means "ignore this one".
        """


class TorchEngine(Engine):
    """PyTorch's own kernels, called as any program would; in ``bf16`` on what autocast would cast. The reference."""

    name = "torch"

    def lstm(self, inputs: Tensor, state: State, weights: Weights, mask: Tensor | None) -> tuple[Tensor, State]:
        """See :meth:`Engine.lstm`."""
        dropped = apply(mask, weights.recurrent)
        return torch_lstm(inputs, state, weights._replace(recurrent=dropped), self.operand(inputs.dtype))

    def cross_entropy(self, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """See :meth:`Engine.cross_entropy`."""
        operand = self.operand(x.dtype)
        logits = F.linear(x.to(operand), weight.to(operand), bias.to(operand))  # (rows, words)
        return F.cross_entropy(logits.to(x.dtype), targets, ignore_index=_NONE_IGNORED)


class FastEngine(Engine):
    """Written for speed, in :mod:`awd.fast`. Narrow layers, and all on a GPU, are left to torch's LSTM kernels."""

    name = "fast"

    def lstm(self, inputs: Tensor, state: State, weights: Weights, mask: Tensor | None) -> tuple[Tensor, State]:
        """See :meth:`Engine.lstm`."""
        operand = self.operand(inputs.dtype)
        if inputs.device.type == "cpu" and state[0].shape[1] >= _NARROWEST.get(operand, 0):
            outputs, hidden, cell = FastLSTM.apply(inputs, *state, *weights, mask, operand)
            return outputs, (hidden, cell)
        dropped = apply(mask, weights.recurrent)
        return torch_lstm(inputs, state, weights._replace(recurrent=dropped), operand)

    def cross_entropy(self, x: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """See :meth:`Engine.cross_entropy`."""
        if len(x) * len(weight) < _FEWEST_LOGITS:
            return PLAIN.cross_entropy(x, weight, bias, targets)
        return FastCrossEntropy.apply(x, weight, bias, targets, self.operand(x.dtype))


ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (TorchEngine, FastEngine)}
PLAIN = TorchEngine()


def torch_lstm(inputs: Tensor, state: State, weights: Weights, operand: torch.dtype) -> tuple[Tensor, State]:
    """The call that ``nn.LSTM`` makes, with the weights explicit and cast to ``operand``."""
    hidden, cell = state
    # autocast would run cuDNN's LSTM in float16, whatever type it was asked for
    cast = [part.to(operand) for part in (inputs, hidden, cell, *weights)]
    # (1, batch, hidden): torch's dimension of layers
    outputs, hidden, cell = torch.lstm(
        cast[0], [part.unsqueeze(0) for part in cast[1:3]], cast[3:], True, 1, 0.0, True, False, False
    )
    kind = inputs.dtype
    return outputs.to(kind), (hidden.squeeze(0).to(kind), cell.squeeze(0).to(kind))


def make_engine(name: str, precision: str, device: str) -> Engine:
    """The engine that ``name`` and ``precision`` stand for on a device; ``auto`` is the fastest that is exact there.

    Args:
        name: ``auto`` (fast), ``torch`` or ``fast``.
        precision: ``fp32``, ``bf16``, or ``auto``: bf16 where the processor multiplies it in hardware.
        device: a torch device, resolved.
    """
    kind = ENGINES["fast" if name == "auto" else name]
    return kind("bf16" if precision == "bf16" or (precision == "auto" and multiplies_bfloat16(device)) else "fp32")


def multiplies_bfloat16(device: str) -> bool:
    """Whether a device has instructions for matrix products in bfloat16."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities()
    return bool(has.get("avx512_bf16") or has.get("amx_bf16") or has.get("bf16"))
