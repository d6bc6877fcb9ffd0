"""AWD-LSTM on nn.LSTM, F.cross_entropy and torch.optim.SGD, written as any port would; uses nothing of ``awd``."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = list[tuple[Tensor, Tensor]]


class EmbeddingDropout(nn.Module):
    """An embedding whose whole words are dropped: a mask over the rows of the matrix, which is then looked up in."""

    def __init__(self, embedding: nn.Embedding, p: float) -> None:
        super().__init__()
        self.embedding, self.p = embedding, p

    def forward(self, tokens: Tensor) -> Tensor:
        """``(time, batch)`` ids to ``(time, batch, width)``."""
        weight = self.embedding.weight
        if self.training and self.p:
            mask = weight.new_empty(len(weight), 1).bernoulli_(1 - self.p) / (1 - self.p)
            weight = mask * weight  # (words, width)
        return F.embedding(tokens, weight)


class LockedDropout(nn.Module):
    """Dropout with one mask for all time steps."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """``(time, batch, width)`` to the same."""
        if not self.training or not self.p:
            return x
        mask = x.new_empty(1, x.shape[1], x.shape[2]).bernoulli_(1 - self.p) / (1 - self.p)
        return mask * x


class WeightDrop(nn.Module):
    """An nn.LSTM whose recurrent matrix goes through F.dropout before each call."""

    def __init__(self, lstm: nn.LSTM, p: float) -> None:
        super().__init__()
        self.lstm, self.p = lstm, p
        self.raw = nn.Parameter(lstm.get_parameter("weight_hh_l0").detach().clone())
        del lstm._parameters["weight_hh_l0"]

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """As nn.LSTM's."""
        self.lstm.weight_hh_l0 = F.dropout(self.raw, self.p, self.training)
        # the attribute alone would not do: the kernel is handed this list
        self.lstm._flat_weights = [getattr(self.lstm, name) for name in self.lstm._flat_weights_names]
        return self.lstm(x, state)


class BareLSTM(nn.Module):
    """The language model.

    Args:
        vocabulary_size: number of words.
        widths: of the embedding and of each layer's output; the last is the embedding's, whose matrix the softmax uses.
        embedding_dropout: probability for whole words of the look-up; the others likewise for the
        input_dropout: embedded input,
        hidden_dropout: outputs between layers,
        output_dropout: output of the last layer,
        weight_dropout: recurrent matrices.
    """

    def __init__(
        self,
        vocabulary_size: int,
        widths: Sequence[int],
        *,
        embedding_dropout: float,
        input_dropout: float,
        hidden_dropout: float,
        output_dropout: float,
        weight_dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, widths[0])
        self.decoder = nn.Linear(widths[-1], vocabulary_size)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)
        self.decoder.weight = self.embedding.weight
        self.words = EmbeddingDropout(self.embedding, embedding_dropout)
        self.layers = nn.ModuleList(WeightDrop(nn.LSTM(*pair), weight_dropout) for pair in itertools.pairwise(widths))
        between = [LockedDropout(hidden_dropout) for _ in self.layers][1:]
        self.input_dropout = LockedDropout(input_dropout)
        self.dropouts = nn.ModuleList([*between, LockedDropout(output_dropout)])
        self.widths = widths

    def initial_state(self, batch_size: int) -> State:
        """Zeros, ``(1, batch, width)`` twice for each layer."""
        zeros = [self.decoder.bias.new_zeros(1, batch_size, width) for width in self.widths[1:]]
        return [(zero, zero) for zero in zeros]

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor, State]:
        """Logits, the last layer's output after and before its dropout, and the state; ``(time, batch, ...)`` each."""
        dropped = raw = self.input_dropout(self.words(tokens))
        after: State = []
        for layer, dropout, before in zip(self.layers, self.dropouts, state, strict=True):
            raw, layer_state = layer(dropped, before)
            dropped = dropout(raw)
            after.append(layer_state)
        return self.decoder(dropped), dropped, raw, after


def training_loss(logits: Tensor, dropped: Tensor, raw: Tensor, targets: Tensor, alpha: float, beta: float) -> Tensor:
    """Mean cross-entropy, plus AR times ``alpha`` and TAR times ``beta``."""
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss = loss + alpha * dropped.pow(2).mean()
    return loss + beta * (raw[1:] - raw[:-1]).pow(2).mean()


class BareTraining:
    """A model, its optimizer and the state carried from window to window.

    Args:
        model: to be trained.
        batch_size: sequences.
        learning_rate: of SGD.
        weight_decay: of SGD.
        clip_norm: largest norm of the gradient.
        alpha: strength of AR.
        beta: strength of TAR.
    """

    def __init__(
        self,
        model: BareLSTM,
        batch_size: int,
        *,
        learning_rate: float,
        weight_decay: float,
        clip_norm: float,
        alpha: float,
        beta: float,
    ) -> None:
        self.model, self.clip_norm, self.alpha, self.beta = model, clip_norm, alpha, beta
        self.optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
        self.state = model.initial_state(batch_size)

    def step(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Train on one window, ``(time, batch)`` of ids; returns its loss."""
        self.optimizer.zero_grad()
        logits, dropped, raw, state = self.model(tokens, self.state)
        self.state = [(hidden.detach(), cell.detach()) for hidden, cell in state]
        loss = training_loss(logits, dropped, raw, targets, self.alpha, self.beta)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.optimizer.step()
        return loss.detach()
