"""Where to compute: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""

from __future__ import annotations

import ctypes
import os
import re

from awd.errors import DeviceError

# malloc.h: from which size a block is one of its own, and how much may lie free at the end of the heap, in bytes
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3


def use_exact_float32() -> None:
    """Make float32 on a GPU mean float32, and the same sums in the same order every time.

    By default cuDNN's LSTM multiplies in TF32, which has 10 bits of mantissa, and some of its sums depend on timing.
    Call it before the first use of the GPU.
    """
    import torch

    # read when CUDA starts
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def keep_freed_memory() -> bool:
    """Let this process keep what a training step frees for the next one; about 8% of a paper-size step on a CPU.

    By default the GNU C library hands large blocks back to the system, which clears them page by page when the next
    step asks for them again. Affects the whole process, and is left to programs: nothing in ``awd`` calls it.

    Returns:
        Whether it took effect; other C libraries have no such setting.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(
        set_option(option, size) == 1 for option, size in ((_MMAP_THRESHOLD, 1 << 25), (_TRIM_THRESHOLD, 1 << 28))
    )


def resolve_device(name: str) -> str:
    """The torch device a name stands for; ``auto`` is the first GPU if there is one.

    Raises:
        DeviceError: not such a name, or no such device here.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise DeviceError(f"--device {name!r}: expected auto, cpu, cuda or cuda:N")
    if name == "cpu":
        return name
    import torch

    if name == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if not torch.cuda.is_available():
        raise DeviceError(f"--device {name}: this PyTorch ({torch.__version__}) finds no CUDA device; use --device cpu")
    index = int(name.partition(":")[2] or 0)
    count = torch.cuda.device_count()
    if index >= count:
        raise DeviceError(f"--device {name}: there are {count} CUDA devices, cuda:0 to cuda:{count - 1}")
    return f"cuda:{index}"
