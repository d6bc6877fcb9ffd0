"""What a run takes, counted rather than measured: parameters, tokens, epochs, vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection
from awd.config import CorpusConfig, TrainingConfig
from awd.corpus import DATASETS, load_corpus
from awd.corpus.batching import predicted_tokens
from awd.corpus.usage import Usage, examine, examine_published


@dataclass(frozen=True)
class Size:
    """What a run takes.

    Attributes:
        parameters: of the model.
        tokens: trained on in an epoch.
        most_epochs: of both phases.
        usage: what its corpus comes to.
    """

    parameters: int
    tokens: int
    most_epochs: int
    usage: Usage


def sizes(plan: Sequence[RunSpec], selection: Selection) -> dict[str, Size]:
    """Exact sizes of each run, by its id. Published corpora used whole need not be at hand.

    Raises:
        CorpusError: a corpus that must be looked at is not at hand (nothing is downloaded), or cannot be used so.
    """
    from awd.model import count_parameters

    found: dict[tuple[str, CorpusConfig, TrainingConfig], Usage] = {}
    result = {}
    for spec in plan:
        key = (spec.source, spec.config.corpus, spec.config.training)
        if key not in found:
            found[key] = _usage(spec, selection)
        usage = found[key]
        result[spec.run_id] = Size(
            count_parameters(usage.vocabulary, spec.config.model),
            predicted_tokens(usage.tokens["train"], spec.config.training.batch_size),
            spec.config.most_epochs,
            usage,
        )
    return result


def _usage(spec: RunSpec, selection: Selection) -> Usage:
    cut, training, known = spec.config.corpus, spec.config.training, DATASETS.get(spec.source)
    usage = examine_published(known, cut, training) if known is not None else None
    return usage or examine(load_corpus(spec.source, data_dir=selection.data_dir, download=False), cut, training)
