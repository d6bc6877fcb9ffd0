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
        for key in _scalar_keys(node):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, TypeError):
            # what PyYAML's own conversions let through: 2001-99-99, 0x_, !!bool maybe, !!timestamp now
            problem = f"{str(node.value)[:40]!r} is no {node.tag.rpartition(':')[2]}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from None


def _scalar_keys(node: yaml.Node) -> list[yaml.ScalarNode]:
    # PyYAML itself refuses other keys, and a node that is tagged as a mapping and is none
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return [key for key, _ in pairs if isinstance(key, yaml.ScalarNode)]


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
    except RecursionError:
        raise ConfigError(f"{origin}: nested too deeply") from None
    except (ValueError, OverflowError):  # PyYAML lets chr's own errors through
        raise ConfigError(f"{origin}: not YAML: an escape that stands for no character") from None


def load_yaml(path: Path, schema: type[T]) -> T:
    """Read a file into a dataclass.

    Raises:
        ConfigError: the file cannot be read, or does not fit; the message names file, key and value.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a null character
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    values = parse_yaml(text, str(path))
    try:
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, schema, str(path))) from None
