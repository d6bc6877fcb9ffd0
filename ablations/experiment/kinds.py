"""Kinds of suites: what a file of each holds, and the plain variants that it stands for.

A kind ends here: a plan, the store and the audit see variants. What a report needs to know of how they belong together
is the suite's ``layout``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass as plain_dataclass
from typing import Annotated, Any

from pydantic import AliasChoices, ConfigDict, Field
from pydantic.dataclasses import dataclass

from ablations.experiment.names import Name
from ablations.experiment.variant import Variant, fields, is_factor, nested, part_of, read_factor, together
from awd.config import Config, override
from awd.errors import ConfigError
from awd.messages import shown, unknown

_FORBID_EXTRA = ConfigDict(extra="forbid")
HYPOTHESES_KEYS = AliasChoices("hypotheses", "claims")  # the second is what files of before say
FULL = Variant("full", "full model")
NOTHING = Variant("nothing", "everything off")


@plain_dataclass(frozen=True)
class Step:
    """One part added: its ``label``, and the variants that have it on top of the parts before, and alone."""

    label: str
    cumulative: str
    alone: str


@plain_dataclass(frozen=True)
class Buildup:
    """The steps of a staircase, in order; differences are to the variant that has nothing."""

    steps: tuple[Step, ...]


@plain_dataclass(frozen=True)
class Pairs:
    """Which variant lacks two things: ``both[one, other]``, of variants that lack one."""

    both: dict[tuple[str, str], str]


@plain_dataclass(frozen=True)
class Curve:
    """One row with one field at several values.

    Attributes:
        field: ``section.name``.
        row: the variant without the field's values.
        points: a variant for each value.
    """

    field: str
    row: str
    points: tuple[str, ...]


@plain_dataclass(frozen=True)
class Sweep:
    """The curves of a sweep, field by field."""

    curves: tuple[Curve, ...]


Layout = Buildup | Pairs | Sweep | None


@plain_dataclass(frozen=True)
class Expansion:
    """What a file stands for: variants, the name of the one that the others are compared with, and the layout."""

    variants: tuple[Variant, ...]
    baseline: str
    layout: Layout = None


@dataclass(frozen=True, kw_only=True, config=_FORBID_EXTRA)
class SuiteFile:
    """What every kind of suite says; see :class:`ablations.experiment.suite.Suite`."""

    name: Name
    title: str
    kind: str = "removal"
    published: str | None = None
    hypotheses: Annotated[str | None, Field(validation_alias=HYPOTHESES_KEYS)] = None

    def expanded(self, origin: str, load: Callable[[str], VariantsFile]) -> Expansion:
        """The variants.

        Args:
            origin: the file, for messages.
            load: reads another suite's file, of plain variants.

        Raises:
            ConfigError: something named is unknown, or variants cannot go together.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True, config=_FORBID_EXTRA)
class VariantsFile(SuiteFile):
    """``removal``: each variant lacks something of the baseline. ``choices``: the variants are of equal standing."""

    baseline: str
    variants: tuple[Variant, ...]

    def expanded(self, origin: str, load: Callable[[str], VariantsFile]) -> Expansion:
        """As :meth:`SuiteFile.expanded`."""
        return Expansion(self.variants, self.baseline)


@dataclass(frozen=True, kw_only=True, config=_FORBID_EXTRA)
class _RemovalsFile(SuiteFile):
    """What is made of removals: those of a suite, or of this file.

    Attributes:
        of: the suite whose rows they are, by name or path.
        variants: the same, written here.
        rows: which of them, in which order; ``None`` is all.
    """

    of: str | None = None
    variants: Annotated[tuple[Variant, ...] | None, Field(min_length=1)] = None
    rows: Annotated[tuple[str, ...] | None, Field(min_length=1)] = None

    def _removals(self, origin: str, load: Callable[[str], VariantsFile]) -> tuple[Variant, tuple[Variant, ...]]:
        """The full model, and the removals."""
        if (self.of is None) == (self.variants is None):
            raise ConfigError(f"{origin}: of: name a suite here, or write variants; one of the two")
        full, removals = FULL, self.variants or ()
        if self.of is not None:
            other = load(self.of)
            full = next(one for one in other.variants if one.name == other.baseline)
            removals = tuple(one for one in other.variants if one is not full)
        by_name = {one.name: one for one in removals}
        _require_once(origin, "rows", self.rows or ())
        for name in self.rows or ():
            _require_known(origin, "rows", name, by_name)
        return full, removals if self.rows is None else tuple(by_name[name] for name in self.rows)


@dataclass(frozen=True, kw_only=True, config=_FORBID_EXTRA)
class BuildupFile(_RemovalsFile):
    """From everything off, the parts come back one by one, in the order of ``rows``; and each alone."""

    def expanded(self, origin: str, load: Callable[[str], VariantsFile]) -> Expansion:
        """As :meth:`SuiteFile.expanded`."""
        _, removals = self._removals(origin, load)
        if len(removals) < 2:
            raise ConfigError(f"{origin}: rows: {shown([one.name for one in removals])}: two or more are needed")
        cumulative, alone, steps = [], [], []
        for place, removal in enumerate(removals):
            part, label = removal.name.removeprefix("no-"), part_of(removal.label)
            without = [one for one in removals if one is not removal]
            added = Variant(f"+{part}", f"+ {label}", together(removals[place + 1 :], origin))
            single = Variant(f"only-{part}", f"{label} alone", together(without, origin))
            cumulative.append(added)
            alone += [single] if place else []  # the first step is the first part alone
            steps.append(Step(label, added.name, (single if place else added).name))
        nothing = Variant(NOTHING.name, NOTHING.label, together(removals, origin))
        return Expansion((nothing, *cumulative, *alone), nothing.name, Buildup(tuple(steps)))


@dataclass(frozen=True, kw_only=True, config=_FORBID_EXTRA)
class PairsFile(_RemovalsFile):
    """The full model, each removal, and every two of them together.

    Attributes:
        pairs: these pairs only.
    """

    pairs: Annotated[tuple[tuple[str, str], ...] | None, Field(min_length=1)] = None

    def expanded(self, origin: str, load: Callable[[str], VariantsFile]) -> Expansion:
        """As :meth:`SuiteFile.expanded`."""
        full, removals = self._removals(origin, load)
        by_name = {one.name: one for one in removals}
        pairs = tuple(itertools.combinations(by_name, 2)) if self.pairs is None else self.pairs
        if not pairs:
            raise ConfigError(f"{origin}: rows: {shown(list(by_name))}: two or more are needed")
        for pair in pairs:
            for name in pair:
                _require_known(origin, "pairs", name, by_name)
            if pair[0] == pair[1]:
                raise ConfigError(f"{origin}: pairs: {shown(list(pair))} is a pair with itself")
        _require_once(origin, "pairs", [" and ".join(sorted(pair)) for pair in pairs])
        used = {name for pair in pairs for name in pair}
        both = [_pair(by_name[one], by_name[other], origin) for one, other in pairs]
        singles = [one for one in removals if one.name in used]
        names = dict(zip(pairs, (one.name for one in both), strict=True))
        return Expansion((full, *singles, *both), full.name, Pairs(names))


def _pair(one: Variant, other: Variant, origin: str) -> Variant:
    return Variant(f"{one.name}+{other.name}", f"{one.label} {other.label}", together([one, other], origin))


@dataclass(frozen=True, kw_only=True, config=_FORBID_EXTRA)
class SweepFile(_RemovalsFile):
    """The full model, and where ``of`` or ``variants`` names some also those, with fields at several values.

    Attributes:
        sweep: by field, ``section.name``, its values; a value may be a :class:`ablations.experiment.variant.Factor`.
    """

    sweep: Annotated[
        dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]],
        Field(min_length=1),
    ]

    def expanded(self, origin: str, load: Callable[[str], VariantsFile]) -> Expansion:
        """As :meth:`SuiteFile.expanded`."""
        alone = self.of is None and self.variants is None and self.rows is None
        full, others = (FULL, ()) if alone else self._removals(origin, load)
        known = fields(Config())
        leaves = Counter(field.partition(".")[2] for field in known)
        curves: list[Curve] = []
        variants: list[Variant] = []
        for field, values in self.sweep.items():
            if field not in known:
                raise ConfigError(f"{origin}: sweep: {unknown('field', field, known)}")
            leaf = field.partition(".")[2]
            name = leaf if leaves[leaf] == 1 else field
            settings = [_setting(field, value, name, f"{origin}: sweep") for value in values]
            _require_once(origin, f"sweep: {field}", [one.name.partition("=")[2] for one in settings])
            for row in (full, *others):
                points = [setting if row is full else _at(row, setting, f"{origin}: sweep") for setting in settings]
                variants += points
                curves.append(Curve(field, row.name, tuple(point.name for point in points)))
        return Expansion((full, *others, *variants), full.name, Sweep(tuple(curves)))


def _setting(field: str, value: Any, name: str, origin: str) -> Variant:
    """The full model with a field at a value."""
    words = name.replace("_", " ").replace(".", ", ")
    if is_factor(value):
        factor = read_factor(value, f"{origin}: {field}")
        return Variant(f"{name}={factor.times:g}x", f"{words} × {factor.times:g}", nested(field, value))
    override(Config(), nested(field, value), origin)
    text = f"{value:g}" if isinstance(value, float) else shown(value).strip("'")
    return Variant(f"{name}={text}", f"{words} {text}", nested(field, value))


def _at(row: Variant, setting: Variant, origin: str) -> Variant:
    return Variant(f"{row.name}@{setting.name}", f"{row.label}, {setting.label}", together([row, setting], origin))


def _require_known(origin: str, key: str, name: str, known: dict[str, Variant]) -> None:
    if name not in known:
        raise ConfigError(f"{origin}: {key}: {unknown('variant', name, known)}")


def _require_once(origin: str, key: str, names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ConfigError(f"{origin}: {key}: {name} stands twice")


KINDS: dict[str, type[SuiteFile]] = {
    "removal": VariantsFile,
    "choices": VariantsFile,
    "buildup": BuildupFile,
    "pairs": PairsFile,
    "sweep": SweepFile,
}
