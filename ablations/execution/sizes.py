"""What a run takes, counted rather than measured: parameters, tokens, epochs, vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ablations.experiment.plan import RunSpec
from ablations.experiment.selection import Selection
from awd.config import CorpusConfig
from awd.corpus import DATASETS, load_corpus
from awd.corpus.batching import predicted_tokens
from awd.corpus.text import SPLITS, encode


@dataclass(frozen=True)
class Size:
    """What a run takes.

    Attributes:
        parameters: of the model.
        tokens: trained on in an epoch.
        most_epochs: of both phases.
        vocabulary: words.
        splits: tokens of each split.
    """

    parameters: int
    tokens: int
    most_epochs: int
    vocabulary: int
    splits: Mapping[str, int]


def sizes(plan: Sequence[RunSpec], selection: Selection) -> dict[str, Size]:
    """Exact sizes of each run, by its id. Published corpora used whole need not be at hand.

    Raises:
        CorpusError: a corpus that must be looked at is not at hand; nothing is downloaded.
    """
    from awd.model import count_parameters

    found: dict[tuple[str, CorpusConfig], tuple[int, Mapping[str, int]]] = {}
    result = {}
    for spec in plan:
        key = (spec.source, spec.config.corpus)
        if key not in found:
            found[key] = _vocabulary_and_tokens(spec, selection)
        vocabulary, tokens = found[key]
        result[spec.run_id] = Size(
            count_parameters(vocabulary, spec.config.model),
            predicted_tokens(tokens["train"], spec.config.training.batch_size),
            spec.config.most_epochs,
            vocabulary,
            tokens,
        )
    return result


def _vocabulary_and_tokens(spec: RunSpec, selection: Selection) -> tuple[int, Mapping[str, int]]:
    cut = spec.config.corpus
    known = DATASETS.get(spec.source)
    whole = cut.train_tokens is None and cut.minimum_count == 1
    if whole and known is not None and known.vocabulary is not None:
        return known.vocabulary, known.tokens
    encoded = encode(load_corpus(spec.source, data_dir=selection.data_dir, download=False), cut)
    return len(encoded.words), {split: len(getattr(encoded, split)) for split in SPLITS}
