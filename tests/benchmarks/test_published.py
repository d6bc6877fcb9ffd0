"""The comparison with the authors' program, on a stand-in for a clone of it."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks.command import MeasurementError
from benchmarks.command import run as run_app
from benchmarks.configurations import CONFIGURATIONS
from benchmarks.published import app, command, runs
from benchmarks.published.difference import Difference, largest, learnable_text, relative, zipf_text
from benchmarks.published.optimizers import make_plain, optimizer_steps
from benchmarks.published.program import MODULES, SCRIPT, load
from benchmarks.published.runs import RUNS, whole_runs
from benchmarks.published.windows import training_windows, validation
from benchmarks.record import RESULTS
from tests.benchmarks.authors_stub import write_stub
from tests.benchmarks.conftest import Refused, run

TINY = CONFIGURATIONS["tiny"]


def beyond(differences: Iterable[Difference]) -> set[str]:
    """The parts that differ by more than rounding."""
    return {row.part for row in differences if not row.within}


def test_it_agrees_with_a_right_program_and_writes_what_it_found(tmp_path: Path) -> None:
    clone = write_stub(tmp_path / "clone")
    done = run("published", "--repo", clone, "--config", "tiny", "--save", "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "its layers" not in done.stdout + done.stderr
    stored = pd.read_parquet(tmp_path / "published.parquet")
    assert (stored["largest"] <= stored["allowed"]).all()
    assert stored["torch_version"].eq(torch.__version__).all()
    whole = [where for where in stored["where"] if "averaged" in where]
    assert len(whole) == len(RUNS)
    assert not any("(0 averaged)" in where for where in whole)
    page = (tmp_path / "published.md").read_text(encoding="utf-8")
    for part in stored["part"]:
        assert part in done.stdout
        assert part in page
    assert str(tmp_path) not in page
    assert {path.name for path in clone.iterdir()} == {f"{name}.py" for name in MODULES} | {SCRIPT}


@pytest.mark.parametrize(
    ("file", "right", "wrong", "parts"),
    [
        ("main.py", "args.alpha * last.square().mean(), ", "", {"AR", "gradients"}),
        ("main.py", "last, steps = dropped[-1]", "last, steps = raw[-1]", {"AR", "gradients"}),
        ("main.py", ", args.beta * steps.square().mean()", "", {"TAR", "gradients"}),
        ("model.py", "*[dropouth] * (nlayers - 1)", "*[dropout] * (nlayers - 1)", None),
        ("weight_drop.py", "ih_l0, recurrent", "ih_l0, raw", None),
        ("main.py", "repackage_hidden(state), return_h", "model.init_hidden(args.batch_size), return_h", None),
    ],
)
def test_a_fault_in_a_training_window_is_named(
    file: str, right: str, wrong: str, parts: set[str] | None, tmp_path: Path
) -> None:
    found = beyond(training_windows(load(write_stub(tmp_path, file, right, wrong)), TINY))
    assert found == (parts or {"cross-entropy", "AR", "TAR", "gradients"})


def test_a_fault_in_evaluation_is_named(tmp_path: Path) -> None:
    program = load(write_stub(tmp_path, "main.py", "total += len(words) *", "total += args.bptt *"))
    assert beyond(validation(program, TINY)) == {"validation loss"}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("if args.clip:", "if False:"), ('group["lr"] = base * length / args.bptt', "pass")],
)
def test_a_fault_in_a_step_is_named(right: str, wrong: str, tmp_path: Path) -> None:
    found = list(optimizer_steps(load(write_stub(tmp_path, "main.py", right, wrong))))
    assert beyond(found) == {row.part for row in found}


def test_a_fault_ends_in_exit_code_1_and_names_the_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clone = write_stub(tmp_path / "clone", "main.py", "args.alpha * last.square().mean(), ", "")
    options = ["--repo", str(clone), "--config", "tiny", "--save", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmarks.published", *options])
    monkeypatch.setattr(command, "compare", training_windows)  # the slow comparisons are left out
    with pytest.raises(SystemExit) as ended:
        run_app(app)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "error: more than rounding" in said
    assert "AR of torch float64: inf" in said
    assert "TAR of" not in said
    assert not (tmp_path / "published.md").exists()


@pytest.mark.parametrize(
    ("file", "right", "wrong", "said"),
    [
        ("model.py", "if tie_weights:", "if False:", "parameters .tying, layers.: only their model has decoder.weight"),
        ("model.py", "embedded_dropout(self.encoder, input, self.dropoute if self.training else 0)",
         "self.encoder(input)", "masks: their program draws one of"),
        ("locked_dropout.py", "x[:1]", "x", "masks: their program draws one of"),
        ("weight_drop.py", "torch.nn.functional.dropout(raw, self.dropout, self.training)", "raw", "masks: .* 3 fewer"),
        ("model.py", "tie_weights=False", "tied=False", "their model failed: TypeError"),
        ("main.py", "model.train()(words", "model.start()(words", r"their train\(\) failed: AttributeError"),
    ],
)  # fmt: skip
def test_another_network_or_other_masks_are_told(file: str, right: str, wrong: str, said: str, tmp_path: Path) -> None:
    program = load(write_stub(tmp_path, file, right, wrong))
    with pytest.raises(MeasurementError, match=said):
        list(training_windows(program, TINY))


@pytest.mark.parametrize("file", ["model.py", "splitcross.py", "main.py"])
def test_a_missing_file_is_named(file: str, tmp_path: Path, refused: Refused) -> None:
    (write_stub(tmp_path) / file).unlink()
    said = refused("published", "--repo", tmp_path)
    assert said.splitlines()[0].startswith(f"error: --repo {tmp_path}: not a clone of the authors' program")
    assert file in said


@pytest.mark.parametrize(
    ("file", "right", "wrong", "said"),
    [
        ("utils.py", "def get_batch", "def batch", "utils.py cannot be used"),
        ("model.py", "import torch\n", "import no_such_module\n", "model.py cannot be used: ModuleNotFoundError"),
        ("main.py", "def train", "def training", "main.py defines no train()"),
        ("main.py", "def train()", "def train(", "main.py cannot be read"),
    ],
)
def test_a_clone_that_does_not_load_is_refused(
    file: str, right: str, wrong: str, said: str, tmp_path: Path, refused: Refused
) -> None:
    assert said in refused("published", "--repo", write_stub(tmp_path, file, right, wrong))


def test_bad_options_are_refused(tmp_path: Path, refused: Refused) -> None:
    assert "did you mean 'tiny'" in refused("published", "--repo", tmp_path, "--config", "tyni")
    assert "--repo" in refused("published")
    assert "it has no model.py" in refused("published", "--repo", tmp_path / "nothing")


def test_loading_leaves_no_modules_and_no_paths_behind(tmp_path: Path) -> None:
    before = list(sys.path)
    load(write_stub(tmp_path))
    assert sys.path == before
    assert not set(MODULES) & set(sys.modules)


def test_torch_is_as_it_was_after_a_comparison(tmp_path: Path) -> None:
    program = load(write_stub(tmp_path))
    before = torch.Tensor.float, torch.Tensor.bernoulli_, torch.nn.functional.dropout, torch.get_default_dtype()
    list(validation(program, TINY))
    after = torch.Tensor.float, torch.Tensor.bernoulli_, torch.nn.functional.dropout, torch.get_default_dtype()
    assert after == before


def test_a_plain_asgd_takes_each_step_at_its_rate_and_averages_all_iterates() -> None:
    weight = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))
    optimizer = torch.optim.ASGD([weight], lr=1.0, lambd=0.0, t0=0)
    optimizer.register_step_pre_hook(make_plain)
    iterates = []
    for rate in (30.0, 15.0, 30.0, 60.0):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        iterates.append(weight.item())
    assert iterates == [-30.0, -45.0, -75.0, -135.0]
    assert optimizer.state[weight]["ax"].item() == pytest.approx(sum(iterates) / 4)


def test_a_run_that_takes_another_course_is_a_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RUNS", RUNS[:1])
    program = load(write_stub(tmp_path, "main.py", "optimizer.step()", "pass"))  # never worse, so never averaged
    (row,) = whole_runs(program)
    assert not row.within
    assert row.where.endswith("theirs 11 and 0")


def test_differences_are_relative_and_nothing_hides() -> None:
    assert relative(1.0, 1.0 + 1e-12) == pytest.approx(1e-12, rel=1e-3)
    assert relative(torch.tensor([3.0, 4.0]), torch.tensor([0.0, 4.0])) == 0.75
    assert relative(1.0, 0.0) == math.inf
    assert relative(0.0, 0.0) == 0
    assert largest({"a": 1.0, "b": math.nan, "c": 2.0})[1] == "b"
    assert not Difference("part", "ours", math.nan, "", 1.0).within


@pytest.mark.parametrize("text", [zipf_text, learnable_text])
def test_made_up_texts_have_all_words_but_the_last(text: Callable[..., torch.Tensor]) -> None:
    assert text(12, 2000, seed=1).unique().tolist() == list(range(11))


def test_the_document_has_the_stored_figures() -> None:
    stored = pd.read_parquet(RESULTS / "published.parquet")
    document = (RESULTS.parents[1] / "docs" / "fidelity.md").read_text(encoding="utf-8")
    lines = re.findall(
        r"^\|(.*)\|$", document.partition("authors' program\n")[2].partition("## Model")[0], re.MULTILINE
    )
    header, _, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    told = {(row[0], by): cell for row in rows for by, cell in zip(header[1:], row[1:], strict=True) if cell != "–"}
    assert told == {(row["part"], row["by"]): cells_of(row) for row in stored.to_dict("records")}


def cells_of(row: dict[str, float]) -> str:
    return f"{row['largest']:.1e}" if row["largest"] else "0"
