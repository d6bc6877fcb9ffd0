"""Validation errors put in words: which file, which key, which value, what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
import unicodedata
from collections.abc import Iterable
from typing import Any, get_args, get_type_hints

from pydantic import ValidationError

_LONGEST = 200  # characters of a value in a message
_EXPECTED = {
    "string_type": "text; if it is meant as text, quote it",
    "tuple_type": "a list, as in [a, b]",
    "dataclass_type": "a mapping of keys to values",
    "dataclass_exact_type": "a mapping of keys to values",
    "dict_type": "a mapping of keys to values",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
}
_UNION_MEMBERS = {"int", "float", "str", "bool"}  # what pydantic adds to the key of a value that may be several things


class _Shown(reprlib.Repr):
    """A value as users write it, cut short where it is huge or holds itself."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _LONGEST
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 10
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out an integer of thousands of digits
        return super().repr_int(x, level) if x.bit_length() < 4 * _LONGEST else f"{hex(x)[:20]}..."

    def repr_bool(self, x: bool, level: int) -> str:
        return str(x).lower()

    def repr_NoneType(self, x: None, level: int) -> str:  # noqa: N802 # reprlib's way to name it
        return "null"


shown = _Shown().repr


def nearest(name: str, allowed: Iterable[str]) -> str:
    """``; did you mean 'x'?`` when a valid name is close, else an empty string."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """``unknown <kind> 'x'; did you mean 'y'? Allowed: ...``."""
    names = list(allowed)
    return f"unknown {kind} {name!r}{nearest(name, names)} (allowed: {', '.join(names)})"


def describe_validation_error(error: ValidationError, schema: type, origin: str) -> str:
    """One line per fault, each ``origin: key: what is wrong, value and what is allowed``."""
    # a list of wrong entries counts as empty for pydantic, too
    faults = [fault for fault in error.errors() if fault["type"] != "too_short" or not fault["input"]]
    # of the faults of a value that may be several things the last is told: the widest of them
    lines = {_key(fault): _describe(fault, schema) for fault in faults}
    return "\n".join(f"{origin}: {key or '(top level)'}: {line}" for key, line in lines.items())


def _key(fault: Any) -> str:
    path = fault["loc"]
    if len(path) > 1 and path[-1] in _UNION_MEMBERS:
        path = path[:-1]
    return ".".join(f"entry {part + 1}" if isinstance(part, int) else part for part in path)


def _describe(fault: Any, schema: type) -> str:
    kind, value = fault["type"], shown(fault["input"])
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        *path, last = fault["loc"]
        return unknown("key", last, _fields_at(schema, path))
    if kind in ("missing", "missing_argument"):
        return "this key is required"
    if kind == "invalid_key":
        return f"{value} is not a key: keys are text"
    if kind == "too_short":
        return f"{value} is empty: at least {fault['ctx']['min_length']} is needed"
    if kind in _EXPECTED:
        return f"{value}{' (or nothing)' if fault['input'] is None else ''} is not {_EXPECTED[kind]}"
    return f"{value} is not possible: it {fault['msg'].removeprefix('Input ').removeprefix('Value error, ')}"


def _fields_at(schema: Any, path: list[str | int]) -> list[str]:
    for name in path:
        if dataclasses.is_dataclass(schema):
            schema = get_type_hints(schema).get(str(name))
        else:  # an entry of a list or mapping
            schema = next((kind for kind in reversed(get_args(schema)) if kind is not Ellipsis), None)
    return [field.name for field in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else []


def beyond_vocabulary(what: str, lowest: int, highest: int, words: int) -> str:
    """Says that ids are no words of a vocabulary."""
    return f"{what}: given ids from {lowest} to {highest}, expected 0 to {words - 1}: the vocabulary has {words} words"


def number_text(value: float, digits: int = 2, sign: str = "-") -> str:
    """``61.23``; from a million on ``2.0e43``. ``sign`` is that of Python's format: ``+`` writes it always."""
    if abs(value) < 1e6:
        return f"{value:{sign}z.{digits}f}"
    return f"{value:{sign}.1e}".replace("e+0", "e").replace("e+", "e")


def one_line(text: str) -> str:
    """Text with every run of white space as one space, so that it stays in its cell, and without what is no letter."""
    return "".join("�" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in " ".join(text.split()))
