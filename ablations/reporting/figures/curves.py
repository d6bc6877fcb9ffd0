"""Validation perplexity by epoch: a small panel a variant, each against the full model."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from ablations.analysis.comparison import Comparison
from ablations.analysis.training_curves import RUN, in_order
from ablations.reporting.figures.panels import (
    Block,
    figure_of_blocks,
    mark_averaging,
    mark_finetuning,
    marks_key,
    say_why_empty,
    variants_shown,
)
from ablations.reporting.figures.style import INK, NOTE, OURS, PAPER, Telling, wrapped
from ablations.storage.status import Status


def draw_curves(data: Comparison) -> Figure | None:
    """One block per data set; seeds thin, their range shaded, their mean thick, the full model in every panel in black.

    Ticks on the axis mark where averaging started, one per seed; a dotted line where fine-tuning started; a cross where
    a run diverged.

    Returns:
        ``None`` where no finished run has epochs; a data set without one has no block.
    """
    epochs = with_steps(data)
    finished = set(epochs.loc[epochs["status"].eq(Status.DONE), "dataset"])
    datasets = [dataset for dataset in data.datasets if dataset in finished]
    if not datasets:
        return None
    shown = {dataset: variants_shown(data, dataset) for dataset in datasets}
    figure, blocks = figure_of_blocks(data, shown, _key(data))
    for dataset, block in blocks.items():
        _fill(block, data, epochs[epochs["dataset"].eq(dataset)], dataset)
    return figure


def with_steps(data: Comparison) -> pd.DataFrame:
    """The epochs in order (:func:`ablations.analysis.training_curves.in_order`), with the ``status`` of their run."""
    return in_order(data.epochs).merge(data.runs[[*RUN, "status"]], on=RUN, how="left")


def mean_curve(epochs: pd.DataFrame) -> pd.Series[float]:
    """Mean validation perplexity by step over finished runs, as far as all of them go."""
    done = epochs[epochs["status"].eq(Status.DONE)]
    by_step = done.groupby("step")["valid_ppl"].agg(["mean", "size"])
    return by_step.loc[by_step["size"].eq(done["seed"].nunique()), "mean"]


def range_of_seeds(epochs: pd.DataFrame) -> pd.DataFrame:
    """``min`` and ``max`` of validation perplexity by step over finished runs, as far as all of them go."""
    done = epochs[epochs["status"].eq(Status.DONE)]
    by_step = done.groupby("step")["valid_ppl"].agg(["min", "max", "size"])
    return by_step.loc[by_step["size"].eq(done["seed"].nunique()), ["min", "max"]]


def _fill(block: Block, data: Comparison, epochs: pd.DataFrame, dataset: str) -> None:
    baseline = epochs[epochs["variant"].eq(data.suite.baseline)]
    for variant, panel in block.panels.items():
        of_variant = epochs[epochs["variant"].eq(variant)]
        runs = data.runs_on(dataset, variant)
        _lines(panel, baseline, INK, alpha=0.25)
        if variant != data.suite.baseline:
            _lines(panel, of_variant, OURS, alpha=0.45)
        _marks(panel, of_variant, runs)
    _scales(next(iter(block.panels.values())), epochs)
    block.part.supxlabel("epoch")
    block.part.supylabel("validation perplexity")


def _lines(axes: Axes, epochs: pd.DataFrame, color: str, alpha: float) -> None:
    band = range_of_seeds(epochs)
    axes.fill_between(band.index, band["min"], band["max"], color=color, alpha=0.16, linewidth=0, label="range")
    for _, run in epochs.groupby("seed"):
        axes.plot(run["step"], run["valid_ppl"], color=color, alpha=alpha, linewidth=0.5, label="seed")
    mean = mean_curve(epochs)
    axes.plot(mean.index, mean, color=color, linewidth=1.2, label="mean")


def _marks(axes: Axes, epochs: pd.DataFrame, runs: pd.DataFrame) -> None:
    finetuning = epochs.loc[epochs["phase"].eq("finetune"), "step"]
    if len(finetuning):
        mark_finetuning(axes, finetuning.min() - 0.5)
    diverged = epochs[epochs["status"].eq(Status.DIVERGED)].groupby("seed")["step"].max()
    if len(diverged):
        # at the top, since the perplexity it went off from is mostly above the axis
        where = axes.get_xaxis_transform()
        axes.plot(diverged, [0.88] * len(diverged), "x", transform=where, color=PAPER, markersize=4, label="diverged")
        beside: dict[str, Any] = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate("diverged", (diverged.max(), 0.88), xycoords=where, **beside, **NOTE | {"color": PAPER})
    mark_averaging(axes, list(runs["averaging_started"].dropna() + 0.5))
    if epochs.empty:
        say_why_empty(axes, runs)


def _scales(axes: Axes, epochs: pd.DataFrame) -> None:
    """A log axis on which the ends can be told apart: the first epochs lie above it."""
    done = epochs[epochs["status"].eq(Status.DONE)]
    lowest = done["valid_ppl"].min()
    ends = done.groupby(["variant", "seed"])["valid_ppl"].min()
    early = done.loc[done["step"].le(max(2, math.ceil(0.2 * done["step"].max()))), "valid_ppl"].min()
    top = max(1.12 * ends.max(), early, 1.25 * lowest)
    axes.set_yscale("log")
    axes.set_ylim(0.96 * lowest, min(top, 1.03 * done["valid_ppl"].max()))
    axes.yaxis.set_major_locator(FixedLocator(_ticks(0.96 * lowest, top)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(Telling())
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlim(0, 1.02 * epochs["step"].max())


def _ticks(low: float, high: float) -> list[float]:
    """A few round numbers between two."""
    candidates = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in candidates if low <= tick <= high]


def _key(data: Comparison) -> list[Line2D]:
    return [
        Line2D([], [], color=INK, linewidth=1.2, label=wrapped(f"in black: {data.baseline}", 28)),
        Line2D([], [], color=OURS, linewidth=1.2, label="the variant named above"),
        *marks_key(),
    ]
