"""The AWD-LSTM language model (paper, sections 2 to 5)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from awd.checks import require_count, require_ids, require_length, require_tensor
from awd.config import ModelConfig, RegularizationConfig
from awd.dropout import Masks, apply, draw_masks, no_masks, require_masks
from awd.engine import PLAIN, Engine, State
from awd.lstm import WeightDropLSTM, require_state
from awd.penalties import activation_penalty, temporal_activation_penalty
from awd.streams import Streams

INIT_RANGE = 0.1  # of the embedding, section 5


@dataclass(frozen=True)
class Output:
    """What one window gives.

    Attributes:
        raw: last layer's output before its dropout, ``(time, batch, width)``; TAR's argument.
        dropped: the same after its dropout; AR's argument, and what the decoder reads.
        state: hidden and cell state of each layer after the window; not detached.
    """

    raw: Tensor
    dropped: Tensor
    state: list[State]


@dataclass(frozen=True)
class Loss:
    """The parts of a training loss, each a scalar: mean cross-entropy in nats per token, AR and TAR."""

    cross_entropy: Tensor
    activation: Tensor
    temporal: Tensor

    @property
    def total(self) -> Tensor:
        """What is differentiated: the sum of the three."""
        return self.cross_entropy + self.activation + self.temporal


class AWDLSTM(nn.Module):
    """A word-level LSTM language model with weight-dropped layers.

    In training mode dropout masks are drawn anew at every call, from torch's global generator, unless the caller
    hands in ``masks`` (the trainer does). In evaluation mode nothing is dropped.

    Args:
        vocabulary_size: number of token ids.
        model: sizes.
        regularization: strengths of dropout, AR and TAR (weight decay is the optimizer's).
        streams: where the initial weights are drawn from; ``None`` is torch's global generator.
        engine: what computes a training step; evaluation is always PyTorch's own kernels in float32.

    Whatever is handed to it must fit: a wrong shape, type or device ends in a ``ValueError`` that names what was given
    and what is expected. So does an id beyond the vocabulary, on a CPU; on a GPU that is CUDA's own error, as looking
    first would take time, but :func:`awd.evaluate` does look.

    Example::

        model = AWDLSTM(10_000)
        output = model(tokens, model.initial_state(batch_size=20))      # tokens: (time, batch) of ids
        loss = model.loss(output, targets).total
    """

    def __init__(
        self,
        vocabulary_size: int,
        model: ModelConfig | None = None,
        regularization: RegularizationConfig | None = None,
        *,
        streams: Streams | None = None,
        engine: Engine = PLAIN,
    ) -> None:
        super().__init__()
        require_count("vocabulary_size", vocabulary_size)
        self.engine = engine
        self.vocabulary_size = vocabulary_size
        self.model_config = model or ModelConfig()
        self.regularization = regularization or RegularizationConfig()
        sizes = self.model_config.layer_sizes
        self.embedding = nn.Embedding(vocabulary_size, self.model_config.embedding_width)
        self.layers = nn.ModuleList(WeightDropLSTM(*size, engine) for size in sizes)
        self.decoder = nn.Linear(sizes[-1][1], vocabulary_size)
        if self.model_config.tie_weights:
            self.decoder.weight = self.embedding.weight
        self.reset_parameters(streams)

    @classmethod
    def from_pretrained(
        cls, folder: Path | str, *, device: torch.device | str = "cpu", engine: Engine = PLAIN
    ) -> AWDLSTM:
        """The network that :func:`awd.pretrained.save_pretrained` wrote to a folder, in evaluation mode; its
        vocabulary and configuration come with it from :func:`awd.pretrained.load_pretrained`.

        Args:
            folder: wherever it lies now.
            device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
            engine: what computes training steps, should it be trained on.

        Raises:
            InputError: something is missing, damaged or unknown, or there is no such device; names the file.

        Example::

            model = AWDLSTM.from_pretrained("run-1/best")
            output = model(tokens, model.initial_state(batch_size=1))       # tokens: (time, batch) of ids
        """
        from awd.pretrained import load_pretrained

        return load_pretrained(folder, device=device, engine=engine).model

    @torch.no_grad()
    def reset_parameters(self, streams: Streams | None = None) -> None:
        """Draw the initial weights: U(-0.1, 0.1) for the embedding, U(-1/sqrt(H), 1/sqrt(H)) for all others
        (section 5; H a layer's hidden size), 0 for the decoder's bias. Each parameter has a stream of its own."""
        for name, parameter in self.named_parameters():
            if name == "decoder.bias":
                parameter.zero_()
                continue
            bound = INIT_RANGE if name == "embedding.weight" else 1 / math.sqrt(self._hidden_size_of(name))
            parameter.uniform_(-bound, bound, generator=streams[f"init {name}"] if streams else None)

    def _hidden_size_of(self, name: str) -> int:
        if name == "decoder.weight":
            return self.decoder.in_features
        return self.model_config.layer_sizes[int(name.split(".")[1])][1]

    def initial_state(self, batch_size: int) -> list[State]:
        """Zero hidden and cell state, ``(batch, width)`` each, for every layer."""
        require_count("batch_size", batch_size)
        weight = self.decoder.bias
        return [
            (weight.new_zeros(batch_size, width), weight.new_zeros(batch_size, width))
            for _, width in self.model_config.layer_sizes
        ]

    def draw_masks(self, batch_size: int, streams: Streams | None = None, steps: int | None = None) -> Masks:
        """The dropout masks of one minibatch at this model's strengths; see :func:`awd.dropout.draw_masks`."""
        weight = self.decoder.bias
        return draw_masks(
            self.model_config,
            self.regularization,
            self.vocabulary_size,
            batch_size,
            steps=steps,
            streams=streams,
            device=weight.device,
            dtype=weight.dtype,
        )

    def forward(self, tokens: Tensor, state: list[State], masks: Masks | None = None) -> Output:
        """Read one window.

        Args:
            tokens: ids, ``(time, batch)``.
            state: hidden and cell state of each layer before the window, ``(batch, width)`` each.
            masks: the minibatch's masks; drawn here in training mode when left out.

        Raises:
            ValueError: masks were given in evaluation mode, where nothing may be dropped; or an argument does not fit
                this network, or another.
        """
        self._check(tokens, state, masks)
        if masks is not None and not self.training:
            raise ValueError("masks given in evaluation mode; call model.train() first")
        if masks is None:
            length, batch = tokens.shape
            masks = self.draw_masks(batch, steps=length) if self.training else no_masks(len(self.layers))
        # the look-up alone sees dropped words; the tied softmax keeps the whole matrix
        try:
            embedded = F.embedding(tokens, self.embedding.weight)  # (time, batch, embedding)
        except IndexError:
            require_ids("tokens", tokens, self.vocabulary_size)
            raise
        if masks.embedding is not None:
            embedded = masks.embedding[tokens] * embedded
        hidden = apply(masks.input, embedded)
        states: list[State] = []
        raw = hidden
        for layer, (lstm, weight_mask) in enumerate(zip(self.layers, masks.weight, strict=True)):
            raw, layer_state = lstm(hidden, state[layer], weight_mask)  # (time, batch, width)
            states.append(layer_state)
            if layer < len(self.layers) - 1:
                hidden = apply(masks.hidden[layer], raw)
        return Output(raw, apply(masks.output, raw), states)

    def _check(self, tokens: Tensor, state: list[State], masks: Masks | None) -> None:
        weight = self.decoder.bias
        require_tensor("tokens", tokens, ("time", "batch"), weight, torch.int64)
        (length, batch), sizes = tokens.shape, self.model_config.layer_sizes
        require_length("layers of state", state, len(sizes))
        for layer, (_, width) in enumerate(sizes):
            require_state(f"state of layer {layer}", state[layer], (batch, width), weight)
        if masks is not None:
            require_masks(masks, self.model_config, self.regularization, self.vocabulary_size, length, batch, weight)

    def logits(self, output: Output) -> Tensor:
        """Unnormalised log-probabilities of the next token, ``(time, batch, vocabulary)``.

        Raises:
            ValueError: the output is not of this network.
        """
        self._check_output(output)
        return self.decoder(output.dropped)

    def loss(self, output: Output, targets: Tensor) -> Loss:
        """Cross-entropy, AR and TAR of a window (sections 2 and 4.6).

        Args:
            output: what :meth:`forward` returned.
            targets: ids of the next tokens, ``(time, batch)``; no id means "ignore this one", -100 neither.

        Raises:
            ValueError: output and targets do not fit this network, or each other.
        """
        self._check_output(output)
        require_tensor("targets", targets, output.dropped.shape[:2], output.dropped, torch.int64)
        # (time, batch, width) -> (time * batch, width)
        engine = self.engine if self.training else PLAIN
        flat = output.dropped.flatten(0, 1)
        try:
            cross_entropy = engine.cross_entropy(flat, self.decoder.weight, self.decoder.bias, targets.flatten())
        except (IndexError, RuntimeError):
            if targets.device.type == "cpu":
                require_ids("targets", targets, self.vocabulary_size)
            raise
        zero = output.raw.new_zeros(())
        alpha = self.regularization.activation_penalty
        beta = self.regularization.temporal_activation_penalty
        return Loss(
            cross_entropy,
            activation_penalty(output.dropped, alpha) if alpha else zero,
            temporal_activation_penalty(output.raw, beta) if beta else zero,
        )

    def _check_output(self, output: Output) -> None:
        width, weight = self.decoder.in_features, self.decoder.bias
        require_tensor("output.dropped", output.dropped, ("time", "batch", width), weight)
        require_tensor("output.raw", output.raw, output.dropped.shape, weight)


def detach(state: list[State]) -> list[State]:
    """The same state, cut off from the graph, to be carried to the next window."""
    return [(hidden.detach(), cell.detach()) for hidden, cell in state]


def count_parameters(vocabulary_size: int, model: ModelConfig) -> int:
    """Exact number of parameters, a tied matrix counted once; allocates nothing."""
    with torch.device("meta"):
        network = AWDLSTM(vocabulary_size, model)
    return sum(parameter.numel() for parameter in network.parameters())
