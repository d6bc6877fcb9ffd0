"""Validation errors put in words: which file, which key, which value, what is allowed."""

from __future__ import annotations

import dataclasses
import difflib
import reprlib
import unicodedata
from collections.abc import Iterable
from typing import Any, get_type_hints

from pydantic import ValidationError

_LONGEST = 200  # characters of a value in a message


class _Shown(reprlib.Repr):
    """``repr``, cut short where a value is huge or holds itself."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _LONGEST
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 10
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out an integer of thousands of digits
        return super().repr_int(x, level) if x.bit_length() < 4 * _LONGEST else f"{hex(x)[:20]}..."


_shown = _Shown().repr


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
    return "\n".join(_describe(fault, schema, origin) for fault in error.errors())


def _describe(fault: Any, schema: type, origin: str) -> str:
    location = [str(part) for part in fault["loc"]]
    key = ".".join(location) or "(top level)"
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{origin}: {key}: {unknown('key', location[-1], _fields_at(schema, location[:-1]))}"
    if fault["type"] in ("missing", "missing_argument"):
        return f"{origin}: {key}: this key is required"
    if fault["type"] == "invalid_key":
        return f"{origin}: {key}: {_shown(fault['input'])} is not a key: keys are text"
    if fault["type"] in ("dataclass_type", "dataclass_exact_type", "dict_type"):
        return f"{origin}: {key}: {_shown(fault['input'])} is not a mapping of keys to values"
    text = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{origin}: {key}: {_shown(fault['input'])} is not possible: it {text}"


def _fields_at(schema: type, path: list[str]) -> list[str]:
    for name in path:
        hint = get_type_hints(schema).get(name) if dataclasses.is_dataclass(schema) else None
        schema = hint if isinstance(hint, type) else object
    return [field.name for field in dataclasses.fields(schema)] if dataclasses.is_dataclass(schema) else []


def number_text(value: float, digits: int = 2, sign: str = "-") -> str:
    """``61.23``; from a million on ``2.0e43``. ``sign`` is that of Python's format: ``+`` writes it always."""
    if abs(value) < 1e6:
        return f"{value:{sign}z.{digits}f}"
    return f"{value:{sign}.1e}".replace("e+0", "e").replace("e+", "e")


def one_line(text: str) -> str:
    """Text with every run of white space as one space, so that it stays in its cell, and without what is no letter."""
    return "".join("�" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in " ".join(text.split()))
