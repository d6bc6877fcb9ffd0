"""Leases on runs: one small file per run in the results folder, so that several invocations share the work.

Only who holds the lease on a run may train it and store its result. A lease holds for as long as its owner lives. An
owner on this machine lives if its process does; one on another machine, if it touched its lease not long ago.

Leases are judged and changed only under the lock of their folder. It is an ``flock``, gone with its process. A file
system without it gets the lock file of :class:`filelock.SoftFileLock`, which is there for as long as it is held: one
that a killed process of another machine left is for the user to delete, as the message says. A file system that grants
an ``flock`` to each node apart (Lustre's ``localflock``, some of FUSE) lets two nodes take a run in the same instant:
both train, and the one whose lease was written over notices, at the latest when it would store.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import psutil
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ablations.storage.provenance import boot_and_namespace, host_name
from ablations.storage.store import StoreError, explained
from awd.files import remove_leftovers, write_text

BEAT_SECONDS = 10.0
"""How often an owner touches its lease, to say that it lives."""

SILENCE_SECONDS = 60.0
"""An owner on another machine that has not touched its lease for so long counts as dead."""

LOCK_SECONDS = 30.0
"""How long to wait for the folder's lock, which nobody holds for more than moments."""

_POLL_SECONDS = 0.02
_NO_FLOCK = {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_TICK = 0.01  # of the clock by which Linux dates processes, seconds


class LeaseLostError(Exception):
    """We hold the lease on a run no longer: this process was silent too long, or the file was deleted."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lease.

    Attributes:
        where: the host name, boot and process namespace, within which a process number is unique.
        host: its readable name.
        pid: the process; 0 where the lease cannot be read.
        started: when the process began, in seconds; since boot on Linux, where the time of day may be set.
        token: of this lease alone.
    """

    where: str
    host: str
    pid: Annotated[int, Field(ge=0)]
    started: Annotated[float, Field(allow_inf_nan=False)]
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}" if self.pid else "an unknown process"


_OWNER = TypeAdapter(Owner)
_UNKNOWN = Owner(where="", host="", pid=0, started=0.0, token="")


class Leases:
    """``results/claims``: one file per leased run, and the folder's lock.

    Args:
        results: the results folder; the folder of leases is made when first needed.
    """

    def __init__(self, results: Path) -> None:
        self.folder = results / "claims"  # older than the word lease; callers of any version share it

    def take(self, run_id: str) -> Lease | None:
        """Lease a run that is free, or whose owner is dead or was silent too long.

        An earlier owner may have stored its result: look for it again before training.

        Returns:
            The lease; ``None`` if a live owner has it, even if that is this process.

        Raises:
            StoreError: the folder cannot be written, or its lock cannot be taken; no file is half-written.
        """
        path, owner = self._path(run_id), _this_process()
        with _locked(self.folder), explained(f"{path}: the run cannot be leased", StoreError):
            if _live_holder(path, partial(_server_time, self.folder)) is not None:
                return None
            remove_leftovers(path)
            write_text(path, _OWNER.dump_json(owner).decode())
        return Lease(run_id, owner, path)

    def holder(self, run_id: str) -> Owner | None:
        """The live owner of a run; ``None`` if it is free, its owner dead, or the lease cannot be read.

        Takes no lock and leaves no file. Where the folder cannot be written, the silence of another machine is measured
        by this machine's clock, since the file server's cannot be asked.
        """
        return _seen_holder(self._path(run_id), partial(_best_time, self.folder))

    def live(self) -> dict[str, Owner]:
        """The live owners, by run id, sorted; found as :meth:`holder` finds one."""
        now = cache(partial(_best_time, self.folder))
        paths = sorted(self.folder.glob("[!.]*.json"))
        holders = {path.stem: _seen_holder(path, now) for path in paths}
        return {run_id: owner for run_id, owner in holders.items() if owner is not None}

    def _path(self, run_id: str) -> Path:
        return self.folder / f"{run_id}.json"


class Lease:
    """A run that is ours until the block ends; made by :meth:`Leases.take`.

    A thread touches the file every :data:`BEAT_SECONDS`. If that fails, say on a network, it tries again the next time.
    A lease whose file is missing is lost: another owner may have taken the run, trained it and gone.

    Attributes:
        run_id: which run.
        owner: this process, as others see it.
    """

    def __init__(self, run_id: str, owner: Owner, path: Path) -> None:
        self.run_id, self.owner, self._path = run_id, owner, path
        self._lost, self._ended = threading.Event(), threading.Event()
        threading.Thread(target=self._beat, name=f"lease on {run_id}", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    @property
    def lost(self) -> bool:
        """Whether another owner has the lease; known within one beat, and cheap enough to ask in every step."""
        return self._lost.is_set()

    def release(self) -> None:
        """Remove the lease if it is still ours. It may be called more than once.

        A lease that cannot be removed is no error, since the work is done: it ends with this process, and on other
        machines by its silence.
        """
        if self._ended.is_set():
            return
        self._ended.set()
        with suppress(StoreError, OSError):
            # first without the lock, whose folder may have been deleted on purpose and would be made anew
            if self._is_ours():
                with _locked(self._path.parent):
                    if self._is_ours():
                        self._path.unlink()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Hold the folder's lock while the lease is ours: nobody can take it over before the block has ended.

        Only for writing a result: all others wait meanwhile, and a lease that the same thread takes or releases inside
        the block would wait for ever.

        Raises:
            LeaseLostError: the lease is another's, or its file gone; :attr:`lost` is true from then on.
            StoreError: the lock cannot be taken, or the lease cannot be read.
        """
        with _locked(self._path.parent):
            with explained(f"{self._path}: the run cannot be leased", StoreError):
                self._require_ours()
            yield

    def _require_ours(self) -> None:
        owner = _read(self._path)
        if owner is not None and owner.token == self.owner.token:
            return
        self._lost.set()
        if owner is None:
            raise LeaseLostError(f"run {self.run_id}: its lease, {self._path}, is gone")
        raise LeaseLostError(
            f"run {self.run_id}: its lease was taken over by {owner}, after this process had been silent too long"
        )

    def _is_ours(self) -> bool:
        owner = _read(self._path)
        return owner is not None and owner.token == self.owner.token

    def _beat(self) -> None:
        # without the lock: should the lease change hands after the look, the touch makes the new one at most a beat
        # younger than it is
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError):
                if self._is_ours():
                    os.utime(self._path)
                elif not self._ended.is_set():
                    self._lost.set()
                    return


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock_path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _acquire(lock_path)
    except Timeout as error:
        raise StoreError(
            f"{error.lock_file}: another process has held this lock for {LOCK_SECONDS:g} s; if none is at work there, "
            f"delete the file"
        ) from None
    except OSError as error:
        raise StoreError(f"{folder}: runs cannot be leased there ({error.strerror or error})") from None
    try:
        yield
    finally:
        lock.release()


def _acquire(path: Path) -> BaseFileLock:
    try:
        return _acquired(FileLock(path))
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in _NO_FLOCK:
            raise
    # under another name, since the attempt has left the file, which here would mean that the lock is held
    return _acquired(SoftFileLock(path.with_name("soft-lock")))


def _acquired(lock: BaseFileLock) -> BaseFileLock:
    lock.acquire(timeout=LOCK_SECONDS, poll_interval=_POLL_SECONDS)
    return lock


def _seen_holder(path: Path, now: Callable[[], float]) -> Owner | None:
    try:
        return _live_holder(path, now)
    except OSError:
        return None


def _live_holder(path: Path, now: Callable[[], float]) -> Owner | None:
    """The owner of a lease, if it lives.

    Args:
        path: the lease.
        now: the time by the clock that dates the files.

    Raises:
        OSError: the lease is there and cannot be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return None
    with file:
        # of the open file: opening makes an NFS client ask the server, a stat may be a minute old
        touched = os.fstat(file.fileno()).st_mtime
        owner = _parse(file.read())
    lives = _is_running(owner) if owner.where == _where() else None
    if lives is None:
        lives = now() - touched < SILENCE_SECONDS
    return owner if lives else None


def _read(path: Path) -> Owner | None:
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return None


def _parse(content: bytes) -> Owner:
    try:
        return _OWNER.validate_json(content, strict=True)
    except ValidationError:
        return _UNKNOWN


def _is_running(owner: Owner) -> bool | None:
    """Whether a process of this machine lives, even if stopped; ``None`` if this user may not ask."""
    try:
        # first, since a number that was given again is as good as none
        if abs(_started(owner.pid) - owner.started) > _TICK / 2:
            return False
        return psutil.Process(owner.pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return None


def _started(pid: int) -> float:
    started = psutil.Process(pid).create_time()
    # Linux dates a process from boot; psutil adds the boot's time of day, which moves when the clock is set
    return started - psutil.boot_time() if psutil.LINUX else started


def _this_process() -> Owner:
    pid = os.getpid()
    return Owner(_where(), host_name(), pid, _started(pid), uuid.uuid4().hex)


@cache
def _where() -> str:
    host = host_name()
    if not psutil.LINUX:  # no namespaces, and creation times that say which boot
        return f"{host}/{uuid.getnode():012x}"
    # a process that cannot say where it runs is foreign to all others: they go by its beats
    return "/".join([host, *(boot_and_namespace() or [uuid.uuid4().hex])])


def _server_time(folder: Path) -> float:
    """The time by the clock that dates the files, which may be another machine's."""
    with tempfile.TemporaryFile(prefix=".clock.", dir=folder) as file:
        return os.fstat(file.fileno()).st_mtime


def _best_time(folder: Path) -> float:
    try:
        return _server_time(folder)
    except OSError:
        return time.time()
