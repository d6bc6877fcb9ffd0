import pytest

from awd.messages import nearest, unknown


@pytest.mark.parametrize(
    ("name", "words"), [("table4", "; did you mean 'table5'?"), ("tabel5", "; did you mean 'table5'?"), ("qqq", "")]
)
def test_the_nearest_name_is_offered_where_one_is_close(name, words):
    assert nearest(name, ["table5", "optimizers"]) == words


def test_an_unknown_name_is_told_with_all_that_are_allowed():
    message = unknown("suite", "table4", iter(["table5", "optimizers"]))
    assert message == "unknown suite 'table4'; did you mean 'table5'? (allowed: table5, optimizers)"
