import pytest

from awd.fast import matmul


@pytest.fixture(params=[True, False], ids=["packed", "unpacked"])
def packed(request, monkeypatch):
    """Once as this PyTorch does it, once as one does that has no packed matrices."""
    if not request.param:
        monkeypatch.setattr(matmul, "packing_works", lambda dtype: False)
    return request.param
