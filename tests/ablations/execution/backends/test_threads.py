"""Runs in threads of one process: the same numbers as alone, and the same ends."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from ablations.execution.backends import make_backend
from ablations.execution.job import Job, RunOptions
from ablations.storage.store import Store
from awd.checkpoint import read_checkpoint
from awd.device import use_exact_float32
from awd.engine import Engine, multiplies_bfloat16
from awd.trainer import Trainer
from tests.ablations.conftest import write_corpus, write_profile
from tests.ablations.sweeps import Sweep, assert_equal_to_the_bit, running, undisturbed_numbers, wait_for
from tests.awd.engines import BF16, FP32, label
from tests.awd.tiny import tiny_config, tiny_corpus

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
    ),
]
CORPUS = tiny_corpus()
TWO = ("full", "no-ntasgd")


posix = pytest.mark.skipif(os.name != "posix", reason="signals and process groups of POSIX")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_profile(tmp_path / "tiny.yaml")
    write_corpus(tmp_path / "own-text")
    return tmp_path


def trained(seed: int, engine: Engine, device: str, both: threading.Barrier | None = None) -> dict[str, torch.Tensor]:
    """The weights of a run that averages; beside another one if there is a barrier."""
    stream = torch.cuda.Stream(device) if both and device == "cuda" else None
    with torch.cuda.stream(stream):
        config = tiny_config(optimizer={"method": "asgd"}, training={"epochs": 2}, finetuning={"epochs": 1})
        if both:
            both.wait()
        trainer = Trainer(config, CORPUS, seed, device=device, engine=engine)
        trainer.run()
        return {name: weight.detach().cpu() for name, weight in trainer.model.named_parameters()}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("engine", [*FP32, *BF16], ids=label)
@pytest.mark.usefixtures("at_any_size")
def test_two_runs_side_by_side_are_to_the_bit_those_alone(engine: Engine, device: str) -> None:
    if engine.precision == "bf16" and not multiplies_bfloat16(device):
        pytest.skip("no bf16 here")
    use_exact_float32()
    alone = [trained(seed, engine, device) for seed in (1, 2)]
    before, both = torch.get_num_threads(), threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        beside = list(pool.map(lambda seed: trained(seed, engine, device, both), (1, 2)))
    for one, other in zip(alone, beside, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert torch.get_num_threads() == before


@posix
def test_a_sweep_in_threads_gives_what_one_alone_gives(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    undisturbed = undisturbed_numbers(tmp_path_factory, *TWO)
    results = folder / "results"
    options = ["--results", results, "--variants", ",".join(TWO), "--backend", "threads", "--jobs", 2]
    sweep = Sweep(folder, *options, "--checkpoint-every", 1)
    wait_for(lambda: len(running(results)) > 1)
    assert len({entry["pid"] for entry in running(results)}) <= 1, "one process"
    sweep.signal_group(signal.SIGINT)
    code, errors = sweep.end(60)
    assert code == 130, errors
    runs = Store(results).runs()
    assert (runs["status"] == "paused").any()
    assert list(results.glob("checkpoints/*/*"))
    for path in results.glob("checkpoints/*/*"):
        read_checkpoint(path)
    code, errors = Sweep(folder, *options).end()
    assert code == 0, errors
    assert_equal_to_the_bit(results, undisturbed)
    assert Store(results).runs()["resumes"].sum() > 0


@posix
def test_a_second_ctrl_c_ends_it_at_once(folder: Path) -> None:
    results = folder / "results"
    sweep = Sweep(folder, "--results", results, "--backend", "threads", "--jobs", 2)
    wait_for(lambda: running(results, epochs=0) or sweep.process.poll() is not None)
    for _ in range(2):
        sweep.signal_group(signal.SIGINT)
    code, errors = sweep.end(60)
    assert code == 130, errors
    assert not sweep.processes()


def test_a_run_that_fails_ends_no_other(folder: Path) -> None:
    (folder / "two.yaml").write_text(
        """
        name: two
        title: one that fits and one that cannot
        baseline: fits
        variants:
          - {name: fits, label: fits}
          - {name: huge, label: huge, overrides: {model: {hidden_size: 1000000}}}
        """,
        encoding="utf-8",
    )
    options = ["--suite", "two.yaml", "--all", "--backend", "threads", "--jobs", 2]
    code, errors = Sweep(folder, "--results", folder / "results", *options).end()
    assert code == 1, errors
    rows = Store(folder / "results").runs().set_index("variant")
    assert rows.loc["fits", "status"] == "done"
    assert rows.loc["huge", "status"] == "failed"


def test_threads_are_dealt_out_over_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)  # as of GPUs that are not there
    options = RunOptions(4, "cpu", gpus=(0, 2))
    backend = make_backend("threads", options.at_once, devices=options.devices)
    used: list[str] = []
    all_there = threading.Barrier(4)

    def told(job: Job) -> None:
        all_there.wait(10)
        used.append(job.options.device)
        assert job.options.gpus == ()

    monkeypatch.setattr("ablations.execution.backends.threads.execute", told)
    jobs = [Job(None, options, None, "", None) for _ in range(8)]  # type: ignore[arg-type]
    assert len(list(backend.train(jobs, 4))) == 8
    assert sorted(used) == ["cuda:0"] * 4 + ["cuda:2"] * 4
