"""Configurations and texts drawn by hypothesis; the fields and their ranges are told once more, not read from awd."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

MOST, WIDEST, STRONGEST = 10**9, 10**6, 1e30
SPLITS = ("train", "valid", "test")
METHODS = ("sgd", "sgd-halving", "asgd", "nt-asgd", "adam")


def bounded(examples: int) -> settings:
    """So many examples, the same every time, however slow the machine."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


chance = st.one_of(st.just(0.0), st.floats(0, 1 - 2**-16))
strength = st.one_of(st.just(0.0), st.floats(0, STRONGEST), st.integers(0, 1000))
positive = st.one_of(st.floats(0, STRONGEST, exclude_min=True), st.integers(1, 1000))
count = st.one_of(st.integers(1, 5), st.integers(1, MOST))
count_or_zero = st.one_of(st.integers(0, 5), st.integers(0, MOST))
width = st.integers(1, WIDEST)
CHOICES = {
    "mask_per": st.sampled_from(["window", "step"]),
    "embedding_drops": st.sampled_from(["words", "units"]),
    "recurrent_drops": st.sampled_from(["weights", "units"]),
}

# every field of every section, anywhere in its range
LEGAL: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "model": {
        "embedding_size": st.none() | width,
        "hidden_size": width,
        "num_layers": st.integers(1, 1000),
        "tie_weights": st.booleans(),
    },
    "regularization": {
        **dict.fromkeys(
            ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout", "weight_dropout"), chance
        ),
        **dict.fromkeys(("activation_penalty", "temporal_activation_penalty", "weight_decay"), strength),
        **CHOICES,
    },
    "windows": {
        "length": st.integers(1, 90) | width,
        "variable": st.booleans(),
        "short_probability": st.floats(0, 1) | st.sampled_from([0, 1]),
        "spread": st.floats(0, 200) | st.floats(0, WIDEST),
        "minimum": st.integers(1, 90) | width,
    },
    "optimizer": {
        "method": st.sampled_from(METHODS),
        "learning_rate": positive,
        "clip_norm": st.none() | positive,
        "nonmonotone_interval": count_or_zero,
        "average_from": count_or_zero,
        "average_from_epoch": count_or_zero,
        "lambd": strength,
        "alpha": strength,
    },
    "finetuning": {"epochs": count_or_zero, "learning_rate": st.none() | positive},
    "training": dict.fromkeys(("epochs", "batch_size", "valid_batch_size", "test_batch_size"), count),
    "corpus": {"train_tokens": st.none() | count, "minimum_count": count, "valid_tokens": st.none() | count},
}
FIELDS = [(section, key) for section, fields in LEGAL.items() for key in fields]

# small, and at rates and strengths at which nothing diverges: a window multiplies its rate by (length + a few spreads)
# / length, and beyond 2 / weight_decay or 2 / lambd SGD grows without bound, which is legal and no fault of the code
_share = st.just(0.0) | st.floats(0, 0.9)
_TRAINABLE: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "model": {
        "embedding_size": st.none() | st.integers(1, 6),
        "hidden_size": st.integers(1, 7),
        "num_layers": st.integers(1, 3),
        "tie_weights": st.booleans(),
    },
    "regularization": {
        **dict.fromkeys(
            ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout", "weight_dropout"), _share
        ),
        **dict.fromkeys(("activation_penalty", "temporal_activation_penalty"), st.just(0.0) | st.floats(0, 2)),
        "weight_decay": st.just(0.0) | st.floats(0, 1e-3),
        **CHOICES,
    },
    "windows": {
        "length": st.integers(5, 30),
        "variable": st.booleans(),
        "short_probability": st.sampled_from([0.0, 0.05, 1.0]),
        "spread": st.floats(0, 5),
        "minimum": st.integers(1, 8),
    },
    "optimizer": {
        "method": st.sampled_from(METHODS),
        "learning_rate": st.floats(1e-3, 5),
        "clip_norm": st.none() | st.floats(0.05, 1),
        "nonmonotone_interval": st.integers(0, 2),
        "average_from": st.integers(0, 12),
        "average_from_epoch": st.integers(0, 3),
        "lambd": st.just(0.0) | st.floats(0, 1e-3),
        "alpha": st.just(0.0) | st.floats(0, 1),
    },
    "finetuning": {"epochs": st.integers(0, 2), "learning_rate": st.none() | st.floats(1e-3, 5)},
    "training": {
        "epochs": st.integers(2, 3),
        "batch_size": st.integers(1, 12),
        "valid_batch_size": st.integers(1, 10),
        "test_batch_size": st.integers(1, 10),
    },
    "corpus": {
        "train_tokens": st.none() | st.integers(60, 300),
        "minimum_count": st.just(1),
        "valid_tokens": st.none() | st.integers(20, 200),
    },
}


def _sections(fields: dict[str, dict[str, st.SearchStrategy[Any]]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({section: st.fixed_dictionaries(keys) for section, keys in fields.items()})


legal_values = _sections(LEGAL)


@st.composite
def trainable_values(draw: st.DrawFn) -> dict[str, Any]:
    """A configuration that trains in a moment. Without clipping, and with Adam, the rate is kept small."""
    values = draw(_sections(_TRAINABLE))
    if values["optimizer"]["clip_norm"] is None or values["optimizer"]["method"] == "adam":
        values["optimizer"]["learning_rate"] /= 50
        values["finetuning"]["learning_rate"] = None
    return values


# white space of every kind; a line ends at \n alone
_SPACES = [" ", "  ", "\t", "\n", "\n\n", "\r\n", "\r", "\x0b", "\x1c", "\x85", "\xa0", "\u2028", "\u3000", " \n \n"]
_words = st.lists(
    st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=8)
    | st.sampled_from(["the", "<unk>", "<eos>", "\ufeff", "naïve", "\u0000"]),
    min_size=1,
    max_size=30,
)


@st.composite
def texts(draw: st.DrawFn, fewest: int = 100, most: int = 900) -> dict[str, bytes]:
    """Three splits of unicode words between odd white space; valid and test may have words of their own."""
    # fewer than ten are no vocabulary to train on
    common = draw(_words) + draw(st.sampled_from([[], [f"word{number}" for number in range(10)]]))
    extra = draw(st.lists(st.just(["unseen", "zß水"]), max_size=1))
    spaces = draw(st.lists(st.sampled_from(_SPACES), min_size=1, max_size=4))
    chooser = random.Random(draw(st.integers(0, 2**32)))
    contents = {}
    for split in SPLITS:
        words = common + ([word for more in extra for word in more] if split != "train" else [])
        number = draw(st.integers(fewest, most))
        text = "".join(chooser.choice(words) + chooser.choice(spaces) for _ in range(number))
        contents[split] = text.encode()
    return contents
