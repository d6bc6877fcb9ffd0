"""The floor under a step: what its matrix products alone take at this processor's best rate."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from statistics import median
from typing import Annotated, Any

import pandas as pd
import torch
import typer

from awd.config import ModelConfig
from awd.fast.matmul import Matrix
from benchmarks.command import make_app, run
from benchmarks.configurations import CONFIGURATIONS, require_configuration
from benchmarks.record import write

PASSES = 3  # of each product: forward, and one for each of the two gradients
app = make_app()


def step_products(model: ModelConfig, words: int, length: int, batch: int) -> list[tuple[str, int, int, int, int]]:
    """The products ``(rows, in) @ (in, out)`` of a step's forward pass: ``(what, rows, in, out, times)``."""
    tokens = length * batch
    found = []
    for number, (before, width) in enumerate(model.layer_sizes, 1):
        found.append((f"layer {number}, inputs of all steps", tokens, before, 4 * width, 1))
        found.append((f"layer {number}, recurrent, each step", batch, width, 4 * width, length))
    return [*found, ("softmax", tokens, model.layer_sizes[-1][1], words, 1)]


def measure(rows: int, inner: int, out: int, kind: torch.dtype, rounds: int) -> tuple[float, float]:
    """Seconds of one product by ``torch.mm`` and by a packed matrix, medians."""
    x, weight = torch.randn(rows, inner).to(kind), torch.randn(out, inner).to(kind)
    packed = Matrix(weight, rows)
    return _seconds(lambda: torch.mm(x, weight.t()), rounds), _seconds(lambda: packed.times(x), rounds)


def _seconds(product: Callable[[], Any], rounds: int) -> float:
    product()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        product()
        times.append(time.perf_counter() - started)
    return median(times)


@app.command()
def products(
    config: Annotated[str, typer.Option("--config", help=f"{', '.join(CONFIGURATIONS)}.")] = "paper-ptb",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Sequences.")] = 20,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Times each product is timed.")] = 7,
    save: Annotated[bool, typer.Option("--save", help="Write it to benchmarks/results/ too.")] = False,
) -> None:
    """Time every matrix product of a step's forward pass on one thread, in float32 and bfloat16.

    A step has three of each, the gradients' being of the same size. Their operations at the best rate found are a
    floor that no engine can go below on this processor: masks, gates, softmax and the optimizer come on top.
    """
    require_configuration(config)
    torch.set_num_threads(1)
    shape = CONFIGURATIONS[config]
    rows = []
    for (what, count, inner, out, times), kind in itertools.product(
        step_products(shape.config.model, shape.vocabulary_size, shape.length, batch_size),
        (torch.float32, torch.bfloat16),
    ):
        plain, packed = measure(count, inner, out, kind, rounds)
        operations = 2 * count * inner * out
        rates = {"mm": operations / plain / 1e9, "packed": operations / packed / 1e9}
        total = PASSES * operations * times / 1e9
        size = {"type": str(kind)[6:], "rows": count, "in": inner, "out": out}
        rows.append({"product": what, **size, **rates, "of a step": total})
    frame = pd.DataFrame(rows)
    page = render(frame, config, batch_size)
    print(page)
    if save:
        write(f"products-{config}-b{batch_size}", frame, page)


def render(frame: pd.DataFrame, config: str, batch_size: int) -> str:
    """The table, and the floor for each type, as markdown."""
    shown = frame.round({"mm": 0, "packed": 0, "of a step": 1})
    title = f"# Matrix products of a step: {config}, batch {batch_size}, one thread"
    unit = "`mm` and `packed` in GFLOP/s (10^9 operations a second), `of a step` in GFLOP."
    lines = [title, "", shown.to_markdown(index=False), "", unit]
    for kind, rows in frame.groupby("type", sort=False):
        best, total = float(rows[["mm", "packed"]].to_numpy().max()), float(rows["of a step"].sum())
        floor = f"{total:.0f} GFLOP at the best rate seen, {best:.0f} GFLOP/s: {total / best:.3f} s a step"
        lines += ["", f"Floor in {kind}: {floor}."]
    return "\n".join(lines)


if __name__ == "__main__":
    run(app)
