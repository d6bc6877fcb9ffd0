"""YAML as people write it, without YAML 1.1's surprises."""

from __future__ import annotations

import pytest

from ablations.experiment.yaml_files import parse_yaml
from awd.errors import ConfigError


@pytest.mark.parametrize(("text", "value"), [("1e-6", 1e-6), ("1.2e-6", 1.2e-6), ("3E5", 3e5), ("-2e0", -2.0)])
def test_numbers_with_exponents_are_numbers(text: str, value: float) -> None:
    assert parse_yaml(text, "here") == value


def test_other_scalars_stay_what_they_were() -> None:
    assert parse_yaml("[1, 1.5, no, null, text, 1e, e5]", "here") == [1, 1.5, False, None, "text", "1e", "e5"]


def test_a_key_that_stands_twice_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"here, line 3: the key 'b' stands twice"):
        parse_yaml("a:\n  b: 1\n  b: 2\n", "here")


def test_no_objects_are_made() -> None:
    with pytest.raises(ConfigError, match="here, line 1"):
        parse_yaml("!!python/object/apply:os.getcwd []", "here")
