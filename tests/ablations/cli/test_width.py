"""What commands print in terminals of 40 to 80 columns, and of names that look like markup."""

from __future__ import annotations

import io
import os
import pty
import subprocess
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from ablations.analysis.collect import collect
from ablations.audit.audit import AuditOutcome
from ablations.audit.cell import Cell, Finding
from ablations.cli.audit_table import print_audits
from ablations.cli.listing import print_choices, print_corpus, print_plan
from ablations.cli.status import print_status
from ablations.execution.job import RunOptions
from ablations.experiment.selection import Selection, select
from ablations.experiment.suite import load_suite
from ablations.reporting.render import terminal_table
from ablations.storage.store import Store
from awd.corpus import load_corpus
from awd.corpus.usage import examine
from tests.ablations.conftest import command, environment, record, write_corpus

WIDTHS = pytest.mark.parametrize("width", [80, 60, 40])
NAMES = ["full [/ref]", "drop [bold red]0.2", "lr:100:x"]
SUITE = f"""
name: awkward
title: names [i]like markup
baseline: "{NAMES[0]}"
variants:
  - {{name: "{NAMES[0]}", label: "{NAMES[0]}"}}
  - {{name: "{NAMES[1]}", label: "– {NAMES[1]}", overrides: {{regularization: {{weight_dropout: 0.2}}}}}}
  - {{name: "{NAMES[2]}", label: "– {NAMES[2]}", overrides: {{regularization: {{weight_dropout: 0.3}}}}}}
"""


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), width=width)


def words(console: Console) -> str:
    """What it shows, on one line, after a look that no table is wider than it."""
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for line in text.split("\n"):
        assert "…" not in line
        assert "─" not in line or cell_len(line) <= console.width
    return " ".join(text.split())


@pytest.fixture
def awkward(tmp_path: Path, profile: Path) -> Selection:
    suite, text = tmp_path / "awkward.yaml", write_corpus(tmp_path / "text [draft]")
    suite.write_text(SUITE, encoding="utf-8")
    return select(str(suite), str(profile), (str(text),), engine="torch", precision="fp32")


@WIDTHS
def test_every_choice_is_listed_whole(width: int) -> None:
    console = terminal(width)
    print_choices(console)
    found = words(console)
    for name in ("– variable sequence lengths", "optimizer.method=sgd-halving", "2,088,628", "LDC: free"):
        assert name in found
    assert "profile scale what it is data sets seeds" in found or width < 80


@WIDTHS
def test_plans_and_standings_name_every_run(width: int, awkward: Selection, tmp_path: Path) -> None:
    store, plan = Store(tmp_path / "results"), awkward.plan(awkward.corpora())
    record(store, plan[1], "failed", error="no [/such] thing: :x:")
    record(store, plan[2], "done", valid_ppl=12345.678, test_ppl=9.5, epochs=5)
    planned, standing = terminal(width), terminal(width)
    print_plan(awkward, store, RunOptions(1, "cpu"), planned, terminal(width))
    print_status(awkward, store, standing)
    for found in (words(planned), words(standing)):
        assert all(name in found for name in [*NAMES, "text [draft]", "failed", "done", "missing"])
    assert "drop [bold red]0.2: no [/such] thing: :x:" in words(standing)
    assert "12345.68" in words(standing)


@WIDTHS
def test_comparisons_keep_every_column(width: int, awkward: Selection, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for place, spec in enumerate(awkward.plan(awkward.corpora())):
        record(store, spec, "done", valid_ppl=12.25 + place, test_ppl=11.0, parameters=1234)
    console = terminal(width)
    console.print(terminal_table(collect(awkward, store, store)))
    found = words(console)
    assert all(name in found for name in [*NAMES, "12.25", "100 Δ log", "params", "text [draft]"])


@WIDTHS
def test_audits_show_the_names_of_all_configurations(width: int) -> None:
    agrees, differs = Finding("share [x]", "0.500", "0.5±.05", ok=True), Finding("share", "0.1", "0.5±.05", ok=False)
    cells = tuple(Cell(name, (agrees,)) for name in ("weight drop", "fine-tuning"))
    names = [*(variant.name for variant in load_suite("table5").variants), *NAMES]
    bad = AuditOutcome((*cells, Cell("AR", (differs,))))
    console = terminal(width)
    print_audits("profile [x]", [(name, AuditOutcome((*cells, Cell("AR", (agrees,))))) for name in names], console)
    print_audits("profile [x]", [(NAMES[0], bad)], console)
    found = words(console)
    assert all(name in found for name in [*names, "profile [x]", "share [x]", "✗ 0.1"])
    assert "full [/ref]: AR: share: measured 0.1, expected 0.5±.05" in found


def test_a_corpus_is_called_what_its_folder_is_called(tmp_path: Path) -> None:
    console = terminal(40)
    text = load_corpus(str(write_corpus(tmp_path / "a [b] :x:")))
    print_corpus(text, [examine(text)], console)
    assert words(console).startswith("a [b] :x:: train ")


def test_a_pipe_is_as_wide_as_columns_asks_for() -> None:
    narrow, wide = (
        subprocess.run(command("list"), env=environment(COLUMNS=columns), capture_output=True, text=True).stdout
        for columns in ("50", "rubbish")
    )
    assert max(map(cell_len, narrow.splitlines())) <= 50
    assert max(map(cell_len, wide.splitlines())) > 100


@pytest.mark.skipif(os.name != "posix", reason="a terminal of POSIX")
def test_a_sweep_of_awkward_names_in_a_terminal(tmp_path: Path, awkward: Selection, profile: Path) -> None:
    """The live display draws the names, and the report follows."""
    arguments = [
        "--suite",
        "awkward.yaml",
        "--profile",
        profile,
        "--dataset",
        "text [draft]",
        "--backend",
        "sequential",
        "--no-audit",
    ]
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        command("--all", *arguments), cwd=tmp_path, env=environment(TERM="xterm", COLUMNS="60"),
        stdout=subprocess.DEVNULL, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal_end:
        while chunk := _read(terminal_end.fileno()):
            shown += chunk
    assert done.wait(timeout=200) == 0, shown.decode()
    assert b"lr:100:x" in shown
    assert b"[/ref]" in shown
    assert (tmp_path / "reports").is_dir()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # Linux says so when the other end is gone
        return b""
