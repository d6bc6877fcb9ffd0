import pytest
import torch

from awd import engine

# the networks here are so small that threads only wait for each other
torch.set_num_threads(1)


@pytest.fixture
def double():
    """Models made in this test are in float64, so that a loop written out agrees to many digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def at_any_size(monkeypatch):
    """The fast engine computes by itself layers and vocabularies as small as those of the tests."""
    monkeypatch.setattr(engine, "_NARROWEST", {})
    monkeypatch.setattr(engine, "_FEWEST_LOGITS", 0)
