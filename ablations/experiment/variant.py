"""A variant: a few overridden fields, each with a value of its own or with a multiple of the profile's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ablations.experiment.names import Label, Name
from ablations.experiment.yaml_files import check
from awd.config import Config, config_to_dict
from awd.errors import ConfigError
from awd.messages import shown, unknown

_FORBID_EXTRA = ConfigDict(extra="forbid", allow_inf_nan=False)
_Number = Annotated[float, Field(strict=True, ge=0)]


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Variant:
    """One row of the table.

    Attributes:
        name: what it is asked for by.
        label: what the paper calls it.
        overrides: the few fields of :class:`awd.Config` that it changes, nested; a value may be a :class:`Factor`.
    """

    name: Name
    label: Label
    overrides: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Factor:
    """A multiple of the value that a field would have without the variant: the profile's, or that of ``--set``.

    Attributes:
        times: the factor. Where the field holds whole numbers, the product is rounded.
        of: the field that is multiplied, ``section.name``; ``None`` is the field itself.
        at_most: what a larger product is cut down to.
    """

    times: _Number
    of: str | None = None
    at_most: _Number | None = None

    def value(self, config: Config, field: str) -> float | int:
        """What ``field`` becomes.

        Raises:
            ConfigError: there is no number in what is multiplied; begins with the key.
        """
        values, source = fields(config), self.of or field
        number = values[source]
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ConfigError(f"{field}: times: {self.times:g} times {source}, which is {shown(number)}: not a number")
        product = self.times * number if self.at_most is None else min(self.times * number, self.at_most)
        return round(product) if isinstance(values[field], int) else product


def part_of(label: str) -> str:
    """What a removal's label says is removed: the label without its dash."""
    return re.sub(r"^[-–−]\s*", "", label)


def fields(config: Config) -> dict[str, Any]:
    """Every field of a configuration, as ``section.name``."""
    return {f"{section}.{key}": value for section, of in config_to_dict(config).items() for key, value in of.items()}


def nested(field: str, value: Any) -> dict[str, Any]:
    """``{"model": {"hidden_size": 600}}`` of ``model.hidden_size`` and 600."""
    section, key = field.split(".")
    return {section: {key: value}}


def is_factor(value: Any) -> bool:
    """Whether an overridden value is written as a multiple."""
    return isinstance(value, dict) and "times" in value


def read_factor(value: dict[str, Any], origin: str) -> Factor:
    """A multiple, checked.

    Raises:
        ConfigError: names ``origin``, key and value.
    """
    factor, known = check(value, Factor, origin), fields(Config())
    if factor.of is not None and factor.of not in known:
        raise ConfigError(f"{origin}: of: {unknown('field', factor.of, known)}")
    return factor


def multiplied(overrides: dict[str, Any], config: Config, origin: str) -> dict[str, Any]:
    """The overrides with each multiple worked out from ``config``.

    Raises:
        ConfigError: names ``origin``, key and value.
    """
    changed = dict(overrides)
    for section, of in overrides.items():
        if not isinstance(of, dict):
            continue
        for key, value in of.items():
            if is_factor(value):
                factor, field = read_factor(value, f"{origin}: {section}.{key}"), f"{section}.{key}"
                if field not in fields(config):
                    raise ConfigError(f"{origin}: {unknown('field', field, fields(config))}")
                try:
                    number = factor.value(config, field)
                except ConfigError as error:
                    raise ConfigError(f"{origin}: {error}") from None
                changed[section] = {**changed[section], key: number}
    return changed


def together(variants: Sequence[Variant], origin: str) -> dict[str, Any]:
    """The overrides of several variants at once.

    Raises:
        ConfigError: two of them give one field two values.
    """
    merged: dict[str, Any] = {}
    set_by: dict[str, Variant] = {}
    for variant in variants:
        for field, value in leaves(variant.overrides):
            section, _, key = field.partition(".")
            before = set_by.setdefault(field, variant)
            of = merged.setdefault(section, {} if key else value)
            if not isinstance(of, dict) or of.setdefault(key, value) != value:
                raise ConfigError(
                    f"{origin}: {variant.name}: {field}: {shown(value)} here, another value in {before.name}: the two "
                    "cannot go together"
                )
    return merged


def leaves(overrides: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What is overridden, as ``section.name`` and value."""
    for section, of in overrides.items():
        if isinstance(of, dict):
            yield from ((f"{section}.{key}", value) for key, value in of.items())
        else:
            yield section, of  # refused when the configuration is made
