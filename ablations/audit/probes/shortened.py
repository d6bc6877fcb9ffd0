"""Short runs of a configuration: as many windows as a measurement needs, and nothing about the mechanisms changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from awd.config import Config
from awd.corpus.text import Encoded

_COLUMNS = {False: 8, True: 4}  # of the text trained on, for small and large models: masks must differ across them
_LARGE = 2_000_000  # parameters from which the audit takes fewer windows
_SHORTEST, _LONGEST = 8, 100  # tokens in a window of the run that looks at dropout
_RATE = 1e-3  # of the run whose steps are not measured, so that nothing can diverge
_WORDS = 500  # of the vocabulary, in the run whose steps are measured
_LENGTH = 2  # base length of windows whose steps are measured
_LONGEST_INTERVAL = {False: 10, True: 1}  # of the criterion, for small and large models


def dropping(config: Config, corpus: Encoded, parameters: int) -> tuple[Config, Encoded]:
    """Two epochs of a few windows, about as long as configured: for dropout, penalties and evaluation."""
    windows = replace(
        config.windows,
        length=min(max(config.windows.length, _SHORTEST), _LONGEST),
        minimum=min(max(config.windows.minimum, _SHORTEST), _LONGEST),
        spread=min(config.windows.spread, _LONGEST / 5),
    )
    longest = max(windows.length, windows.minimum) + (3 * windows.spread if windows.variable else 0)
    large = parameters > _LARGE
    rows, columns = 1 + int((3 if large else 6) * longest), _COLUMNS[large]
    short = replace(
        config,
        windows=windows,
        optimizer=replace(config.optimizer, learning_rate=min(_RATE, config.optimizer.learning_rate)),
        finetuning=replace(config.finetuning, epochs=0),
        training=replace(config.training, epochs=2, batch_size=columns, valid_batch_size=2, test_batch_size=1),
    )
    return short, replace(
        corpus, train=_first(corpus.train, rows * columns), valid=_first(corpus.valid, 24), test=_first(corpus.test, 4)
    )


def stepping(config: Config, corpus: Encoded, parameters: int, rate: float | None) -> tuple[Config, Encoded]:
    """Windows of about two tokens, and epochs enough for the criterion to fire: for steps, averages and phases.

    Args:
        rate: in place of the configured rates, where those diverge.
    """
    optimizer, finetuning = config.optimizer, config.finetuning
    interval = min(optimizer.nonmonotone_interval, _LONGEST_INTERVAL[parameters > _LARGE])
    rates: dict[str, Any] = {} if rate is None else {"learning_rate": rate}
    epochs = len(script(interval))
    short = replace(
        config,
        windows=replace(config.windows, length=_LENGTH, spread=min(1.0, config.windows.spread), minimum=1),
        optimizer=replace(
            optimizer,
            nonmonotone_interval=interval,
            average_from=min(optimizer.average_from, 7),
            average_from_epoch=min(optimizer.average_from_epoch, 3),
            **rates,
        ),
        finetuning=replace(finetuning, epochs=epochs if finetuning.epochs else 0, **rates),
        training=replace(config.training, epochs=epochs, batch_size=2, valid_batch_size=1, test_batch_size=1),
    )
    words = corpus.words[:_WORDS]
    train = [word % len(words) for word in _first(corpus.train, 2 * (1 + 2 * _LENGTH))]
    # one word repeated, so that a scripted score for it sets the perplexity
    return short, Encoded(words, train=train, valid=[0] * 2, test=[0] * 2)


def script(interval: int) -> list[float]:
    """Validation perplexities on which ``min(v[:-n])`` first fires at check n + 4, and other readings earlier.

    A dip at check 2 is followed by a slow rise that ``min(v[-n:])`` already takes for an end; then comes a tie, which
    is not worse; then the value that fires. After it the best of all, and two that are worse again.
    """
    rise = [90.0 + check for check in range(max(interval, 1))]
    return [100.0, *rise[:interval], 99.0, 90.0 if interval else 99.0, 99.5, 80.0, 97.0, 98.0]


def _first(tokens: Sequence[int], count: int) -> list[int]:
    """The first tokens of a text, which is read again where it is too short."""
    return (list(tokens) * (1 + count // len(tokens)))[:count]
