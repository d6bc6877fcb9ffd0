"""A regularizer of your own, and what it is worth: the same seeds with it and without, compared in pairs.

    python examples/own_regularizer.py

The penalty keeps the length of the hidden state steady over time (Krueger and Memisevic, arXiv 1511.08400). Initial
weights, masks and windows have random streams of their own, so that both runs of a seed draw the same ones.
"""

from dataclasses import replace

import numpy as np
import torch

from ablations.analysis.statistics import mean_interval
from awd import (
    AWDLSTM,
    Config,
    CorpusConfig,
    FinetuningConfig,
    ModelConfig,
    Trainer,
    TrainingConfig,
    encode,
    load_corpus,
)
from awd.model import Loss, Output


class Steady(AWDLSTM):
    """The model with one more term in its loss: beta * mean((|h[t + 1]| - |h[t]|) ** 2)."""

    beta = 1.0

    def loss(self, output: Output, targets: torch.Tensor) -> Loss:
        """Cross-entropy, AR, TAR, and the new penalty, which is added to TAR's."""
        usual = super().loss(output, targets)
        lengths = output.raw.norm(dim=-1)  # (time, batch, width) -> (time, batch)
        penalty = self.beta * (lengths[1:] - lengths[:-1]).square().mean()
        return replace(usual, temporal=usual.temporal + penalty)


config = Config(
    ModelConfig(embedding_size=16, hidden_size=24, num_layers=2),
    training=TrainingConfig(epochs=3, batch_size=5),
    finetuning=FinetuningConfig(epochs=1),
    corpus=CorpusConfig(train_tokens=4000),
)
corpus = encode(load_corpus("python-docs"), config.corpus)


def log_perplexity(network: type[AWDLSTM], seed: int) -> float:
    """Train once; the loss on the validation text, in nats per token."""
    return float(np.log(Trainer(config, corpus, seed, network=network).run().valid_ppl))


changes = np.array([log_perplexity(Steady, seed) - log_perplexity(AWDLSTM, seed) for seed in (1, 2, 3)])
low, high = mean_interval(changes)
print(f"with the penalty, log-perplexity changes by {changes.mean():+.4f} [{low:+.4f}, {high:+.4f}] over 3 seeds")
