"""The process of one engine: it builds the model, then does what its standard input says, a line at a time.

``{"do": "time", "steps": 3}`` is answered by seconds a step, the last loss and the peak of memory, and
``{"do": "profile"}`` by the operations of one step. Started by :mod:`benchmarks.processes`, which sets the number of
threads in the environment: that is read when torch is imported.
"""

from __future__ import annotations

import itertools
import json
import math
import resource
import signal
import sys
import time
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from awd.config import TrainingConfig
from awd.corpus.text import Encoded
from awd.device import keep_freed_memory, use_exact_float32
from awd.engine import ENGINES, multiplies_bfloat16
from awd.trainer import Trainer
from awd.windows import Window
from benchmarks.bare import BareLSTM, BareTraining
from benchmarks.configurations import CONFIGURATIONS, Configuration

_SEED = 1
_WINDOWS = 16  # windows of text, gone through again and again


class Training(Protocol):
    """What is timed."""

    def step(self, window: Window) -> Tensor:
        """Train on one window of the text; returns its loss."""


class BareOnText:
    """The bare training on a text, ``(rows, batch)`` of ids."""

    def __init__(self, training: BareTraining, text: Tensor) -> None:
        self.training, self.text = training, text

    def step(self, window: Window) -> Tensor:
        """See :class:`Training`."""
        end = window.start + window.length
        return self.training.step(self.text[window.start : end], self.text[window.start + 1 : end + 1])


def make_training(configuration: Configuration, name: str, text: Tensor, device: str) -> Training:
    """The training that one of :data:`benchmarks.configurations.ENGINES` names, on a text ``(rows, batch)`` of ids."""
    engine, _, precision = name.partition("-")
    if engine == "bare":
        return BareOnText(_bare_training(configuration, text.shape[1], device), text.to(device))
    config = replace(configuration.config, training=TrainingConfig(batch_size=text.shape[1], valid_batch_size=1))
    # back to the tokens that the trainer lays out in columns
    corpus = Encoded([""] * configuration.vocabulary_size, text.t().flatten().tolist(), [0, 0], [0, 0])
    kernels = ENGINES[engine]("bf16" if precision == "bf16" else "fp32")
    return Trainer(config, corpus, _SEED, device=device, engine=kernels)


def _bare_training(configuration: Configuration, batch_size: int, device: str) -> BareTraining:
    config = configuration.config
    sizes, strengths, optimizer = config.model, config.regularization, config.optimizer
    torch.manual_seed(_SEED)
    model = BareLSTM(
        configuration.vocabulary_size,
        [sizes.embedding_width, *(width for _, width in sizes.layer_sizes)],
        embedding_dropout=strengths.embedding_dropout,
        input_dropout=strengths.input_dropout,
        hidden_dropout=strengths.hidden_dropout,
        output_dropout=strengths.output_dropout,
        weight_dropout=strengths.weight_dropout,
    )
    return BareTraining(
        model.to(device),
        batch_size,
        learning_rate=optimizer.learning_rate,
        weight_decay=strengths.weight_decay,
        clip_norm=optimizer.clip_norm or math.inf,
        alpha=strengths.activation_penalty,
        beta=strengths.temporal_activation_penalty,
    )


def random_text(configuration: Configuration, batch_size: int) -> Tensor:
    """Words drawn by Zipf's law, the same for every engine: ``(windows * length + 1, batch)`` of ids."""
    frequencies = 1 / torch.arange(1, configuration.vocabulary_size + 1, dtype=torch.float64)
    rows = _WINDOWS * configuration.length + 1
    generator = torch.Generator().manual_seed(_SEED)
    return torch.multinomial(frequencies, rows * batch_size, replacement=True, generator=generator).view(rows, -1)


class Worker:
    """A training and the text it goes through.

    Args:
        configuration: what to train.
        engine: by which of :data:`benchmarks.configurations.ENGINES`.
        batch_size: sequences.
        device: where.
    """

    def __init__(self, configuration: Configuration, engine: str, batch_size: int, device: str) -> None:
        self.device = torch.device(device)
        self.training = make_training(configuration, engine, random_text(configuration, batch_size), device)
        length = configuration.length
        self.windows = itertools.cycle(Window(number * length, length, rate_scale=1.0) for number in range(_WINDOWS))

    def time(self, steps: int) -> dict[str, Any]:
        """Seconds a step over some steps, the last one's loss, and the peak of memory so far in MiB."""
        self._wait()
        started = time.perf_counter()
        for _ in range(steps):
            loss = self.training.step(next(self.windows))
        self._wait()
        seconds = (time.perf_counter() - started) / steps
        return {"seconds": seconds, "loss": loss.item(), "peak_mib": self._peak_mib()}

    def profile(self) -> dict[str, Any]:
        """What one step spends its time on: name, calls and own microseconds of each operation."""
        on_gpu = self.device.type == "cuda"
        activities = [torch.profiler.ProfilerActivity.CPU]
        if on_gpu:
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        window = next(self.windows)
        with torch.profiler.profile(activities=activities) as profiler:
            self.training.step(window)
            self._wait()
        # on a GPU what counts is the time of the kernels an operation started; they are listed once more by themselves
        own = "self_device_time_total" if on_gpu else "self_cpu_time_total"
        events = [event for event in profiler.key_averages() if event.device_type.name == "CPU"]
        rows = [(event.key, event.count, getattr(event, own)) for event in events]
        return {"operations": [row for row in rows if row[2] > 0]}

    @property
    def peak_of(self) -> str:
        """What is measured of memory."""
        if self.device.type == "cuda":
            return "peak of what PyTorch allocated on the GPU"
        return "peak resident memory of the engine's whole process, PyTorch itself included"

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()  # in a thread, its own

    def _peak_mib(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        # never less than the parent's when it started this process, which is small: it does without torch
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB on Linux


class MeasuredThread:
    """A training in whichever thread asks, on a GPU on a stream of its own; asked as a process is.

    Args:
        engine: a key of :data:`benchmarks.configurations.ENGINES`.
        settings: ``config``, ``batch_size`` and ``device``.
    """

    def __init__(self, engine: str, settings: dict[str, Any]) -> None:
        device = settings["device"]
        self._stream = torch.cuda.Stream(device) if device.startswith("cuda") else None
        with torch.cuda.stream(self._stream):
            self._worker = Worker(CONFIGURATIONS[settings["config"]], engine, settings["batch_size"], device)

    def ask(self, **order: Any) -> dict[str, Any]:
        """Time some steps: ``do="time", steps=3``."""
        with torch.cuda.stream(self._stream):
            return self._worker.time(order["steps"])


def main() -> None:
    """Read the settings from the command line, say that the model is there, and serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends this process
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    use_exact_float32()
    if not settings["engine"].startswith("bare"):
        keep_freed_memory()  # as every run of a sweep does; a port would not
    configuration = CONFIGURATIONS[settings["config"]]
    worker = Worker(configuration, settings["engine"], settings["batch_size"], settings["device"])
    _answer({"bf16_in_hardware": multiplies_bfloat16(settings["device"]), "peak_of": worker.peak_of})
    for line in sys.stdin:
        order = json.loads(line)
        _answer(worker.profile() if order["do"] == "profile" else worker.time(order["steps"]))


def _answer(values: dict[str, Any]) -> None:
    print(json.dumps(values), flush=True)


if __name__ == "__main__":
    main()
