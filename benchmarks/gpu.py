"""What ``nvidia-smi`` says of a GPU while something runs there."""

from __future__ import annotations

import os
import subprocess
import threading
from statistics import fmean
from types import TracebackType

_SECONDS = 0.5  # between two looks


class GpuWatch:
    """Looks at a GPU again and again while the block lasts; sees nothing on a CPU, or without ``nvidia-smi``.

    Args:
        device: a torch device, resolved.

    Attributes:
        idle: share of the time in which no kernel ran, after the block; ``None`` if nothing was seen.
        memory_mib: the most that was in use on the GPU, by all processes; ``None`` if nothing was seen.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.idle: float | None = None
        self.memory_mib: float | None = None
        self._seen: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> GpuWatch:
        if self.device.startswith("cuda"):
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._seen:
            self.idle = 1 - fmean(busy for busy, _ in self._seen) / 100
            self.memory_mib = max(memory for _, memory in self._seen)

    def _look(self) -> None:
        while not self._over.wait(_SECONDS):
            said = ask(self.device, "utilization.gpu,memory.used")
            try:
                busy, memory = (float(part) for part in said.split(","))
            except ValueError:  # no such command, or "[N/A]"
                return
            self._seen.append((busy, memory))


def ask(device: str, what: str) -> str:
    """What ``nvidia-smi`` answers of a CUDA device; empty where there is none."""
    index = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    number = visible.split(",")[index] if visible else str(index)
    command = ["nvidia-smi", "-i", number, f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
