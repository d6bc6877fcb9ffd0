"""YAML read strictly: plain values only, no key twice, and nothing that two versions of YAML read as two values."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from yaml.scanner import ScannerError

from awd.errors import ConfigError
from awd.messages import describe_validation_error, shown

T = TypeVar("T")

# what an unquoted word or number is, by YAML 1.2's core schema, and the characters it may begin with
_PLAIN = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    "merge": (r"<<", ["<"]),
}
# what is true, false, octal or counts sixties in YAML 1.1, and text or another number in 1.2
_AMBIGUOUS = re.compile(
    r"""
    (?i:yes|no|on|off)
    | [-+]?0[0-9]+                                          # octal
    | [-+]?0b[01_]+                                         # binary
    | [-+]?0x(?=.*_)[0-9a-fA-F_]+                           # digits grouped by _
    | [-+]?(?=.*_)[0-9][0-9_]*(\.[0-9_]*([eE][-+][0-9]+)?)?
    | [-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?          # base 60
    """,
    re.VERBOSE,
)
_TAG = "tag:yaml.org,2002:"
_TAGS = [*_PLAIN, "str", "seq", "map"]


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in _scalar_keys(node):
            if key.value in seen:
                raise _fault(key, f"the key {key.value!r} stands twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if node.tag not in self.yaml_constructors and kind != "merge":
            raise _fault(node, f"the tag {node.tag!r} is not allowed here")
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node, kind)
        try:
            return super().construct_object(node, deep)
        except ValueError:  # an integer of thousands of digits
            raise _fault(node, f"{shown(node.value)} is too long for a number") from None


_Loader.yaml_constructors = {
    tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag and tag.removeprefix(_TAG) in _TAGS
}
_Loader.yaml_implicit_resolvers = {}
for _kind, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(_TAG + _kind, re.compile(rf"^(?:{_pattern})$"), _first)


def _check_scalar(node: yaml.ScalarNode, kind: str) -> None:
    if node.style is None and _AMBIGUOUS.fullmatch(node.value):
        raise _fault(
            node,
            f"{node.value} is one thing in YAML 1.1 and another in YAML 1.2: write true, false or a plain decimal "
            f"number; or, if it is text, quote it: '{node.value}'",
        )
    if kind in _PLAIN and not re.fullmatch(_PLAIN[kind][0], node.value):  # tagged as what it is not: !!int big
        raise _fault(node, f"{shown(node.value)} is no {kind}")
    for character in node.value:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n":
            raise _fault(node, f"{character!r} is no character that a text may hold")


def _scalar_keys(node: yaml.MappingNode) -> list[yaml.ScalarNode]:
    # PyYAML itself refuses other keys, and a node that is tagged as a mapping and is none
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return [key for key, _ in pairs if isinstance(key, yaml.ScalarNode)]


def _fault(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def parse_yaml(text: str, origin: str) -> Any:
    """The plain values in a YAML text: numbers and words are what YAML 1.2 says.

    Raises:
        ConfigError: not YAML, or YAML 1.1 and 1.2 differ in what a value is; the message names ``origin`` and the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        hint = "; quote text with such characters, and indent with blanks" if isinstance(error, ScannerError) else ""
        problem = ", ".join(filter(None, [error.context, error.problem]))
        raise ConfigError(f"{origin}{line}: {problem}{hint}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{origin}: not YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{origin}: nested too deeply") from None
    except (ValueError, OverflowError):  # PyYAML lets chr's own errors through
        raise ConfigError(f"{origin}: not YAML: an escape that stands for no character") from None


def read_yaml(path: Path) -> Any:
    """The plain values in a file.

    Raises:
        ConfigError: the file cannot be read, or as :func:`parse_yaml`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a null character
        raise ConfigError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return parse_yaml(text, str(path))


def check(values: Any, schema: type[T], origin: str) -> T:
    """Plain values as a dataclass.

    Raises:
        ConfigError: they do not fit; the message names ``origin``, key and value.
    """
    try:
        return TypeAdapter(schema).validate_python(values)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(error, schema, origin)) from None


def load_yaml(path: Path, schema: type[T]) -> T:
    """Read a file into a dataclass.

    Raises:
        ConfigError: the file cannot be read, or does not fit; the message names file, key and value.
    """
    return check(read_yaml(path), schema, str(path))
