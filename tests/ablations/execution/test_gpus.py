"""Places on GPUs, taken by real processes."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from ablations.execution.gpus import parse_gpus
from awd.errors import DeviceError

HOLD = """
import os, sys
from pathlib import Path
from ablations.execution.gpus import hold_gpu
gpu = hold_gpu((0, 1), Path(sys.argv[1]))
assert hold_gpu((0, 1), Path(sys.argv[1])) == gpu and os.environ["CUDA_VISIBLE_DEVICES"] == str(gpu)
print(gpu, flush=True)
sys.stdin.read()
"""


def hold(folder: Path) -> tuple[subprocess.Popen[str], int]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, int(process.stdout.readline())


def test_processes_are_dealt_out_and_a_dead_ones_place_is_free(tmp_path: Path) -> None:
    held = [hold(tmp_path) for _ in range(4)]
    try:
        assert Counter(gpu for _, gpu in held) == {0: 2, 1: 2}
        process, gpu = held.pop(0)
        process.kill()
        process.communicate()
        held.append(hold(tmp_path))
        assert held[-1][1] == gpu, "the least crowded one"
    finally:
        for process, _ in held:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("text", ["", "a", "0,0", "-1", "0;1"])
def test_what_is_no_list_of_gpus_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match=r"--gpus .*expected numbers of GPUs such as 0,1"):
        parse_gpus(text)


def test_a_gpu_that_is_not_there_is_named() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(DeviceError, match=f"there is no GPU {count}"):
        parse_gpus(str(count))
