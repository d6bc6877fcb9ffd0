"""Names of devices."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
import torch

from awd.device import resolve_device, use_exact_float32
from awd.errors import DeviceError


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert resolve_device("auto") == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert resolve_device("cpu") == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "", "cpu:0"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="expected auto, cpu, cuda or cuda:N"):
        resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_no_cuda_is_said() -> None:
    with pytest.raises(DeviceError, match="finds no CUDA device"):
        resolve_device("cuda:0")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_that_is_not_there_is_said() -> None:
    assert resolve_device("cuda") == "cuda:0"
    with pytest.raises(DeviceError, match="CUDA devices"):
        resolve_device("cuda:99")


def test_float32_on_a_gpu_is_float32() -> None:
    use_exact_float32()
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"]


PAGES_CLEARED = """
import resource, sys, torch
from awd.device import keep_freed_memory
kept = sys.argv[1] == "kept" and keep_freed_memory()
for step in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = [torch.ones(3_000_000) for _ in range(20)]
    del held
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of the GNU C library")
def test_freed_memory_is_kept_on_request() -> None:
    pages = {}
    for choice in ("kept", "returned"):
        done = subprocess.run([sys.executable, "-c", PAGES_CLEARED, choice], capture_output=True, text=True, check=True)
        count, took_effect = done.stdout.split()
        pages[choice] = int(count)
        assert took_effect == str(choice == "kept")
    # the second time that 240 MB are asked for: from the third on the library has learnt by itself to keep them
    assert pages["kept"] < pages["returned"] / 2
