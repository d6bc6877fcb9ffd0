"""Candidates for a scale, judged against cases worked by hand."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.scales import decay, fall_before_averaging, judge
from tests.benchmarks.conftest import ROOT, Refused, run

CONFIG = {
    "optimizer": {"learning_rate": 20.0},
    "regularization": {"weight_decay": 0.001},
    "training": {"batch_size": 5},
    "windows": {"length": 4},
}


def candidate(
    name: str, training: list[float], finetuning: list[float], averaged_from: int, seconds: float = 6.0
) -> tuple[dict[str, Any], pd.DataFrame]:
    """A run whose epochs validate so; averaging acts from the given epoch of training on."""
    epochs = pd.DataFrame(
        {
            "run_id": name,
            "phase": ["train"] * len(training) + ["finetune"] * len(finetuning),
            "epoch": [*range(1, len(training) + 1), *range(1, len(finetuning) + 1)],
            "train_ppl": [ppl + 1 for ppl in training + finetuning],
            "valid_ppl": training + finetuning,
            "averaging": [number >= averaged_from for number in range(1, len(training) + 1)] + [True] * len(finetuning),
            "seconds": seconds,
            "tokens": 100,
        }
    )
    row = {"run_id": name, "dataset": "text", "variant": name, "label": "", "seed": 1000, "config": json.dumps(CONFIG)}
    return row | {"averaging_started": averaged_from - 1}, epochs


GOOD = candidate("good", [99, 80, 70, 60, 60, 60, 60, 60, 60, 55], [54, 58, 58, 58, 58, 58], 10)


def judged(*candidates: tuple[dict[str, Any], pd.DataFrame], minutes: float = 7.0) -> pd.DataFrame:
    runs, epochs = zip(*candidates, strict=True)
    shuffled = pd.concat(epochs).sample(frac=1, random_state=1)  # the order of a store's epochs is nobody's promise
    return judge(pd.DataFrame(runs), shuffled, minutes).set_index("candidate")


def test_what_a_candidate_shows() -> None:
    good = judged(GOOD).loc["good"]
    assert good["lacks"] == ""
    assert (good["valid"], good["best_epoch"], good["epochs"]) == (54, 11, 16)
    assert (good["best_of_training"], good["valid_of_training"], good["train_at_best"]) == (10, 55, 55)
    assert good["minutes"] == pytest.approx(16 * 6 / 60)
    assert good["decay"] == pytest.approx(20 * 0.001 * 16 * 100 / 5 / 4)


@pytest.mark.parametrize(
    ("lacks", "training", "finetuning", "averaged_from", "seconds"),
    [
        ("budget", [99, 80, 70, 60, 60, 60, 60, 60, 60, 55], [54, 58, 58, 58, 58, 58], 10, 60.0),
        ("middle", [99, 80, 70, 60, 60, 60, 60, 60, 60, 55], [54], 10, 6.0),
        ("levelled", [99, 80, 70, 68, 66, 64, 62, 60, 58, 55], [54, 58, 58, 58, 58, 58], 10, 6.0),
        ("fine-tuning", [99, 80, 70, 60, 60, 60, 60, 60, 60, 55], [56, 58, 58, 58, 58, 58], 10, 6.0),
    ],
)
def test_what_a_candidate_lacks(
    lacks: str, training: list[float], finetuning: list[float], averaged_from: int, seconds: float
) -> None:
    assert judged(candidate("poor", training, finetuning, averaged_from, seconds)).loc["poor", "lacks"] == lacks


def test_whoever_lacks_least_comes_first_and_then_the_lowest_perplexity() -> None:
    better = candidate("better", [99, 80, 70, 60, 60, 60, 60, 60, 60, 53], [52, 58, 58, 58, 58, 58], 10)
    late = candidate("late", [99, 80, 70, 60, 60, 60, 60, 60, 60, 50], [40], 10)
    assert judged(late, GOOD, better).index.tolist() == ["better", "good", "late"]


def test_the_fall_before_averaging_is_of_the_best_raw_perplexity() -> None:
    _, epochs = candidate("run", [100, 90, 80, 85, 84, 83, 82, 78.4, 70], [], 9)
    assert fall_before_averaging(epochs) == pytest.approx(0.02)  # 80 to 78.4; 70 is an average's


def test_no_averaging_and_too_few_raw_epochs_have_not_levelled() -> None:
    for epochs in (candidate("never", [9.0] * 9, [], 10)[1], candidate("early", [9.0] * 9, [], 6)[1]):
        assert math.isinf(fall_before_averaging(epochs))


def test_decay_is_the_papers_at_the_papers_numbers() -> None:
    config = {
        "optimizer": {"learning_rate": 30.0},
        "regularization": {"weight_decay": 1.2e-6},
        "training": {"batch_size": 40},
        "windows": {"length": 70},
    }
    # 750 epochs of Penn Treebank, at the paper's batch and window
    assert decay(config, pd.DataFrame({"tokens": [929_589] * 750})) == pytest.approx(8.96, abs=0.01)


def test_the_published_candidates_are_judged_to_the_published_table(tmp_path: Path) -> None:
    published = ROOT / "results" / "reference" / "scales"
    for folder in ("runs", "epochs"):
        shutil.copytree(published / folder, tmp_path / folder)
    process = run("scales", "long", "--results", tmp_path)
    assert process.returncode == 0, process.stderr
    table = (published / "long-ptb.md").read_text(encoding="utf-8")
    assert (tmp_path / "long-ptb.md").read_text(encoding="utf-8") == table
    assert process.stdout.strip() == table.strip()


def test_a_scale_without_candidates_is_refused() -> None:
    process = run("scales", "none")
    assert process.returncode == 2
    assert "no finished run of suite 'none' on ptb" in process.stderr


def test_a_folder_is_read_as_everywhere_else(refused: Refused) -> None:
    """An empty one is a variable that was not set, and not the current folder."""
    for name, option in [("scales", "--results"), ("step", "--results"), ("sitting", "--out"), ("equal", "--results")]:
        arguments = ["long"] if name == "scales" else []
        assert f"{option} '': this names no path" in refused(name, *arguments, option, "")
