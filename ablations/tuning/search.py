"""What may be chosen, where to begin, and how much may be spent on it: a search, as YAML."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from ablations.experiment.names import Name
from ablations.experiment.profile import LARGEST_SEED
from ablations.experiment.suite import find_file
from ablations.experiment.variant import fields, leaves
from ablations.experiment.yaml_files import load_yaml
from awd.config import Config
from awd.errors import ConfigError
from awd.messages import unknown

if TYPE_CHECKING:
    from optuna.trial import Trial

_FORBID_EXTRA = ConfigDict(extra="forbid", allow_inf_nan=False)
Seed = Annotated[int, Field(strict=True, ge=0, le=2**32 - 1)]
Value = bool | int | float | str | None


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Range:
    """Values that one field may take: between two bounds, or one of a list.

    Attributes:
        low: the least; whole numbers only where both bounds are.
        high: the largest.
        step: only every so many from ``low`` on.
        log: drawn evenly on a log scale.
        choices: in place of bounds, these and no others.
    """

    low: int | float | None = None
    high: int | float | None = None
    step: Annotated[int | float, Field(gt=0)] | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()

    @model_validator(mode="after")
    def _must_be_one_kind(self) -> Range:
        bounded = self.low is not None and self.high is not None
        if bounded == bool(self.choices) or (self.choices and (self.low, self.high) != (None, None)):
            raise ValueError("must have either low and high, or choices")
        if bounded and not self.low < self.high:  # type: ignore[operator]  # both are numbers here
            raise ValueError("must have low below high")
        if self.log and (self.step or not bounded or not self.low > 0):  # type: ignore[operator]
            raise ValueError("must have low above 0 and no step where log is true")
        return self

    def suggest(self, trial: Trial, name: str) -> Value:
        """A value for a trial."""
        if self.choices:
            found: Value = trial.suggest_categorical(name, self.choices)
            return found
        low, high = self.ends()
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(name, low, high, step=int(self.step or 1), log=self.log)
        return tidy(trial.suggest_float(name, float(low), float(high), step=self.step, log=self.log))

    def ends(self) -> tuple[int, int] | tuple[float, float]:
        """Its bounds, as numbers of the kind that :meth:`suggest` gives."""
        low, high = self.low or 0, self.high or 0
        return (int(low), int(high)) if self._whole else (float(low), float(high))

    @property
    def _whole(self) -> bool:
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def holds(self, value: Value) -> bool:
        """Whether a value could have been suggested, but for the step."""
        if self.choices:
            return value in self.choices
        return isinstance(value, int | float) and self.low <= value <= self.high  # type: ignore[operator]


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Pruning:
    """When a trial that goes worse than most is given up.

    Attributes:
        percentile: trials whose best epoch so far is not among this best share of earlier ones, at the same epoch, end.
        startup_trials: so many end first, before any is given up.
        warmup_epochs: a trial has at least so many.
    """

    percentile: Annotated[float, Field(gt=0, le=100)] = 50.0
    startup_trials: Annotated[int, Field(ge=1)] = 5
    warmup_epochs: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Case:
    """Configurations that have other ranges than the rest.

    Attributes:
        where: values that they have, by dotted field.
        space: their ranges, in place of those of the search.
    """

    where: Annotated[dict[str, Value], Field(min_length=1)]
    space: Annotated[dict[str, Range], Field(min_length=1)]

    def holds(self, config: Config) -> bool:
        """Whether a configuration is one of them."""
        values = fields(config)
        return all(values[field] == value for field, value in self.where.items())


@dataclass(frozen=True, config=_FORBID_EXTRA)
class Search:
    """How a profile's configuration is tuned.

    Attributes:
        name: how it is asked for.
        title: one line on what it chooses.
        space: by dotted field of :class:`awd.Config`, what it may be.
        cases: configurations whose ranges are others; of several that hold the first counts.
        also_set: whether fields that a variant sets itself are tuned too, from the variant's value on.
        start: settings tried first; a field left out is the profile's.
        trials: how many settings are tried.
        trial_minutes: of one core that a trial may take; a slower one is given up.
        sampler_seed: of the draws of settings.
        training_seed: of every trial; none that results are reported of.
        startup_trials: settings drawn at random, those of ``start`` included, before earlier ones guide the choice.
        pruning: when a trial is given up.
    """

    name: Name
    title: str
    space: Annotated[dict[str, Range], Field(min_length=1)]
    cases: tuple[Case, ...] = ()
    also_set: bool = False
    start: tuple[dict[str, Value], ...] = ()
    trials: Annotated[int, Field(ge=1)] = 40
    trial_minutes: Annotated[float, Field(gt=0)] | None = None
    sampler_seed: Seed = 1
    training_seed: Annotated[int, Field(strict=True, ge=0, le=LARGEST_SEED)] = 1000
    startup_trials: Annotated[int, Field(ge=1)] = 10
    pruning: Pruning = Field(default_factory=Pruning)


def load_search(name: str) -> Search:
    """Read a search by name or path.

    Raises:
        ConfigError: unknown, unreadable, a start outside the space, or a case of unknown fields.
    """
    path = find_file("searches", name)
    search = load_yaml(path, Search)
    known = fields(Config())
    for case in search.cases:
        for key, given, allowed in (("where", case.where, known), ("space", case.space, search.space)):
            for field in given:
                if field not in allowed:
                    raise ConfigError(f"{path}: cases: {key}: {unknown('field', field, allowed)}")
    for settings in search.start:
        require_inside(search, settings, str(path))
    return search


def require_inside(search: Search, settings: dict[str, Value], origin: str) -> None:
    """Refuse settings that the search could not have tried.

    Raises:
        ConfigError: names the origin, the field and what is allowed.
    """
    for field, value in settings.items():
        if field not in search.space:
            raise ConfigError(f"{origin}: start: {unknown('field', field, search.space)}")
        if not search.space[field].holds(value):
            raise ConfigError(f"{origin}: start: {field}: {value} is not in the space")


def of_variant(search: Search, config: Config, overrides: dict[str, Any], name: str) -> Search:
    """The search for one variant: the ranges of its case, without what it sets itself unless that is tuned, too.

    Args:
        config: the variant's.
        overrides: what it sets.

    Raises:
        ConfigError: nothing is left to tune; names the variant.
    """
    case = next((case for case in search.cases if case.holds(config)), None)
    own = replace(search, space=search.space | (case.space if case else {}), cases=())
    return own if search.also_set else without(own, dict(leaves(overrides)), f"variant {name}")


def without(search: Search, decided: Collection[str], why: str) -> Search:
    """The search with fewer fields: those that something else decides are left as they are.

    Raises:
        ConfigError: none is left; names ``why``.
    """
    space = {field: values for field, values in search.space.items() if field not in decided}
    if not space:
        raise ConfigError(f"search {search.name}: {why} decides every field of it, so that there is nothing to tune")
    start = tuple({field: value for field, value in one.items() if field in space} for one in search.start)
    return replace(search, space=space, start=start)


def tidy(value: Value) -> Value:
    """Without what a step of 0.05 leaves: 0.15000000000000002."""
    return round(value, 10) if isinstance(value, float) else value


def nested(settings: dict[str, Value]) -> dict[str, Any]:
    """``{"model.hidden_size": 600}`` as ``{"model": {"hidden_size": 600}}``."""
    found: dict[str, Any] = {}
    for field, value in settings.items():
        level = found
        *path, key = field.split(".")
        for part in path:
            level = level.setdefault(part, {})
        level[key] = value
    return found
