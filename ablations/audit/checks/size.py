"""The network's own sizes, read off its parameters and the activations that passed through it."""

from __future__ import annotations

from ablations.audit.cell import Cell, Finding, yes_or_no
from ablations.audit.probes import reference
from ablations.audit.probes.forward_probe import Observer
from awd.config import ModelConfig


def widths(model: ModelConfig) -> list[int]:
    """Widths that the configuration asks for: of the embedding, then of each layer's output."""
    embedding = model.hidden_size if model.embedding_size is None else model.embedding_size
    last = embedding if model.tie_weights else model.hidden_size
    return [embedding, *[model.hidden_size] * (model.num_layers - 1), last]


def size_cell(observer: Observer, config: ModelConfig, vocabulary: int) -> Cell:
    """Width of the embedding, of every layer, tying, and the number of parameters."""
    model, seen = observer.trainer.model, observer.windows[0].seen
    embedding, *layers = widths(config)
    measured = [seen.layers[0].inputs.shape[-1], *(layer.outputs.shape[-1] for layer in seen.layers)]
    tied = model.decoder.weight is model.embedding.weight
    count = sum(parameter.numel() for parameter in model.parameters())
    due = reference.parameter_count(vocabulary, embedding, layers, config.tie_weights)
    return Cell(
        "width",
        (
            Finding("width of the embedding", f"{measured[0]}", f"{embedding}", measured[0] == embedding),
            Finding("widths of the layers", _joined(measured[1:]), _joined(layers), measured[1:] == layers),
            yes_or_no("softmax and embedding", tied == config.tie_weights, *_tying(config.tie_weights)),
            Finding("parameters", f"{count:,}", f"{due:,}", count == due),
        ),
    )


def _joined(numbers: list[int]) -> str:
    return "-".join(map(str, numbers))


def _tying(tied: bool) -> tuple[str, str]:
    return ("tied", "not tied") if tied else ("not tied", "tied")
