"""Where to compute: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""

from __future__ import annotations

import os
import re

from awd.errors import DeviceError


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
