"""Suite x profile x data set x seed -> runs, each named by a hash of everything that determines its result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ablations.experiment.profile import Profile
from ablations.experiment.suite import Suite
from ablations.experiment.variant import Variant, multiplied
from ablations.experiment.yaml_files import parse_yaml
from awd.config import Config, config_to_dict, override
from awd.errors import ConfigError

RESULT_FORMAT = 2  # raised when the same configuration would give, or mean, other numbers

# fields younger than the format, and the value at which a run is what it was before: not part of a run's name then,
# so that a new field takes nobody's results away
_YOUNGER: dict[str, dict[str, Any]] = {
    "corpus": {"minimum_count": 1, "valid_tokens": None},
    "optimizer": {"average_from_epoch": 0},
    "regularization": {"mask_per": "window", "embedding_drops": "words", "recurrent_drops": "weights"},
}


@dataclass(frozen=True)
class RunSpec:
    """One run: all that a worker needs, small and picklable.

    Attributes:
        suite: name of the suite; likewise ``profile``, ``dataset``, ``variant``.
        source: what the corpus is loaded from: a built-in name, or the path of a folder.
        corpus_sha256: digest that the corpus must have.
        label: the variant's label.
        seed: seed of every random draw.
        config: what is trained.
        engine: which implementation trains it; ``precision``: in which arithmetic.
    """

    suite: str
    profile: str
    dataset: str
    source: str
    corpus_sha256: str
    variant: str
    label: str
    seed: int
    config: Config
    engine: str = "torch"
    precision: str = "fp32"

    @cached_property
    def config_json(self) -> str:
        """The resolved configuration as JSON with sorted keys."""
        return json.dumps(config_to_dict(self.config), sort_keys=True)

    @cached_property
    def run_id(self) -> str:
        """Hash of all that determines the result, so not of names, device, jobs or paths.

        Two variants that resolve to the same configuration are one run.
        """
        identity = {
            "config": _without_neutral(json.loads(self.config_json)),
            "corpus_sha256": self.corpus_sha256,
            "engine": self.engine,
            "format": RESULT_FORMAT,
            "precision": self.precision,
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def title(self) -> str:
        """The name of the run in messages."""
        return f"{self.dataset} {self.variant} seed {self.seed}"


def _without_neutral(config: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    neutral = {(section, key, value) for section, fields in _YOUNGER.items() for key, value in fields.items()}
    return {
        section: {key: value for key, value in fields.items() if (section, key, value) not in neutral}
        for section, fields in config.items()
    }


@dataclass(frozen=True)
class Corpus:
    """What a plan knows of a data set: its name, what it is loaded from, and its digest."""

    name: str
    source: str
    sha256: str


def parse_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """``["model.hidden_size=600"]`` as nested values, each value read as YAML; assignments add up.

    Raises:
        ConfigError: no ``=``, an empty key, or two values for one key.
    """
    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        path, origin = key.strip().split("."), f"--set {assignment!r}"
        if not equals or not all(path):
            raise ConfigError(f"{origin}: expected key=value, for example model.hidden_size=600")
        value = parse_yaml(text, origin)
        for part in reversed(path):
            value = {part: value}
        try:
            _add(settings, value, origin)
        except RecursionError:
            raise ConfigError(f"{origin}: a value that holds itself") from None
    return settings


def _add(settings: dict[str, Any], more: dict[str, Any], origin: str, at: str = "") -> None:
    """Lay values beside those of earlier assignments, of which none is undone."""
    for key, value in more.items():
        before = settings.setdefault(key, value)
        if isinstance(before, dict) and isinstance(value, dict):
            _add(before, value, origin, f"{at}{key}.")
        elif before != value:
            raise ConfigError(f"{origin}: {at}{key} was given another value before, {before!r}")


def resolve(profile: Profile, suite: Suite, source: str, variant: Variant, settings: dict[str, Any]) -> Config:
    """The configuration of one variant: the profile's, then the data set's, ``--set``, and the variant's own changes.

    Args:
        source: the data set as the user named it: a folder called ``ptb`` is not ``ptb``.

    Raises:
        ConfigError: a layer does not fit; the message names the layer.
    """
    config = override(Config(), profile.config, f"profile {profile.name}: config")
    of_dataset = profile.per_dataset.get(source, {})
    config = override(config, of_dataset, f"profile {profile.name}: per_dataset.{source}")
    config = override(config, settings, "--set")
    origin = f"suite {suite.name}: variant {variant.name}"
    return override(config, multiplied(variant.overrides, config, origin), origin)


def make_plan(
    suite: Suite,
    profile: Profile,
    corpora: Sequence[Corpus],
    *,
    variants: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    settings: dict[str, Any] | None = None,
    engine: str = "torch",
    precision: str = "fp32",
) -> list[RunSpec]:
    """Every run asked for, seed by seed, so that the first finished runs fill whole tables.

    Args:
        variants: names; ``None`` takes all of the suite.
        seeds: ``None`` takes the profile's.
        settings: fields overridden in every run.
        engine: what computes them, resolved; likewise ``precision``.

    Raises:
        ConfigError: an unknown variant, or a configuration that does not fit.
    """
    chosen = suite.variants if variants is None else [suite.variant(name) for name in dict.fromkeys(variants)]
    configs = {
        (corpus.source, variant.name): resolve(profile, suite, corpus.source, variant, settings or {})
        for corpus in corpora
        for variant in chosen
    }
    return [
        RunSpec(
            suite=suite.name,
            profile=profile.name,
            dataset=corpus.name,
            source=corpus.source,
            corpus_sha256=corpus.sha256,
            variant=variant.name,
            label=variant.label,
            seed=seed,
            config=configs[corpus.source, variant.name],
            engine=engine,
            precision=precision,
        )
        for corpus in corpora
        for seed in dict.fromkeys(profile.seeds if seeds is None else seeds)
        for variant in chosen
    ]


def unique_runs(plan: Sequence[RunSpec]) -> list[RunSpec]:
    """The plan with each run once, where several variants resolve to the same one."""
    return list({spec.run_id: spec for spec in reversed(plan)}.values())[::-1]
