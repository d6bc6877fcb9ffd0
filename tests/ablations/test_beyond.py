"""The examples of docs/beyond.md run as written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ablations.experiment.kinds import KINDS
from ablations.experiment.suite import load_suite, named_files
from tests.ablations.conftest import ROOT, CommandLine

PAGE = (ROOT / "docs" / "beyond.md").read_text(encoding="utf-8")
EXAMPLES = {re.search(r"name: (\S+)", text)[1]: text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)}
KIND_OF = {name: re.search(r"kind: (\w+)", text)[1] for name, text in EXAMPLES.items()}
FIGURES = {"buildup": "staircase", "pairs": "interactions", "sweep": "responses", "choices": "differences"}


def test_there_is_an_example_of_every_kind_and_every_suite_is_named() -> None:
    assert set(KIND_OF.values()) == set(KINDS) - {"removal"} == set(FIGURES)
    for name in named_files("suites"):
        (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[-2]]
        assert f"`{load_suite(name).kind}`" in row


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_runs_as_written(cli: CommandLine, corpus: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.yaml").write_text(EXAMPLES[name], encoding="utf-8")
    smaller = ["--dataset", corpus, "--set", "training.batch_size=4", "--set", "corpus.train_tokens=200"]
    quickly = ["--backend", "sequential", "--no-audit", "--keep-weights", "none"]
    done = cli("--all", "--suite", "mine.yaml", "--profile", "smoke", *smaller, *quickly)
    assert done.returncode == 0, done.stderr
    (figure,) = tmp_path.glob(f"reports/*/{FIGURES[KIND_OF[name]]}.png")
    assert figure.stat().st_size > 5000


def test_the_example_from_python_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "reference").symlink_to(ROOT / "results" / "reference")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(example, {})
    assert (tmp_path / "interactions.png").stat().st_size > 5000


def test_list_shows_kinds(cli: CommandLine) -> None:
    shown = cli("list").stdout
    for name in named_files("suites"):
        assert f"suite {name} ({load_suite(name).kind}):" in shown
