"""YAML read strictly: plain values only, no key twice, numbers such as 1e-6 as numbers."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from awd.errors import ConfigError
from awd.messages import describe_validation_error

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML reads, takes 1e-6 for text: its floats need a point
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str, origin: str) -> Any:
    """The plain values in a YAML text.

    Raises:
        ConfigError: not YAML; the message names ``origin`` and the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{origin}{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not YAML: {error}") from None


def load_yaml(path: Path, schema: type[T]) -> T:
    """Read a file into a dataclass.

    Raises:
        ConfigError: the file cannot be read, or does not fit; the message names file, key and value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    values = parse_yaml(text, str(path))
    try:
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, schema, str(path))) from None
