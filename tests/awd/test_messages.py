import math

import pytest

from awd.messages import nearest, number_text, unknown


@pytest.mark.parametrize(
    ("name", "words"), [("table4", "; did you mean 'table5'?"), ("tabel5", "; did you mean 'table5'?"), ("qqq", "")]
)
def test_the_nearest_name_is_offered_where_one_is_close(name, words):
    assert nearest(name, ["table5", "optimizers"]) == words


def test_an_unknown_name_is_told_with_all_that_are_allowed():
    message = unknown("suite", "table4", iter(["table5", "optimizers"]))
    assert message == "unknown suite 'table4'; did you mean 'table5'? (allowed: table5, optimizers)"


@pytest.mark.parametrize(
    ("value", "text"),
    [(61.234, "61.23"), (999_999.0, "999999.00"), (1e6, "1.0e6"), (2.04e43, "2.0e43"), (math.inf, "inf")],
)
def test_a_number_too_long_to_read_is_written_by_its_power_of_ten(value, text):
    assert number_text(value) == text
