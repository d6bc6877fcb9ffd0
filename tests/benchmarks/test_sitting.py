"""A sitting from its first command to its last, on a CPU at the smallest sizes; nothing here asserts a speed."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

from ablations.experiment.profile import load_profile
from awd.config import Config, config_to_dict, override
from benchmarks.sitting import PARTS, Plan, attempt
from tests.ablations.conftest import write_corpus, write_profile
from tests.benchmarks.conftest import Refused, run

SMALL = ["--config", "tiny", "--batch-sizes", "2", "--engines", "fast-fp32", "--jobs", "1,2"]


def only(*parts: str) -> list[str]:
    return [word for part in parts for word in ("--part", part)]


@pytest.mark.slow
def test_all_parts_run_end_to_end_on_a_cpu(tmp_path: Path) -> None:
    out, profile, text = tmp_path / "out", write_profile(tmp_path / "tiny.yaml"), write_corpus(tmp_path / "own-text")
    options = ["--device", "cpu", "--out", out, *SMALL, "--profile", profile, "--dataset", text]
    done = run("sitting", *options, "--minutes", "20", *only("tests", "step", "share"))
    assert done.returncode == 0, done.stderr
    done = run("sitting", *options, "--minutes", "20", *only("train"))
    assert done.returncode == 0, done.stderr
    said = (out / "sitting.md").read_text(encoding="utf-8")
    for part in PARTS:
        assert all(one["good"] for one in json.loads((out / "logs" / f"{part}.json").read_text(encoding="utf-8")))
    for heading in ("# A sitting on cpu", "# One training step", "# An epoch beside", "2 in threads", "# Rows side by"):
        assert heading in said
    assert said.count("| done ") == 9
    assert (out / "reports").is_dir()
    assert len(pd.read_parquet(out / "results" / "runs")) == 9
    assert not list(out.rglob("*.safetensors")), "no weights"
    assert max(path.stat().st_size for path in out.rglob("*") if path.is_file()) < 2**24


def test_what_fails_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    options = ["--device", "cpu", "--out", tmp_path / "out", "--config", "no-such", "--engines", "fast-fp32"]
    done = run("sitting", *options, "--profile", "nor-this", *only("share", "train"))
    assert done.returncode == 1
    assert "error: share: exit code 2 (logs/share-1.log); train: exit code 2 (logs/train-1.log)" in done.stderr
    assert "**failed**: exit code 2" in (tmp_path / "out" / "sitting.md").read_text(encoding="utf-8")
    assert "no-such" in (tmp_path / "out" / "logs" / "share-1.log").read_text(encoding="utf-8")


def test_what_has_no_time_left_is_not_started_and_what_takes_too_long_is_stopped(tmp_path: Path) -> None:
    class Slow(Plan):
        def commands(self, part: str) -> list[list[str]]:
            return [["-c", "import time; time.sleep(100)"], ["-c", "pass"]]

    plan = Slow(tmp_path, tmp_path / "work", "cpu", "smoke", "python-docs", "tiny", ["2"], ["fast-fp32"], "1")
    assert [one.how for one in attempt(plan, "step", 2.4)] == ["stopped after 2 s", "not started: no time was left"]


def test_bad_options_are_refused_with_exit_code_2(refused: Refused, tmp_path: Path) -> None:
    assert "did you mean 'train'" in refused("sitting", "--out", tmp_path, "--part", "trian")
    if not torch.cuda.is_available():
        assert "finds no CUDA device" in refused("sitting", "--out", tmp_path)


def test_paper_short_is_the_papers_protocol_but_for_its_length() -> None:
    short, paper = (
        config_to_dict(override(Config(), load_profile(name).config, name)) for name in ("paper-short", "paper")
    )
    assert (short["training"].pop("epochs"), short["finetuning"].pop("epochs")) == (100, 10)
    assert (paper["training"].pop("epochs"), paper["finetuning"].pop("epochs")) == (750, 500)
    assert short == paper


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_is_timed(tmp_path: Path) -> None:
    done = run("sitting", "--out", tmp_path, "--minutes", "4", *SMALL, *only("step", "share"))
    assert done.returncode == 0, done.stderr
    stored = pd.read_parquet(tmp_path / "suite.parquet")
    assert set(stored["carrier"]) == {"processes", "threads"}
