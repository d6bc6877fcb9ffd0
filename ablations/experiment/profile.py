"""The scale that a suite is run at: sizes, strengths, lengths, data sets and seeds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ablations.experiment.names import FolderName
from ablations.experiment.suite import find_file
from ablations.experiment.yaml_files import load_yaml
from awd.errors import ConfigError
from awd.messages import unknown

BUILT_IN_DATASETS = ("python-docs", "ptb", "wikitext-2")
LARGEST_SEED = 2**63 - 1  # what a column of the results holds


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Profile:
    """A scale to run at.

    Attributes:
        name: what it is asked for by.
        title: what it is, in one line.
        scale: ``paper`` is the paper's own protocol; ``reduced`` is anything smaller, and reports say so.
        datasets: those run when no ``--dataset`` is given.
        seeds: those run when no ``--seeds`` is given.
        config: fields of :class:`awd.Config` that differ from its defaults, nested.
        per_dataset: fields that differ for one data set, by its name.
        strengths: how the regularizers' strengths were chosen, by data set, in words for the reports.
    """

    name: FolderName
    title: str
    scale: Literal["paper", "reduced"]
    datasets: Annotated[tuple[str, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Annotated[int, Field(strict=True, ge=0, le=LARGEST_SEED)], ...], Field(min_length=1)]
    config: dict[str, Any] = Field(default_factory=dict)
    per_dataset: dict[str, dict[str, Any]] = Field(default_factory=dict)
    strengths: dict[str, str] = Field(default_factory=dict)


def load_profile(name: str) -> Profile:
    """Read a profile by name or path.

    Raises:
        ConfigError: unknown, unreadable, or ``per_dataset`` or ``strengths`` names a data set that nobody could ask
            for.
    """
    path = find_file("profiles", name)
    profile = load_yaml(path, Profile)
    allowed = list(dict.fromkeys([*profile.datasets, *BUILT_IN_DATASETS]))
    for field in ("per_dataset", "strengths"):
        for dataset in getattr(profile, field):
            if dataset not in allowed:
                raise ConfigError(f"{path}: {field}: {unknown('data set', dataset, allowed)}")
    return profile
