"""Files written whole or not at all, and sealed: a digest inside the file shows any later change of it."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from awd.errors import InputError

_MARK = b"sha256 of this file:"
_UNSEALED = b"0" * 64

PLACEHOLDER = (_MARK + _UNSEALED).decode()
"""Text that a file must hold where its format takes text, after any text of others: there it is sealed."""

_DIGITS = 12  # of the name of a temporary, hexadecimal


class DamagedFileError(InputError):
    """A file is not what was written: cut short, changed, or never sealed."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; renamed to ``path`` when the block ends well, else removed.

    The name starts with a dot, so that readers of the folder pass it over; the content is on disk before the rename,
    and the rename is when the block has ended.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # not a process's number: another node may have the same
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:_DIGITS]}.tmp")
    try:
        yield temporary
        with temporary.open("r+b") as file:  # Windows syncs writable files only
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # the file is in its place by now: a folder that may not be read, or a file system that syncs none, is no failure
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)  # Windows opens no folders
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(path: Path) -> None:
    """Remove temporaries of ``path`` that a killed process left; only for who alone may write it."""
    for temporary in path.parent.glob(f".{escape(path.name)}.{'[0-9a-f]' * _DIGITS}.tmp"):
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole, in UTF-8."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_sealed(path: Path, content: bytes) -> None:
    """Write a file whole, with the digest of all its bytes in the place of the last :data:`PLACEHOLDER`.

    The format's own readers still read it; :func:`read_sealed` notices if a single bit has changed since.

    Raises:
        OSError: the disk is full, or the folder not writable; what was there before is untouched.
        ValueError: the content has no placeholder, or text after it that :func:`read_sealed` would take for the seal.
    """
    start = content.rfind(PLACEHOLDER.encode())
    if start < 0 or start != content.rfind(_MARK):
        raise ValueError(f"{path}: the content has no placeholder for its seal, or a beginning of one after it")
    start += len(_MARK)
    view = memoryview(content)
    with whole_file(path) as temporary, temporary.open("wb") as file:
        file.write(view[:start])
        file.write(_digest(view, start))
        file.write(view[start + len(_UNSEALED) :])


def read_sealed(path: Path) -> bytes:
    """The bytes of a sealed file, seal included.

    Raises:
        DamagedFileError: they are not the bytes that were sealed; the message names the file.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    mark = content.rfind(_MARK)
    if mark < 0:
        raise DamagedFileError(f"{path}: damaged, or never sealed: no digest in its {len(content)} bytes")
    start = mark + len(_MARK)
    if content[start : start + len(_UNSEALED)] != _digest(memoryview(content), start):
        raise DamagedFileError(f"{path}: damaged: its {len(content)} bytes do not match the digest written with them")
    return content


def _digest(content: memoryview, start: int) -> bytes:
    """Hexadecimal sha256 of a content whose seal, at ``start``, is taken as unwritten."""
    sha256 = hashlib.sha256(content[:start])
    sha256.update(_UNSEALED)
    sha256.update(content[start + len(_UNSEALED) :])
    return sha256.hexdigest().encode()
