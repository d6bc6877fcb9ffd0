"""A corpus as words: three splits, what they hash to, and their encoding by a vocabulary."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from awd.config import CorpusConfig
from awd.errors import CorpusError
from awd.messages import beyond_vocabulary

EOS, UNK = "<eos>", "<unk>"
SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Text:
    """The three splits of a corpus, as words.

    Attributes:
        name: of the data set, or the folder's.
        train: words with an ``<eos>`` at each end of line; likewise ``valid`` and ``test``.
        sha256: digest of the content of all three, independent of where it lies.
        warnings: what may not be as its owner meant it, a sentence each.
    """

    name: str
    train: list[str]
    valid: list[str]
    test: list[str]
    sha256: str
    warnings: tuple[str, ...] = ()


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
                raise ValueError(beyond_vocabulary(split, min(ids), max(ids), len(self.words)))

    @property
    def tokens(self) -> dict[str, int]:
        """How many each split has."""
        return {split: len(getattr(self, split)) for split in SPLITS}

    @property
    def unknown(self) -> dict[str, float]:
        """Which share of each split's tokens is ``<unk>``, 0 to 1."""
        unknown = self.words.index(UNK) if UNK in self.words else None
        return {split: getattr(self, split).count(unknown) / max(1, len(getattr(self, split))) for split in SPLITS}


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
    decoded = {split: _decode(contents[split], sources[split]) for split in SPLITS}
    splits = {split: split_lines(text) for split, text in decoded.items()}
    sha256 = digest({split: hashlib.sha256(contents[split]).hexdigest() for split in SPLITS})
    return Text(name, **splits, sha256=sha256, warnings=_doubts(name, decoded))


def _decode(content: bytes, source: str) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{source}: not UTF-8 text (byte {error.start}: {error.reason})") from None
    if not text.strip():
        raise CorpusError(f"{source}: this split is empty")
    return text.replace("\r\n", "\n")


def _doubts(name: str, decoded: Mapping[str, str]) -> tuple[str, ...]:
    """Line ends that are written otherwise than they are read."""
    own = {split: text.split().count(EOS) for split, text in decoded.items() if EOS in text}
    old = {split: text.count("\r") for split, text in decoded.items()}
    doubts = []
    if any(own.values()):
        doubts.append(
            f"{name}: {EOS} stands in the text itself ({_counted(own)}), and every line end is one already: both are "
            f"counted, so that perplexity comes out too low; take it out of the files"
        )
    if any(old.values()):
        doubts.append(
            f"{name}: carriage returns without a line feed, the line ends of old systems, are read as blanks "
            f"({_counted(old)}), so that no {EOS} stands there; make line feeds of them"
        )
    return tuple(doubts)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} in {split}" for split, count in counts.items() if count)


def read_file(path: Path) -> bytes:
    """A file's bytes, or a :class:`CorpusError` that names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from None


WHOLE = CorpusConfig()


def encode(text: Text, cut: CorpusConfig = WHOLE, *, words: Sequence[str] | None = None) -> Encoded:
    """Give every word an id.

    Without ``words`` the vocabulary is made from the training split alone, and ``<eos>``. A closed vocabulary (all
    words of ``valid`` and ``test`` occur in ``train``) is kept whole. Else unseen words become ``<unk>``; if ``train``
    has no ``<unk>`` of its own to learn it from, its words seen once become it. Words rarer than ``cut.minimum_count``
    become it in any case.

    Args:
        text: the words of three splits.
        cut: how much of ``train`` is used, and which of its words.
        words: the vocabulary of a trained network, by id; all other words become its ``<unk>``.

    Raises:
        CorpusError: ``train`` is shorter than ``cut.train_tokens``, or there are unseen words and no ``<unk>``.
        ValueError: ``words`` has a word twice.

    Example::

        saved = load_pretrained("results/weights/RUN")
        other = encode(load_corpus("my/folder"), words=saved.words)
        loss = evaluate(saved.model, batchify(torch.tensor(other.test), 1, "test"))
    """
    train = _used(text, cut.train_tokens)
    if words is None:
        train, words = _make_vocabulary(text, train, cut.minimum_count)
    ids = {word: index for index, word in enumerate(words)}
    if len(ids) < len(words):
        raise ValueError(f"words: given {len(words)}, of which {len(ids)} are different, expected each once")
    unseen = set() if UNK in ids else {*train, *text.valid, *text.test} - ids.keys()
    if unseen:
        raise CorpusError(
            f"{text.name}: there are words that the vocabulary lacks, such as {min(unseen)!r}, and it has no {UNK} to "
            f"stand for them (which is learned from {UNK} in train, or else from words seen once there)"
        )
    unknown = ids.get(UNK, -1)  # -1 is never taken: a vocabulary without <unk> is closed
    splits = (train, text.valid, text.test)
    return Encoded(list(words), *([ids.get(word, unknown) for word in split] for split in splits))


def _used(text: Text, train_tokens: int | None) -> list[str]:
    if train_tokens is not None and train_tokens > len(text.train):
        raise CorpusError(
            f"corpus.train_tokens: {train_tokens} is more than the {len(text.train)} tokens that the training "
            f"split of {text.name} has"
        )
    return text.train[:train_tokens]


def _make_vocabulary(text: Text, train: list[str], minimum_count: int) -> tuple[list[str], list[str]]:
    """The training split with its rare words as ``<unk>``, and its words in order of first use."""
    counts = Counter(train)
    # <eos> is no word of the text: a beginning without a line end lacks it
    is_open = not {*text.valid, *text.test} - {EOS} <= counts.keys()
    least = max(minimum_count, 2 if is_open and UNK not in counts else 1)
    train = [word if counts[word] >= least or word in (EOS, UNK) else UNK for word in train]
    return train, list(dict.fromkeys([*train, EOS]))
