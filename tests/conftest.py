"""What tests of several packages share."""

from __future__ import annotations

import pytest
import torch

from awd import engine

# the networks here are so small that threads only wait for each other
torch.set_num_threads(1)


@pytest.fixture
def at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast engine computes by itself layers and vocabularies as small as those of the tests."""
    monkeypatch.setattr(engine, "_NARROWEST", {})
    monkeypatch.setattr(engine, "_FEWEST_LOGITS", 0)
