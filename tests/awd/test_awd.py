import pytest

import awd


@pytest.mark.parametrize("name", awd.__all__)
def test_every_public_name_is_there(name):
    assert getattr(awd, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'AWDLSTMM'"):
        _ = awd.AWDLSTMM
