"""A process for each engine, alive through all rounds; only one works at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.command import MeasurementError

_ROOT = Path(__file__).resolve().parent.parent


class EngineProcess:
    """One engine's :mod:`benchmarks.measured_process`; ends with the block.

    Args:
        engine: a key of :data:`benchmarks.configurations.ENGINES`.
        settings: ``config``, ``batch_size``, ``threads`` and ``device``.
    """

    def __init__(self, engine: str, settings: dict[str, Any]) -> None:
        self.engine = engine
        threads = str(settings["threads"])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.measured_process", json.dumps({**settings, "engine": engine})],
            cwd=_ROOT,
            env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.communicate()

    def wait_until_ready(self) -> dict[str, Any]:
        """What the process says once its model is built."""
        return self._answer()

    def ask(self, **order: Any) -> dict[str, Any]:
        """Have the process do something, and wait for its answer.

        Raises:
            MeasurementError: it ended.
        """
        assert self.process.stdin is not None
        try:
            print(json.dumps(order), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise self._died() from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._died()
        return json.loads(line)

    def _died(self) -> MeasurementError:
        code = self.process.wait()
        why = "killed, maybe for want of memory" if code == -signal.SIGKILL else "what it said is above"
        return MeasurementError(f"{self.engine}: its process ended with status {code}: {why}")
