"""The comparison of engines, through the real command line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from awd import engine
from awd.engine import Weights, make_engine
from benchmarks.equal import PROGRAMS, REFERENCE, VARIANTS, compare, plan, use_written_out_everywhere, verdict
from tests.benchmarks.conftest import Refused, run

TINY = {
    "model.embedding_size": 6,
    "model.hidden_size": 8,
    "training.epochs": 1,
    "training.batch_size": 40,
    "training.valid_batch_size": 200,
    "training.test_batch_size": 200,
    "finetuning.epochs": 1,
    "corpus.train_tokens": 1000,
}


def test_runs_are_compared_kept_and_gone_on_with(tmp_path: Path) -> None:
    arguments = [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]
    first = run("equal", *arguments, "--seeds", "11,", "--jobs", 2, "--results", tmp_path)
    assert first.returncode == 0, first.stderr
    stored = pd.read_parquet(tmp_path / "equal.parquet")
    assert len(stored) == len(VARIANTS) * len(PROGRAMS)
    assert (stored["status"] == "done").all()
    assert "fast bf16" in first.stdout
    assert (tmp_path / "equal.md").read_text(encoding="utf-8") == first.stdout

    lost = stored["run_id"].iloc[3]
    stored[stored["run_id"] != lost].to_parquet(tmp_path / "equal.parquet")
    again = run("equal", *arguments, "--seeds", "11,", "--jobs", 1, "--results", tmp_path)
    assert "8 of them there already" in again.stderr
    assert "[1/1]" in again.stderr
    repeated = pd.read_parquet(tmp_path / "equal.parquet").set_index("run_id")
    assert repeated.loc[lost, "valid_ppl"] == stored.set_index("run_id").loc[lost, "valid_ppl"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "none"], "--seeds"),
        (["--jobs", "0"], "--jobs"),
        (["--set", "model.hiden_size=3"], "did you mean 'hidden_size'"),
    ],
)
def test_bad_options_are_refused_with_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, refused: Refused
) -> None:
    assert said in refused("equal", *arguments, "--results", tmp_path)


def test_a_file_that_is_not_a_result_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "equal.parquet").write_bytes(b"no parquet")
    assert "move it away" in refused("equal", "--results", tmp_path)
    assert (tmp_path / "equal.parquet").read_bytes() == b"no parquet"


def test_every_variant_and_seed_is_trained_by_every_program() -> None:
    specs = plan((1, 2), ())
    assert len({spec.run_id for spec in specs}) == len(specs) == 18
    assert [spec.seed for spec in specs] == [1] * 9 + [2] * 9
    assert {max(sizes) for spec in specs for sizes in spec.config.model.layer_sizes[:2]} == {256}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_fast_engine_is_made_to_use_its_own_kernels(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_NARROWEST", dict(engine._NARROWEST))  # both are put back after the test
    monkeypatch.setattr(engine, "_FEWEST_LOGITS", engine._FEWEST_LOGITS)
    use_written_out_everywhere()
    fast = make_engine("fast", precision, "cpu")
    weights = Weights(*(torch.randn(shape, requires_grad=True) for shape in ((12, 2), (12, 3), (12,), (12,))))
    outputs, _ = fast.lstm(torch.randn(4, 2, 2), (torch.zeros(2, 3), torch.zeros(2, 3)), weights, None)
    assert type(outputs.grad_fn).__name__ == "FastLSTMBackward"
    loss = fast.cross_entropy(
        outputs.flatten(0, 1), torch.randn(5, 3), torch.zeros(5), torch.zeros(8, dtype=torch.long)
    )
    assert type(loss.grad_fn).__name__ == "FastCrossEntropyBackward"


def made_up(factors: dict[str, float]) -> pd.DataFrame:
    """Five seeds of one variant, a perplexity of 100 to 104 times a factor a program."""
    rows = [
        {
            "variant": "full",
            "seed": seed,
            "engine": program.split()[0],
            "precision": program.split()[1],
            "valid_ppl": ppl,
        }
        for program, factor in factors.items()
        for seed in range(1, 6)
        for ppl in [(99 + seed) * factor]
    ]
    return pd.DataFrame(rows).assign(status="done", test_ppl=1.0, dataset="made-up")


def test_differences_are_paired_by_seed_and_set_beside_the_spread() -> None:
    frame = compare(made_up({REFERENCE: 1.0, "fast fp32": 1.0, "fast bf16": 1.5})).set_index("program")
    assert frame.loc["fast fp32", ["difference", "low", "high"]].tolist() == [0, 0, 0]
    assert frame.loc["fast fp32", "verdict"] == "within the spread between seeds"
    assert frame.loc["fast bf16", "difference"] == pytest.approx(40.5465, abs=1e-3)
    assert frame.loc["fast bf16", "verdict"].startswith("OUTSIDE")
    assert frame["spread"].tolist() == pytest.approx([1.5505] * 3, abs=1e-3)
    assert frame.loc[REFERENCE, "verdict"] == ""


def test_a_verdict_wants_the_whole_interval_within_the_spread() -> None:
    nan = float("nan")
    assert verdict(0.1, -0.8, 1.0, spread=1.0) == "within the spread between seeds"
    assert verdict(0.1, -0.8, 1.1, spread=1.0) == "mean within the spread, interval not"
    assert verdict(-1.1, -1.2, -1.0, spread=1.0).startswith("OUTSIDE")
    assert verdict(0.1, nan, nan, spread=1.0) == "too few seeds"
    assert verdict(nan, nan, nan, spread=1.0) == ""
