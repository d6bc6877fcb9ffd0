"""The command that times a training step; nothing here asserts a speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ablations.experiment.profile import load_profile
from awd.corpus import DATASETS
from benchmarks import command, step
from benchmarks.command import MeasurementError
from benchmarks.configurations import CONFIGURATIONS, ENGINES
from benchmarks.measured_process import Worker
from benchmarks.processes import EngineProcess
from benchmarks.record import describe, machine, write
from benchmarks.tables import operations_frame, operations_page, summary, timings_frame, timings_page

TIMED = ["torch-fp32", "fast-bf16"]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    """What a tiny run prints as JSON."""
    options = ["--config", "tiny", "--batch-size", "2", "--threads", "1", "--rounds", "2", "--engines", ",".join(TIMED)]
    command = [sys.executable, "-m", "benchmarks.step", *options, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_the_json_has_the_documented_keys(result: dict[str, Any]) -> None:
    assert (result["config"], result["threads"], result["batch_size"], result["rounds"]) == ("tiny", 1, 2, 2)
    for key in ("median_seconds", "peak_mib", "speedup", "spread", "tokens_per_second", "loss", "seconds"):
        assert list(result[key]) == TIMED, key
    assert {"device", "length", "steps_per_round", "peak_of", "bf16_in_hardware", "machine"} <= set(result)
    assert result["speedup"]["torch-fp32"] == 1


def test_every_engine_was_timed_each_round_in_the_same_setting(result: dict[str, Any]) -> None:
    for engine, seconds in result["seconds"].items():
        assert len(seconds) == 2
        assert all(second > 0 for second in seconds)
        low, high = result["spread"][engine]
        assert low <= result["speedup"][engine] <= high
    assert result["loss"]["fast-bf16"] == pytest.approx(result["loss"]["torch-fp32"], rel=0.05)


def test_engines_train_from_the_same_weights_text_and_masks() -> None:
    found = {engine: Worker(CONFIGURATIONS["tiny"], engine, 2, "cpu").time(2)["loss"] for engine in ENGINES}
    assert found["fast-fp32"] == pytest.approx(found["torch-fp32"], rel=1e-5)
    assert found["torch-bf16"] == pytest.approx(found["torch-fp32"], rel=0.05)
    # other weights and masks, from the same distributions
    assert found["bare-fp32"] == pytest.approx(found["torch-fp32"], rel=0.2)


def test_a_result_is_written_as_parquet_and_markdown(result: dict[str, Any], tmp_path: Path) -> None:
    paths = write("step", timings_frame(result), timings_page(result), tmp_path / "new", result["machine"])
    assert [path.name for path in paths] == ["step.parquet", "step.md"]
    stored = pd.read_parquet(paths[0])
    assert len(stored) == 2 * len(TIMED)
    assert stored["torch_version"].nunique() == 1
    page = paths[1].read_text(encoding="utf-8")
    assert page.endswith(f"\n{describe(result['machine'])}\n")
    assert all(f"`{engine}`" in page for engine in TIMED)
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["step.md", "step.parquet"]


def test_the_machine_says_whether_the_tree_was_clean() -> None:
    about = machine()
    assert {"host", "cores", "python_version", "torch_version", "git_commit", "git_dirty"} <= set(about)
    assert "with changes" in describe({**about, "git_commit": "a" * 40, "git_dirty": True})
    assert "with changes" not in describe({**about, "git_commit": "a" * 40, "git_dirty": False})


def test_medians_are_of_rounds_and_ratios_of_one_round() -> None:
    found = summary({"torch-fp32": [4.0, 6.0, 5.0], "fast-fp32": [2.0, 2.0, 2.5]}, tokens=10)
    assert found["median_seconds"] == {"torch-fp32": 5, "fast-fp32": 2}
    assert found["speedup"] == {"torch-fp32": 1, "fast-fp32": 2.5}
    assert found["spread"]["fast-fp32"] == (2, 3)
    assert found["tokens_per_second"]["fast-fp32"] == 5
    assert summary({"fast-fp32": [1.0]}, tokens=10)["speedup"] == {}


def test_who_comes_first_rotates() -> None:
    asked: list[str] = []

    class Asked:
        def __init__(self, engine: str) -> None:
            self.engine = engine

        def ask(self, **order: Any) -> dict[str, Any]:
            asked.append(self.engine)
            return {"seconds": 1.0, "loss": 1.0}

    answers = step._rounds([Asked(engine) for engine in "abc"], 3, 1, lambda engine: None)  # type: ignore[misc]
    assert "".join(asked) == "abcbcacab"
    assert {engine: len(of_engine) for engine, of_engine in answers.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_profile_tells_one_step_by_operation() -> None:
    operations = Worker(CONFIGURATIONS["tiny"], "torch-fp32", 3, "cpu").profile()["operations"]
    frame = operations_frame("torch-fp32", {"config": "tiny", "batch_size": 3, "device": "cpu"}, operations)
    page = operations_page(frame)
    assert page.startswith("# One training step of torch-fp32: tiny, batch 3, cpu\n")
    assert "| aten::" in page
    products = frame.set_index("operation").loc["aten::addmm"]
    assert products["calls"] >= 1
    assert 0 < products["share"] < 1


def test_small_operations_of_a_profile_share_a_row() -> None:
    operations = [("small", 3, 1.0), ("large", 1, 998_000.0), ("smaller", 2, 1.0)]
    frame = operations_frame("fast-fp32", {"config": "tiny", "batch_size": 1, "device": "cpu"}, operations)
    assert list(frame["operation"]) == ["large", "small", "smaller"]
    assert frame["share"].sum() == pytest.approx(1)
    assert "2 other operations" in operations_page(frame)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "papr-ptb"], "'papr-ptb'; did you mean 'paper-ptb'?"),
        (["--engines", "torch-fp32,quick"], "unknown engine 'quick'"),
        (["--profile", "fast"], "unknown engine 'fast'; did you mean 'fast-fp32'?"),
        (["--device", "tpu"], "'tpu'"),
        (["--threads", "0"], "'0'"),
        (["--batch-size", "none"], "'none'"),
        (["--profile", "fast-fp32", "--json"], "--json"),
    ],
)
def test_a_bad_option_exits_2_and_is_named(
    arguments: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["step", *arguments])
    monkeypatch.setattr(step.stderr, "file", sys.stderr)
    with pytest.raises(SystemExit) as ended:
        command.run(step.app)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert expected in said.err
    assert said.out == ""


def test_a_process_that_dies_is_an_error_that_names_the_engine() -> None:
    settings = {"config": "tiny", "batch_size": 2, "threads": 1, "device": "cpu"}
    with EngineProcess("bare-fp32", settings) as process:
        os.kill(process.process.pid, 9)
        with pytest.raises(MeasurementError, match=r"bare-fp32.*-9"):
            process.wait_until_ready()


def test_configurations_are_the_papers_and_the_demos() -> None:
    for name, dataset in {"paper-ptb": "ptb", "paper-wt2": "wikitext-2"}.items():
        assert CONFIGURATIONS[name].vocabulary_size == DATASETS[dataset].vocabulary
        assert CONFIGURATIONS[name].length == CONFIGURATIONS[name].config.windows.length
    assert CONFIGURATIONS["paper-wt2"].config.regularization.input_dropout == 0.65
    demo, profile = CONFIGURATIONS["demo"], load_profile("demo").config
    assert demo.config.model.hidden_size == profile["model"]["hidden_size"]
    assert (demo.length, demo.batch_size) == (profile["windows"]["length"], profile["training"]["batch_size"])
