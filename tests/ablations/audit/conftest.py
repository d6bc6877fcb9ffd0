"""A small network with every mechanism on, each at a strength of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from awd.config import Config, config_from_dict, override


@pytest.fixture
def without_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's LSTM in bfloat16 as on a processor for which oneDNN has none: composed of operations that each round."""
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)


def small_config(**changes: dict[str, Any]) -> Config:
    """Every mechanism at another strength, so that none passes for another; ``changes`` are sections."""
    base = config_from_dict(
        {
            "model": {"embedding_size": 24, "hidden_size": 32, "num_layers": 2},
            "regularization": {
                "embedding_dropout": 0.1,
                "input_dropout": 0.2,
                "hidden_dropout": 0.3,
                "output_dropout": 0.4,
                "weight_dropout": 0.5,
                "weight_decay": 1e-3,
            },
            "windows": {"length": 12, "spread": 2.0, "minimum": 3, "short_probability": 0.1},
            "optimizer": {"learning_rate": 5.0, "nonmonotone_interval": 2},
            "finetuning": {"epochs": 2},
            "training": {"epochs": 3, "batch_size": 4, "valid_batch_size": 2},
        },
        "small",
    )
    return override(base, changes, "the test")
