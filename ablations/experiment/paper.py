"""How much the paper trains; no corpus is needed to know."""

from __future__ import annotations

from functools import cache

from ablations.experiment.profile import load_profile
from awd.config import Config, override
from awd.corpus import DATASETS


@cache
def paper_datasets() -> tuple[str, ...]:
    """The paper's own data sets, in its order."""
    return load_profile("paper").datasets


def paper_config(dataset: str) -> Config | None:
    """The full model's configuration in profile ``paper``; ``None`` for a text that is not the paper's."""
    profile = load_profile("paper")
    if dataset not in profile.datasets:
        return None
    return override(override(Config(), profile.config, "paper"), profile.per_dataset.get(dataset, {}), "paper")


def paper_tokens(dataset: str) -> int | None:
    """The tokens that the paper's full model trains on at most, in both phases; ``None`` for another text."""
    config, known = paper_config(dataset), DATASETS.get(dataset)
    if config is None or known is None or not known.tokens:
        return None
    return known.tokens["train"] * config.most_epochs
