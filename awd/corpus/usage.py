"""What a corpus comes to in a configuration, and whether it can be trained on: one answer for whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from awd.config import CorpusConfig, TrainingConfig
from awd.corpus.batching import require_fit
from awd.corpus.datasets import DataSet
from awd.corpus.text import UNK, WHOLE, Text, encode
from awd.errors import CorpusError

FEWEST_WORDS = 10
LARGEST_UNKNOWN = 1 / 3  # of a split's tokens, beyond which a perplexity says little about the text


@dataclass(frozen=True)
class Usage:
    """A corpus as a configuration uses it.

    Attributes:
        name: of the corpus.
        vocabulary: words.
        tokens: of each split.
        unknown: share of each split's tokens that is ``<unk>``, 0 to 1.
        warnings: what a reader of its perplexities must know, a sentence each.
    """

    name: str
    vocabulary: int
    tokens: Mapping[str, int]
    unknown: Mapping[str, float]
    warnings: tuple[str, ...] = ()


def examine(text: Text, cut: CorpusConfig = WHOLE, training: TrainingConfig | None = None) -> Usage:
    """What a text comes to.

    Args:
        text: the corpus.
        cut: how much of it is used, and which of its words.
        training: whose batches it must fill, if it is to be trained on.

    Raises:
        CorpusError: it cannot be used so: :func:`awd.corpus.text.encode` or
            :func:`awd.corpus.batching.require_fit` refuses it, or it has too few words.
    """
    encoded = encode(text, cut)
    unknown = encoded.unknown
    usage = Usage(text.name, len(encoded.words), encoded.tokens, unknown, all_warnings(text, unknown))
    return _usable(usage, cut, training)


def examine_published(dataset: DataSet, cut: CorpusConfig, training: TrainingConfig) -> Usage | None:
    """The same of a published corpus that is used whole, without looking at it; ``None`` where one must look.

    Raises:
        CorpusError: as :func:`examine`.
    """
    if dataset.vocabulary is None or cut.train_tokens is not None or cut.minimum_count > 1:
        return None
    unknown = {split: count / dataset.tokens[split] for split, count in dataset.unknown.items()}
    return _usable(Usage(dataset.name, dataset.vocabulary, dataset.tokens, unknown), cut, training)


def _usable(usage: Usage, cut: CorpusConfig, training: TrainingConfig | None) -> Usage:
    if training is not None:
        require_fit(usage.tokens, training, cut.valid_tokens)
    if usage.vocabulary < FEWEST_WORDS:
        raise CorpusError(
            f"{usage.name}: a vocabulary of {usage.vocabulary} words is too small: at least {FEWEST_WORDS} are needed "
            f"(words are divided by blanks; those rarer than corpus.minimum_count, {cut.minimum_count}, become {UNK})"
        )
    return usage


def all_warnings(text: Text, unknown: Mapping[str, float]) -> tuple[str, ...]:
    """Those of the text itself, and that too much of it is ``<unk>``."""
    doubt = unknown_warning(unknown)
    return (*text.warnings, *([f"{text.name}: {doubt}"] if doubt else []))


def describe_unknown(unknown: Mapping[str, float]) -> str:
    """``<unk>: 4.8% of train, 4.7% of valid, 5.8% of test``."""
    return f"{UNK}: " + ", ".join(f"{share:.1%} of {split}" for split, share in unknown.items())


def unknown_warning(unknown: Mapping[str, float]) -> str:
    """Says that so many tokens are ``<unk>`` that a perplexity means little; empty where they are not."""
    if max(unknown.values()) <= LARGEST_UNKNOWN:
        return ""
    most = f"where it is more than {LARGEST_UNKNOWN:.0%}, a perplexity says little about the text"
    return f"{describe_unknown(unknown)}; {most}"
