"""Corpora fetched from where they are published, checked, and kept in a cache of the user's."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import uuid
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import awd
from awd.corpus.text import SPLITS
from awd.errors import CorpusError
from awd.paths import user_path

if TYPE_CHECKING:
    from requests import Response

CACHE_VARIABLE = "AWD_CACHE_DIR"
# one of the hosts refuses the names that Python's HTTP clients give by default
_USER_AGENT = f"awd-ablations/{awd.__version__}"
_CONNECT_SECONDS, _READ_SECONDS = 10, 30
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class Mirror:
    """One place that serves a corpus.

    Attributes:
        url: of an archive; or, with ``{split}`` in it, of three raw files.
        member: name of a split's file in the zip archive, with ``{split}`` in it; empty for raw files.
    """

    url: str
    member: str = ""


class _MirrorError(Exception):
    """Why a mirror did not serve the corpus, in a few words."""


def cache_folder(cache_dir: Path | None = None) -> Path:
    """Where downloads are kept: the argument, else ``AWD_CACHE_DIR``, else the system's place for a user's caches."""
    if cache_dir is not None:
        return cache_dir
    if os.environ.get(CACHE_VARIABLE):
        return user_path(os.environ[CACHE_VARIABLE], CACHE_VARIABLE, folder=True)
    import pooch

    try:
        return Path(pooch.os_cache("awd-ablations"))
    except RuntimeError:
        raise CorpusError(
            f"this user has no home folder to keep downloads in: name one with {CACHE_VARIABLE}"
        ) from None


def cached_path(folder: Path, split: str) -> Path:
    """The file that holds a downloaded split, whatever its name was at the mirror."""
    return folder / f"{split}.txt"


def read_cached(folder: Path, sha256: Mapping[str, str]) -> dict[str, bytes] | None:
    """The splits kept from an earlier download; ``None`` if one is missing or is no longer what it was."""
    contents = {}
    for split in SPLITS:
        try:
            contents[split] = cached_path(folder, split).read_bytes()
        except OSError:
            return None
    return None if _mismatch(contents, sha256) else contents


def download_splits(
    name: str,
    mirrors: Sequence[Mirror],
    sha256: Mapping[str, str],
    folder: Path,
    on_message: Callable[[str], None],
) -> dict[str, bytes]:
    """Fetch a corpus from the first mirror that serves it whole, and keep it.

    Nothing is written before all three splits were received and their checksums are right.

    Args:
        name: of the data set, for messages.
        sha256: of each split's bytes.
        folder: where ``read_cached`` will find it.
        on_message: told of a mirror that failed when the next is tried.

    Returns:
        The bytes of each split.

    Raises:
        CorpusError: no mirror served it, with each one's reason; or the folder cannot be written.
    """
    reasons: list[str] = []
    for mirror in mirrors:
        if reasons:
            on_message(f"{name}: {reasons[-1]}; trying the next mirror")
        try:
            contents = _fetch(mirror, sha256)
        except _MirrorError as error:
            reasons.append(f"{mirror.url}: {error}")
            continue
        for split in SPLITS:
            _write_whole(cached_path(folder, split), contents[split])
        return contents
    raise CorpusError(
        f"{name}: the download failed; this machine is offline, or the mirrors are blocked or have changed\n"
        + "".join(f"  {reason}\n" for reason in reasons)
        + f"Put train.txt, valid.txt and test.txt of {name} into a folder {name} from elsewhere, and name the folder "
        f"that holds it with --data-dir (or the environment variable AWD_DATA_DIR)"
    )


def _fetch(mirror: Mirror, sha256: Mapping[str, str]) -> dict[str, bytes]:
    if mirror.member:
        contents = _unpack(_get(mirror.url), mirror.member)
    else:
        contents = {split: _get(mirror.url.format(split=split)) for split in SPLITS}
    wrong = _mismatch(contents, sha256)
    if wrong:
        raise _MirrorError(f"not the expected content (wrong checksum of the {wrong} split)")
    return contents


def _get(url: str) -> bytes:
    import pooch
    import requests

    body = io.BytesIO()
    fetch = pooch.HTTPDownloader(
        progressbar=bool(sys.stderr and sys.stderr.isatty()),
        chunk_size=_CHUNK_BYTES,
        headers={"User-Agent": _USER_AGENT},
        timeout=(_CONNECT_SECONDS, _READ_SECONDS),
    )
    try:
        fetch(url, body, None)
    except requests.HTTPError as error:
        raise _MirrorError(_status(error.response)) from None
    except requests.exceptions.SSLError:
        raise _MirrorError("the secure connection could not be made (TLS certificate or proxy)") from None
    except requests.Timeout:
        raise _MirrorError("no answer in time") from None
    except requests.exceptions.ChunkedEncodingError:
        raise _MirrorError("the transfer broke off before its end") from None
    except requests.ConnectionError:
        raise _MirrorError("no connection") from None
    except (OSError, ValueError) as error:  # a broken redirect, an unusable proxy setting
        raise _MirrorError(f"the request failed ({type(error).__name__})") from None
    return body.getvalue()


def _status(response: Response | None) -> str:
    return f"HTTP {response.status_code} {response.reason}" if response is not None else "HTTP error"


def _unpack(archive: bytes, member: str) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            return {split: opened.read(member.format(split=split)) for split in SPLITS}
    except KeyError:
        raise _MirrorError(f"the archive has no {member}") from None
    # RuntimeError and NotImplementedError: encrypted, or packed in a way that zipfile does not know
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError):
        raise _MirrorError("what it sent is not a whole zip archive") from None


def _mismatch(contents: Mapping[str, bytes], sha256: Mapping[str, str]) -> str | None:
    wrong = (split for split in SPLITS if hashlib.sha256(contents[split]).hexdigest() != sha256[split])
    return next(wrong, None)


def _write_whole(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex}")  # unique: several processes may download at once
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)  # there only if something went wrong, or Ctrl-C was pressed
    except OSError as error:
        raise CorpusError(
            f"{path}: the download cannot be kept here ({error.strerror}); name another folder with {CACHE_VARIABLE}"
        ) from None
