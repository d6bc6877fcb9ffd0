"""The command line, its table and its page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from ablations.cli.paths import folder_option
from awd.device import use_exact_float32
from benchmarks.command import WIDE, MeasurementError, make_app, say, say_written
from benchmarks.configurations import CONFIGURATIONS, Configuration, require_configuration
from benchmarks.options import ResultsOption, SaveOption
from benchmarks.published.difference import Difference
from benchmarks.published.optimizers import optimizer_steps
from benchmarks.published.program import Program, load
from benchmarks.published.runs import whole_runs
from benchmarks.published.windows import training_windows, validation
from benchmarks.record import RESULTS, describe, machine, write

app = make_app("a difference is more than rounding")


@app.command()
def published(
    repo: Annotated[Path, folder_option("--repo", help="A clone of the authors' program, as it is.")],
    config: Annotated[
        str, typer.Option("--config", help=f"Size of the single windows: {', '.join(CONFIGURATIONS)}.")
    ] = "paper-ptb",
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads.")] = 1,
    save: SaveOption = False,
    results: ResultsOption = RESULTS,
) -> None:
    """Hold this project against the program that the paper's authors published.

    Both sides compute the same from the same weights, masks and windows: validation losses, the parts of a training
    loss and all gradients, 40 steps of each optimizer, and two short whole runs. Their modules, and train() and
    evaluate() of their main.py, are executed unchanged: give no folder whose code you do not trust. Nothing of it is
    kept, and the clone is not written to. Texts are made up.

    **Examples**

    * `python -m benchmarks.published --repo ../awd-lstm-lm` — minutes, at the paper's size
    * `python -m benchmarks.published --repo ../awd-lstm-lm --config tiny` — seconds
    """
    require_configuration(config)
    torch.set_num_threads(threads)
    use_exact_float32()
    program, about = load(repo), machine()
    rows = list(_told(compare(program, CONFIGURATIONS[config])))
    table = _terminal(rows, notes(program, config), describe(about))
    Console(width=None if sys.stdout.isatty() else WIDE).print(table, highlight=False)
    _require_within(rows)
    if save:
        frame = pd.DataFrame([{**vars(row), "config": config, "their_commit": program.commit} for row in rows])
        paths = write("published", frame, page(rows, program, config), results, about)
        say_written(paths)


def compare(program: Program, shape: Configuration) -> Iterator[Difference]:
    """Every comparison, parts before the whole."""
    yield from validation(program, shape)
    yield from training_windows(program, shape)
    yield from optimizer_steps(program)
    yield from whole_runs(program)


def _told(differences: Iterator[Difference]) -> Iterator[Difference]:
    for row in differences:
        say(f"{row.part}, {row.by}: {row.largest:.1e}")
        yield row


def _require_within(rows: list[Difference]) -> None:
    beyond = [row for row in rows if not row.within]
    if beyond:
        told = [
            f"{row.part} of {row.by}: {row.largest:.1e} ({row.where}), {row.allowed:.0e} is allowed" for row in beyond
        ]
        raise MeasurementError("more than rounding apart from the authors' program:\n  " + "\n  ".join(told))


def cells(row: Difference) -> dict[str, str]:
    """A row of the table."""
    return {
        "compared": row.part,
        "computed by": row.by,
        "largest difference": f"{row.largest:.1e}" if row.largest else "0",
        "allowed": f"{row.allowed:.0e}",
        "where": row.where,
    }


def notes(program: Program, config: str) -> list[str]:
    """What a reader of the table must know."""
    return [
        f"Their program: commit {program.commit or 'unknown'}. Its modules, and train() and evaluate() of its main.py, "
        "run unchanged on our weights, masks and window lengths; only PyTorch's drawing of masks is replaced, and the "
        "rounding of their loss to float32.",
        f"Single windows: {CONFIGURATIONS[config].title}, batch {CONFIGURATIONS[config].batch_size}, initial weights. "
        "Parts of the loss and gradients (before clipping) are those of two windows, the state carried, against theirs "
        "in float64; a validation loss is against theirs in the same type. Optimizers and runs: two layers of at most "
        "32 units, float64.",
        "Differences are relative: norm of the difference over norm of theirs, the largest of all. Their loss of a "
        "text, a sum over its rows, is first divided by the rows predicted.",
        "ASGD is torch.optim.ASGD with t0=0 and lambd=0. As it is, its rates come a step late and its mean leaves out "
        "the first iterate: there ours is told the same. Made a plain mean, it is ours. Runs use the latter, and "
        "fine-tune by train() under it.",
        "Texts are made up, lack the last word of the vocabulary, and leave no last window of one step in a run: "
        "there the two differ, see docs/fidelity.md.",
    ]


def page(rows: list[Difference], program: Program, config: str) -> str:
    """The table and its notes in markdown."""
    align = ("left", "left", "right", "right", "left")
    table = pd.DataFrame([cells(row) for row in rows]).to_markdown(index=False, disable_numparse=True, colalign=align)
    command = f"`python -m benchmarks.published --repo CLONE --config {config} --save`"
    parts = ["# Held against the authors' program", table, *notes(program, config), f"Regenerate with {command}."]
    return "\n\n".join(parts) + "\n"


def _terminal(rows: list[Difference], lines: list[str], about: str) -> Table:
    table = Table(
        title="Held against the authors' program",
        caption="\n".join([*lines, about]),
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    for name in cells(rows[0]):
        table.add_column(name, justify="right" if name in ("largest difference", "allowed") else "left")
    for row in rows:
        table.add_row(*cells(row).values(), style=None if row.within else "bold red")
    return table
