import pytest
import torch

# the networks here are so small that threads only wait for each other
torch.set_num_threads(1)


@pytest.fixture
def double():
    """Models made in this test are in float64, so that a loop written out agrees to many digits."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
