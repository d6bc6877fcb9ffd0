"""Dealing runs out over the GPUs of one machine."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from awd.errors import DeviceError

_MOST_PLACES = 100
_held: tuple[FileLock, int] | None = None  # by this process, until it ends


def parse_gpus(text: str) -> tuple[int, ...]:
    """``0,1`` as numbers.

    Raises:
        DeviceError: anything else, a GPU twice, or one that is not there.
    """
    try:
        gpus = tuple(int(part) for part in text.split(","))
    except ValueError:
        gpus = ()
    if not gpus or min(gpus) < 0 or len(set(gpus)) < len(gpus):
        raise DeviceError(f"--gpus {text!r}: expected numbers of GPUs such as 0,1, each once")
    import torch

    count = torch.cuda.device_count()
    for gpu in gpus:
        if gpu >= count:
            there = f"has {count} GPUs, 0 to {count - 1}" if count else "finds no GPU"
            raise DeviceError(f"--gpus {text}: there is no GPU {gpu}: this PyTorch ({torch.__version__}) {there}")
    return gpus


def hold_gpu(gpus: Sequence[int], folder: Path | None = None) -> int:
    """Take a place on the least crowded GPU for as long as this process lives, and show it no other.

    Must come before the process first uses a GPU. The operating system frees the place, however the process ends.

    Args:
        gpus: their numbers.
        folder: where the places are kept, on this machine, the same for all that share the GPUs; by default a folder
            of this user's for temporary files.

    Returns:
        The GPU's number; the process sees it as ``cuda:0``.
    """
    global _held
    if _held is None:
        _held = _take_place(gpus, folder or _users_folder())
        os.environ["CUDA_VISIBLE_DEVICES"] = str(_held[1])
    return _held[1]


def _users_folder() -> Path:
    # by number: in a container a user may have no name
    return Path(tempfile.gettempdir()) / f"awd-ablations-gpus-{os.getuid() if hasattr(os, 'getuid') else 'user'}"


def _take_place(gpus: Sequence[int], folder: Path) -> tuple[FileLock, int]:
    folder.mkdir(parents=True, exist_ok=True)
    # place by place, not GPU by GPU: the second of a GPU is taken after the first of all
    for place, gpu in itertools.product(range(_MOST_PLACES), gpus):
        lock = FileLock(folder / f"gpu-{gpu}-{place}")
        with suppress(Timeout):
            lock.acquire(blocking=False)
            return lock, gpu
    raise DeviceError(f"{folder}: {_MOST_PLACES} processes share each of the GPUs {', '.join(map(str, gpus))} already")
