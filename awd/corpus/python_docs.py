"""The embedded corpus: the language reference that every CPython carries in ``pydoc_data.topics``."""

from __future__ import annotations

import re

from awd.corpus.text import SPLITS, Text, make_text
from awd.errors import CorpusError

NAME = "python-docs"
# words (identifiers included), numbers with their points, and single marks of punctuation
_TOKEN = re.compile(r"[^\W\d]\w*|\d+(?:\.\d+)*|[^\w\s]")
_TRAIN_SHARE, _VALID_SHARE = 8, 1  # of ten


def load_python_docs() -> Text:
    """Tokenise the topics, lower-cased, and cut each 80/10/10 by its non-empty lines, in order.

    The text changes with Python's version, and so does ``sha256``.

    Raises:
        CorpusError: this Python was packaged without ``pydoc_data.topics``.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise CorpusError(
            f"{NAME}: this Python carries no pydoc_data.topics (some distributions split it off); use another "
            f"interpreter, or another corpus with --dataset"
        ) from None
    parts: dict[str, list[str]] = {split: [] for split in SPLITS}
    for topic in sorted(topics):
        for split, lines in zip(SPLITS, _cut(_lines(topics[topic])), strict=True):
            parts[split] += lines
    contents = {split: "".join(f"{line}\n" for line in lines).encode() for split, lines in parts.items()}
    return make_text(NAME, contents, {split: f"pydoc_data.topics ({split})" for split in SPLITS})


def _lines(topic: str) -> list[str]:
    tokenised = (" ".join(_TOKEN.findall(line.lower())) for line in topic.splitlines())
    return [line for line in tokenised if line]


def _cut(lines: list[str]) -> tuple[list[str], list[str], list[str]]:
    first = len(lines) * _TRAIN_SHARE // 10
    second = len(lines) * (_TRAIN_SHARE + _VALID_SHARE) // 10
    return lines[:first], lines[first:second], lines[second:]
