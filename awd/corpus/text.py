"""A corpus as words: three splits, what they hash to, and their encoding by a vocabulary."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from awd.config import CorpusConfig
from awd.errors import CorpusError

EOS, UNK = "<eos>", "<unk>"
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Text:
    """The three splits of a corpus, as words.

    Attributes:
        name: of the data set, or the folder's.
        train: words with an ``<eos>`` at each end of line; likewise ``valid`` and ``test``.
        sha256: digest of the content of all three, independent of where it lies.
    """

    name: str
    train: list[str]
    valid: list[str]
    test: list[str]
    sha256: str


@dataclass(frozen=True)
class Encoded:
    """The three splits as token ids, and the words they stand for.

    Raises:
        ValueError: an id is no word's place; names the split, the ids and the number of words.
    """

    words: list[str]
    train: list[int]
    valid: list[int]
    test: list[int]

    def __post_init__(self) -> None:
        for split in SPLITS:
            ids = getattr(self, split)
            if ids and not 0 <= min(ids) <= max(ids) < len(self.words):
                raise ValueError(
                    f"{split}: given ids from {min(ids)} to {max(ids)}, expected 0 to {len(self.words) - 1}: the "
                    f"vocabulary has {len(self.words)} words"
                )


def split_lines(text: str) -> list[str]:
    """Words of a text, split at white space, with ``<eos>`` at the end of every line, empty ones included."""
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [word for line in lines for word in (*line.split(), EOS)]


def digest(split_digests: dict[str, str]) -> str:
    """One sha256 for a corpus, from the sha256 of each split's bytes."""
    joined = "".join(f"{split} {split_digests[split]}\n" for split in SPLITS)
    return hashlib.sha256(joined.encode()).hexdigest()


def make_text(name: str, contents: dict[str, bytes], sources: dict[str, str]) -> Text:
    """Decode and split the three files of a corpus.

    Args:
        contents: bytes of each split.
        sources: where each came from, for error messages.

    Raises:
        CorpusError: a split is empty or not UTF-8; the message names its file.
    """
    splits = {split: _words(contents[split], sources[split]) for split in SPLITS}
    sha256 = digest({split: hashlib.sha256(contents[split]).hexdigest() for split in SPLITS})
    return Text(name, **splits, sha256=sha256)


def _words(content: bytes, source: str) -> list[str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{source}: not UTF-8 text (byte {error.start}: {error.reason})") from None
    if not text.strip():
        raise CorpusError(f"{source}: this split is empty")
    return split_lines(text.replace("\r\n", "\n"))


def read_file(path: Path) -> bytes:
    """A file's bytes, or a :class:`CorpusError` that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from None


_WHOLE = CorpusConfig()


def encode(text: Text, cut: CorpusConfig = _WHOLE) -> Encoded:
    """Give every word an id, from the training split alone.

    A closed vocabulary (all words of ``valid`` and ``test`` occur in ``train``) is kept whole. Else unseen words
    become ``<unk>``; if ``train`` has no ``<unk>`` of its own to learn it from, its words seen once become it. Words
    rarer than ``cut.minimum_count`` become it in any case.

    Args:
        cut: how much of ``train`` is used, and which of its words.

    Raises:
        CorpusError: ``train`` is shorter than ``cut.train_tokens``.
    """
    train_tokens = cut.train_tokens
    if train_tokens is not None and train_tokens > len(text.train):
        raise CorpusError(
            f"corpus.train_tokens: {train_tokens} is more than the {len(text.train)} tokens that the training "
            f"split of {text.name} has"
        )
    train = text.train[:train_tokens]
    counts = Counter(train)
    is_open = not (set(text.valid) | set(text.test)) <= counts.keys()
    least = max(cut.minimum_count, 2 if is_open and UNK not in counts else 1)
    train = [word if counts[word] >= least or word in (EOS, UNK) else UNK for word in train]
    words = list(dict.fromkeys(train))  # in order of first use
    ids = {word: index for index, word in enumerate(words)}
    if is_open and UNK not in ids:
        raise CorpusError(
            f"{text.name}: valid or test has words that train lacks, and train has neither {UNK} nor words seen "
            f"once to learn them from"
        )
    unknown = ids.get(UNK, -1)  # -1 is never taken: a vocabulary without <unk> is closed
    return Encoded(words, *([ids.get(word, unknown) for word in split] for split in (train, text.valid, text.test)))
