"""Corpora fetched from where they are published, checked, and kept in a cache of the user's."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import awd
from awd.corpus.text import SPLITS
from awd.errors import CorpusError
from awd.files import whole_file
from awd.paths import user_path

if TYPE_CHECKING:
    import requests
    from pooch.typing import Processor

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
    with tempfile.TemporaryDirectory(prefix="awd-") as name:
        folder = Path(name)
        if mirror.member:
            found = _members(mirror, folder)
        else:
            urls = {split: mirror.url.format(split=split) for split in SPLITS}
            found = {split: _retrieve(url, folder / split, sha256[split]) for split, url in urls.items()}
        contents = {split: path.read_bytes() for split, path in found.items()}
    wrong = _mismatch(contents, sha256)
    if wrong:
        raise _MirrorError(_wrong(wrong))
    return contents


def _members(mirror: Mirror, folder: Path) -> dict[str, Path]:
    import pooch

    members = {split: mirror.member.format(split=split) for split in SPLITS}
    unpacked = pooch.Unzip([*members.values()], extract_dir="unpacked")
    _retrieve(mirror.url, folder / "archive", None, unpacked)
    found = {split: folder / "unpacked" / member for split, member in members.items()}
    if not all(path.is_file() for path in found.values()):
        raise _MirrorError(f"the archive has no {mirror.member}")
    return found


def _retrieve(url: str, path: Path, sha256: str | None, processor: Processor | None = None) -> Path:
    """Download a file; ``sha256`` is of its content, if that is known."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # what it does is told by us
    client = pooch.HTTPDownloader(
        progressbar=bool(sys.stderr and sys.stderr.isatty()),
        chunk_size=_CHUNK_BYTES,
        headers={"User-Agent": _USER_AGENT},
        timeout=(_CONNECT_SECONDS, _READ_SECONDS),
    )
    try:
        pooch.retrieve(url, sha256, path.name, path.parent, processor=processor, downloader=client)
    except requests.RequestException as error:
        raise _MirrorError(_reason(error)) from None
    # RuntimeError and NotImplementedError: encrypted, or packed in a way that zipfile does not know
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        raise _MirrorError("what it sent is not a whole zip archive") from None
    except ValueError:
        raise _MirrorError(_wrong(path.name)) from None
    except OSError as error:
        raise _MirrorError(f"the request failed ({type(error).__name__})") from None
    return path


def _reason(error: requests.RequestException) -> str:
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    reasons = {
        exceptions.SSLError: "the secure connection could not be made (TLS certificate or proxy)",
        exceptions.Timeout: "no answer in time",
        exceptions.ChunkedEncodingError: "the transfer broke off before its end",
        exceptions.ConnectionError: "no connection",
    }
    # else a broken redirect, an unusable proxy setting
    failed = f"the request failed ({type(error).__name__})"
    return next((reason for kind, reason in reasons.items() if isinstance(error, kind)), failed)


def _wrong(split: str) -> str:
    return f"not the expected content (wrong checksum of the {split} split)"


def _mismatch(contents: Mapping[str, bytes], sha256: Mapping[str, str]) -> str | None:
    wrong = (split for split in SPLITS if hashlib.sha256(contents[split]).hexdigest() != sha256[split])
    return next(wrong, None)


def _write_whole(path: Path, content: bytes) -> None:
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise CorpusError(
            f"{path}: the download cannot be kept here ({error.strerror}); name another folder with {CACHE_VARIABLE}"
        ) from None
