"""Which files of a folder are the three splits of a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from awd.corpus.text import SPLITS, Text, make_text, read_file
from awd.errors import CorpusError
from awd.paths import folder_name

# how the releases of the usual corpora name their files
PATTERNS = ("{split}.txt", "{split}.tokens", "ptb.{split}.txt", "wiki.{split}.tokens", "wiki.{split}.txt")
_SPELLINGS = {"train": ("train",), "valid": ("valid", "val", "dev", "validation"), "test": ("test",)}


def file_names(split: str, patterns: Sequence[str] = PATTERNS) -> list[str]:
    """All names under which a split is looked for."""
    return [pattern.format(split=spelling) for spelling in _SPELLINGS[split] for pattern in patterns]


def looked_for(split: str, patterns: Sequence[str] = PATTERNS) -> str:
    """The names of ``file_names`` in words, for a message."""
    usual, *others = _SPELLINGS[split]
    names = ", ".join(pattern.format(split=usual) for pattern in patterns)
    return f"{names}; or {', '.join(others)} in place of {usual}" if others else names


def find_splits(folder: Path, patterns: Sequence[str] = PATTERNS) -> dict[str, list[Path]]:
    """The files of a folder that may be each split; an empty list where there is none.

    Raises:
        CorpusError: the folder cannot be read.
    """
    try:
        present = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    except OSError as error:
        raise CorpusError(f"{folder}: this folder cannot be read ({error.strerror})") from None
    return {split: [folder / name for name in file_names(split, patterns) if name in present] for split in SPLITS}


def require_all(folder: Path, found: dict[str, list[Path]], patterns: Sequence[str] = PATTERNS) -> None:
    """Refuse a folder that lacks a split.

    Raises:
        CorpusError: names the folder, the split and the file names looked for.
    """
    missing = [
        f"no file for the {split} split (looked for {looked_for(split, patterns)})"
        for split in SPLITS
        if not found[split]
    ]
    if missing:
        raise CorpusError("\n".join(f"{folder}: {line}" for line in missing))


def load_folder(folder: Path) -> Text:
    """The user's own corpus: a folder with one file for each split. Its name is the folder's.

    Raises:
        CorpusError: a split is missing, found twice, empty, not UTF-8 or unreadable; the message names the file.
    """
    found = find_splits(folder)
    require_all(folder, found)
    for split, several in found.items():
        if len(several) > 1:
            raise CorpusError(
                f"{folder}: {_listed(path.name for path in several)} could each be the {split} split; "
                f"leave one of them in this folder"
            )
    paths = {split: found[split][0] for split in SPLITS}
    contents = {split: read_file(path) for split, path in paths.items()}
    return make_text(folder_name(folder), contents, {split: str(paths[split]) for split in SPLITS})


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}"
