import pytest
import torch


@pytest.fixture
def double():
    """Models made in this test are in float64, so that a loop written out agrees to many digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
