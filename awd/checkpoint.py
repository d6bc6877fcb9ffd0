"""Saving a run as it goes, and going on with it exactly where it was.

A checkpoint is one safetensors file, sealed with a digest of itself (:mod:`awd.files`) and written whole; loading one
executes nothing. The one before it is kept until a newer one is on disk, and is what a damaged one falls back to.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from awd.config import Config, config_to_dict, merged
from awd.errors import InputError
from awd.files import PLACEHOLDER, DamagedFileError, read_sealed, write_sealed
from awd.trainer import Trainer

_FORMAT = 1  # raised when what is saved changes
_KEPT = 2
_DIGITS = 9
LEAST_SECONDS = 10.0  # between two checkpoints whose interval is left open
SHARE = 0.01  # of the time that they may take then


class CheckpointError(InputError):
    """A checkpoint is of another run, or was made by another version."""


class PausedError(Exception):
    """The run was asked to stop and has; its checkpoint is on disk, unless a warning said why it could not be written.

    Args:
        reason: as the one who asked gave it.
    """


@dataclass(frozen=True)
class Interval:
    """How often a run is saved: after so many epochs, or so many seconds (in the middle of an epoch, too).

    With neither, as often as keeps the time it takes under 1%, as measured, and at most every ten seconds.
    """

    epochs: int | None = None
    seconds: float | None = None


class Checkpoints:
    """The checkpoints of one run, in a folder of its own.

    Args:
        folder: made when the first is written.
        interval: how often.
        stop: asked after every step; a text is the reason to save the run and stop.
        warn: told of damage and of a disk that is full; neither ends the run.

    Attributes:
        resumes: how often the run has been continued, from its start on; sittings that saved nothing do not count.
        seconds: that earlier sittings took, up to the checkpoint that was continued from.

    Example::

        trainer = Trainer(config, corpus, seed=1)
        Checkpoints(Path("run-1")).follow(trainer)  # goes on from the latest checkpoint, if there is one
        result = trainer.run()
    """

    def __init__(
        self,
        folder: Path,
        interval: Interval | None = None,
        *,
        stop: Callable[[], str | None] = lambda: None,
        warn: Callable[[str], None] = lambda message: warnings.warn(message, stacklevel=2),
    ) -> None:
        self.folder, self.interval = folder, interval or Interval()
        self._stop, self._warn = stop, warn
        self.resumes, self.seconds = 0, 0.0
        self._number = 0
        self._began = self._saved_at = time.monotonic()
        self._saved_epochs = 0
        self._saved: tuple[object, ...] = ()
        self._cost, self._failure = 0.0, ""
        self._identity: dict[str, Any] | None = None

    def follow(self, trainer: Trainer) -> bool:
        """Bring a trainer that has not begun to the latest checkpoint, and save it from there on.

        Returns:
            Whether there was one.

        Raises:
            CheckpointError: it is of another configuration, corpus, seed, engine or version.
        """
        found = self._latest(trainer)
        if found is not None:
            trainer.load_state_dict(found)
            self.resumes = found["resumes"] + 1
            self.seconds = found["elapsed"]
            self._saved = _where(trainer)
        self._saved_epochs = len(trainer.epochs)
        trainer.may_stop = lambda: self._after_step(trainer)
        return found is not None

    def save(self, trainer: Trainer) -> bool:
        """Write a checkpoint now; returns whether it could be written. A reason why not is told once in a row."""
        began = time.monotonic()
        self._saved_at, self._saved_epochs = began, len(trainer.epochs)
        elapsed = self.seconds + began - self._began
        about = {"resumes": self.resumes, "elapsed": elapsed, "identity": self._of(trainer)}
        failure = self._write(pack({**trainer.state_dict(), **about}))
        if failure and failure != self._failure:
            self._warn(f"{self.folder}: no checkpoint could be written ({failure}); the run is not saved meanwhile")
        self._failure = failure
        if not failure:
            self._saved = _where(trainer)
        self._cost = time.monotonic() - began
        return not failure

    def remove(self) -> None:
        """Delete them all, with their folder: the run has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, content: bytes) -> str:
        """Write the next file and remove those it replaces; returns why it could not be written."""
        try:
            write_sealed(self._path(self._number + 1), content)
        except OSError as error:
            return error.strerror or str(error)
        self._number += 1
        # by number: damaged ones, passed over when the run began, may have higher ones
        kept = [self._path(self._number - back) for back in range(_KEPT)]
        _remove(path for path in self._paths() if path not in kept)
        return ""

    def _after_step(self, trainer: Trainer) -> None:
        reason = self._stop()
        if self._due(trainer) or (reason and self._saved != _where(trainer)):
            self.save(trainer)
        if reason:
            raise PausedError(reason)

    def _due(self, trainer: Trainer) -> bool:
        every, since = self.interval, time.monotonic() - self._saved_at
        if every.epochs is not None:
            return trainer.position.start == 0 and len(trainer.epochs) >= self._saved_epochs + every.epochs
        if every.seconds is not None:
            return since >= every.seconds
        return since >= max(LEAST_SECONDS, self._cost / SHARE)

    def _of(self, trainer: Trainer) -> dict[str, Any]:
        if self._identity is None:
            self._identity = identity(trainer)
        return self._identity

    def _path(self, number: int) -> Path:
        return self.folder / f"checkpoint-{number:0{_DIGITS}}.safetensors"

    def _paths(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.folder.glob(f"checkpoint-{'[0-9]' * _DIGITS}.safetensors"))

    def _latest(self, trainer: Trainer) -> dict[str, Any] | None:
        _remove(self.folder.glob(".checkpoint-*.tmp"))
        paths = self._paths()
        for path in reversed(paths):
            try:
                found = read_checkpoint(path)
            except DamagedFileError as error:
                others = "the one before it is used" if path != paths[0] else "the run starts anew"
                self._warn(f"{error}; {others}")
                continue
            except OSError as error:
                raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from None
            self._number = int(path.stem.rpartition("-")[2])
            self._require_same(path, found["identity"], trainer)
            return found
        return None

    def _require_same(self, path: Path, theirs: dict[str, Any], trainer: Trainer) -> None:
        # a field that is younger than the checkpoint had no other meaning then than its default has now
        config = merged(config_to_dict(Config()), theirs.get("config", {}))
        difference = _difference({**theirs, "config": config}, self._of(trainer))
        if difference is not None:
            raise CheckpointError(
                f"{path}: of another {difference}, and would not go on to the same numbers; delete {self.folder} to "
                f"train this run from its start"
            )


def _difference(theirs: Any, mine: Any, key: str = "") -> str | None:
    """The first value that is not the same, named by its key."""
    if isinstance(theirs, dict) and isinstance(mine, dict):
        names = {**theirs, **mine}
        nested = (_difference(theirs.get(name), mine.get(name), f"{key}.{name}" if key else name) for name in names)
        return next((difference for difference in nested if difference is not None), None)
    if theirs == mine:
        return None
    return key if key == "corpus" else f"{key} {theirs}, not {mine}"


def _remove(paths: Iterable[Path]) -> None:
    # one that stays does no harm, and is no reason to end a run
    for path in paths:
        with suppress(OSError):
            path.unlink()


def _where(trainer: Trainer) -> tuple[object, ...]:
    here = trainer.position
    return here.phase, here.epoch, here.start


def identity(trainer: Trainer) -> dict[str, Any]:
    """What must be the same for a run to go on to the same numbers; plain values."""
    text = hashlib.sha256("\n".join(trainer.words).encode())
    for split in (trainer.train_data, trainer.valid_data, trainer.test_data):
        text.update(f"{tuple(split.shape)}".encode())  # else rows could move from one to the next
        text.update(split.cpu().numpy().tobytes())
    return {
        "format": _FORMAT,
        "PyTorch": torch.__version__,
        "device": trainer.device.type,
        "engine": trainer.engine.name,
        "precision": trainer.engine.precision,
        "seed": trainer.seed,
        "corpus": text.hexdigest(),
        "config": config_to_dict(trainer.config),
    }


def named_tensors(state: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a nested state, by its path: ``model/decoder.bias``."""
    for name, value in state.items():
        if isinstance(value, Tensor):
            yield above + name, value
        elif isinstance(value, dict):
            yield from named_tensors(value, f"{above}{name}/")


def pack(state: Mapping[str, Any]) -> bytes:
    """A state as the bytes of a safetensors file, to be sealed: tensors by their paths, plain values as JSON."""
    tensors = {path: tensor.detach().contiguous().cpu() for path, tensor in named_tensors(state)}
    parts = {path.partition("/")[0] for path in tensors}
    values = {name: value for name, value in state.items() if name not in parts}
    return safetensors.torch.save(tensors, {"run": json.dumps(values), "seal": PLACEHOLDER})


def unpack(content: bytes) -> dict[str, Any]:
    """The state that was packed."""
    size = int.from_bytes(content[:8], "little")
    state = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["run"])
    for name, tensor in safetensors.torch.load(content).items():
        *parts, last = name.split("/")
        place = state
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = tensor
    return state


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read and verify a checkpoint; the state, and what was saved with it.

    Raises:
        DamagedFileError: it is not, bit for bit, what was written.
        OSError: it cannot be read.
    """
    content = read_sealed(path)
    try:
        state = unpack(content)
        state["identity"]["format"]  # whatever else changes, this stays where it is
    except (AttributeError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise DamagedFileError(f"{path}: not a checkpoint ({error})") from None
    return state
