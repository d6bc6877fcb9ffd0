"""Epochs for TensorBoard: each once, whatever happened on the way."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ablations.cli.app import main
from ablations.execution.tensorboard import tensorboard_folder, written_for_tensorboard
from ablations.experiment.plan import RunSpec
from ablations.storage.store import Store
from awd.config import Config
from awd.trainer import Trainer
from tests.ablations.conftest import CommandLine
from tests.awd.tiny import tiny_config, tiny_corpus


def points(folder: Path) -> list[tuple[int, float]]:
    """Steps and validation perplexities, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return [(point.step, point.value) for point in found.Scalars("perplexity/valid")]


def test_a_resumed_run_has_every_epoch_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    config: Config = tiny_config(training={"epochs": 3})
    first, second = (Trainer(config, tiny_corpus(), seed=1) for _ in range(2))
    with written_for_tensorboard(first, tmp_path / "run"):
        first.epoch()
        saved = first.state_dict()
        second.load_state_dict(saved)
        first.epoch()  # lost: the run goes on from before
    with written_for_tensorboard(second, tmp_path / "run"):
        result = second.run()
    assert [step for step, _ in points(tmp_path / "run")] == [1, 2, 3]
    assert [value for _, value in points(tmp_path / "run")] == pytest.approx([one.valid_ppl for one in result.epochs])


def test_the_command_writes_a_folder_for_each_run(
    cli: CommandLine, tmp_path: Path, profile: Path, corpus: Path, plan: list[RunSpec]
) -> None:
    pytest.importorskip("tensorboard")
    given = [
        "--profile",
        profile,
        "--dataset",
        corpus,
        "--variants",
        "full",
        "--engine",
        "torch",
        "--precision",
        "fp32",
    ]
    done = cli("run", *given, "--tensorboard", "--backend", "sequential", "--no-audit", "--no-report")
    assert done.returncode == 0, done.stderr
    (spec,) = (spec for spec in plan if spec.variant == "full")  # the run is the same one without it
    stored = Store(tmp_path / "results").epochs([spec.run_id])
    folder = tensorboard_folder(tmp_path / "results", spec)
    assert folder == tmp_path / "results" / "tensorboard" / "own-text" / "full" / f"seed-1-{spec.run_id[:8]}"
    assert [value for _, value in points(folder)] == pytest.approx(stored["valid_ppl"].to_list())


def test_no_name_leads_out_of_the_results(plan: list[RunSpec]) -> None:
    awkward = replace(plan[0], dataset="..", variant="../../x")
    assert ".." not in tensorboard_folder(Path("results"), awkward).parts


def test_without_the_package_nothing_is_trained(
    tmp_path: Path,
    profile: Path,
    corpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    given = ["--all", "--profile", str(profile), "--dataset", str(corpus), "--tensorboard"]
    monkeypatch.setattr(sys, "argv", ["run_ablations.py", *given])
    with pytest.raises(SystemExit, match="2"):
        main()
    message = "error: --tensorboard: the package tensorboard is not installed: pip install -e '.[tensorboard]'\n"
    assert capsys.readouterr().err == message
    assert not (tmp_path / "results").exists()
