"""A text and configurations small enough to train in a fraction of a second."""

from __future__ import annotations

import random
from typing import Any

from awd.config import Config, config_from_dict, override
from awd.corpus.text import Encoded, encode, make_text

WORDS = ["the", "cat", "dog", "sat", "ran", "on", "under", "a", "mat", "hill", "and", "then"]


def sentences(count: int, seed: int) -> bytes:
    """Lines in which a word is mostly followed by one of its two successors, so that there is something to learn."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        word = draw.randrange(len(WORDS))
        line = []
        for _ in range(draw.randint(4, 9)):
            line.append(WORDS[word])
            noise = draw.random() < 0.2
            word = draw.randrange(len(WORDS)) if noise else (2 * word + draw.randrange(2)) % len(WORDS)
        lines.append(" ".join(line))
    return ("\n".join(lines) + "\n").encode()


def tiny_corpus(train_lines: int = 60) -> Encoded:
    contents = {"train": sentences(train_lines, 1), "valid": sentences(20, 2), "test": sentences(20, 3)}
    return encode(make_text("tiny", contents, dict.fromkeys(contents, "tiny")))


def tiny_config(**changes: dict[str, Any]) -> Config:
    """Two small layers, windows of about ten; ``changes`` are sections, as in a suite."""
    base = config_from_dict(
        {
            "model": {"embedding_size": 5, "hidden_size": 6, "num_layers": 2},
            "regularization": {"weight_decay": 1e-3},
            "windows": {"length": 10, "spread": 2.0, "minimum": 3, "short_probability": 0.2},
            "optimizer": {"method": "sgd", "learning_rate": 10.0, "nonmonotone_interval": 1},
            "finetuning": {"epochs": 0},
            "training": {"epochs": 3, "batch_size": 4, "valid_batch_size": 2},
        },
        "tiny",
    )
    return override(base, changes, "the test")
