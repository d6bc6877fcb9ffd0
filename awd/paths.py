"""The paths that users give: read in one place, and refused there with one message."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR

from awd.errors import InputError

_LONGEST_NAME = 255  # bytes, where a file system does not say
_SHORT_NAME = 120  # bytes; leaves room for what is put around it


def user_path(given: str | Path, origin: str, *, folder: bool) -> Path:
    """The path that a user means; a ``~`` at its start is the home folder. It need not exist.

    Args:
        given: as the user wrote it.
        origin: the option, variable or kind of thing it was given for; messages begin with it.
        folder: whether it must be a folder, if it exists; else it must not be one.

    Raises:
        InputError: it is empty; there is no home folder; it leads through a file, a broken link or a circle of links;
            a name in it is longer than the file system allows; or a folder is wanted and it is a file, or the reverse.
    """
    said = f"{origin} {str(given)!r}"
    if not str(given).strip():
        raise InputError(f"{said}: this names no path")
    try:
        path = Path(given).expanduser()
        is_folder = S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        _require_possible(path, said)
        return path
    except RuntimeError:  # of expanduser
        raise InputError(f"{said}: this user has no home folder that ~ could stand for") from None
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise InputError(f"{said}: {getattr(error, 'strerror', None) or error}") from None
    if is_folder != folder:
        kinds = ("a folder", "a file")
        raise InputError(f"{said}: this is {kinds[folder]}, where {kinds[not folder]} is expected")
    return path


def _require_possible(path: Path, said: str) -> None:
    """Refuse a path that does not exist and cannot be made."""
    for part in (path, *path.parents):
        if part.is_symlink():
            raise InputError(f"{said}: {part} is a link to {part.readlink()}, which does not exist")
        if part.exists():
            break
        if len(os.fsencode(part.name)) > _longest_name(path):
            raise InputError(f"{said}: the name {part.name[:20]}... is longer than the file system allows")


def _longest_name(path: Path) -> int:
    existing = next((parent for parent in path.parents if parent.exists()), Path())
    with suppress(OSError, ValueError, AttributeError):  # AttributeError: Windows has no pathconf
        return os.pathconf(existing, "PC_NAME_MAX")
    return _LONGEST_NAME


def folder_name(folder: Path) -> str:
    """What a folder is called, be it given as ``.``; a byte that is no character is a question mark."""
    return (folder.resolve().name or "root").encode(errors="replace").decode()


def short_name(name: str) -> str:
    """A name that file systems allow: the same, or if it is long its beginning and a digest."""
    content = name.encode(errors="replace")
    if len(content) <= _SHORT_NAME:
        return name
    return f"{content[:_SHORT_NAME].decode(errors='ignore')}-{sha256(content).hexdigest()[:8]}"


def file_name(name: str) -> str:
    """A name as it may stand in a path: the user's own, and may hold anything."""
    return short_name(re.sub(r"[^\w.-]+", "-", name).strip(".-") or "table")
