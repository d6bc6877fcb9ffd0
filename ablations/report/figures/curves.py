"""Validation perplexity by epoch: a small panel a variant, each against the full model."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from ablations.analysis.data import ReportData
from ablations.report.figures.style import GREY, INK, OURS, PAPER, heading, is_narrow, new_figure, wrapped
from ablations.storage.store import DIVERGED, DONE, PAUSED

_COLUMNS = 2
_TITLE = 30  # characters that fit above a panel
_ROW, _HEADING = 0.92, 0.32  # inches


def draw_curves(data: ReportData, frame: pd.DataFrame) -> Figure | None:
    """A block a data set; seeds thin, their range shaded, their mean thick, the full model in every panel in black.

    Ticks on the axis mark where averaging started, one a seed; a dotted line where fine-tuning started; a cross where a
    run diverged.

    Returns:
        ``None`` where no finished run has epochs; a data set without one has no block.
    """
    epochs = with_steps(data)
    finished = set(epochs.loc[epochs["status"].eq(DONE), "dataset"])
    datasets = [dataset for dataset in dict.fromkeys(frame["dataset"]) if dataset in finished]
    if not datasets:
        return None
    panels = {dataset: _variants(data, frame, dataset) for dataset in datasets}
    lines = max(wrapped(label, _TITLE).count("\n") for rows in panels.values() for _, label in rows)
    row = _ROW + 0.1 * lines
    heights = [math.ceil(len(panels[dataset]) / _COLUMNS) * row + _HEADING for dataset in datasets]
    figure = new_figure(sum(heights) + 0.45)
    blocks = figure.subfigures(len(datasets), 1, height_ratios=heights, squeeze=False)[:, 0]
    for block, dataset in zip(blocks, datasets, strict=True):
        _block(block, data, epochs[epochs["dataset"].eq(dataset)], panels[dataset], dataset)
    figure.legend(
        handles=_key(data), loc="outside upper left", ncols=1 if is_narrow() else 2, handlelength=1.6, columnspacing=1.2
    )
    return figure


def with_steps(data: ReportData) -> pd.DataFrame:
    """The epochs with ``step``, counted over both phases from 1, and the ``status`` of their run."""
    keys = ["dataset", "variant", "seed"]
    second_phase = data.epochs["phase"].eq("finetune")
    epochs = data.epochs.assign(second_phase=second_phase).sort_values([*keys, "second_phase", "epoch"])
    step = epochs.groupby(keys, sort=False).cumcount() + 1
    return epochs.assign(step=step).merge(data.runs[[*keys, "status"]], on=keys, how="left")


def mean_curve(epochs: pd.DataFrame) -> pd.Series[float]:
    """Mean validation perplexity by step over finished runs, as far as all of them go."""
    done = epochs[epochs["status"].eq(DONE)]
    by_step = done.groupby("step")["valid_ppl"].agg(["mean", "size"])
    return by_step.loc[by_step["size"].eq(done["seed"].nunique()), "mean"]


def range_of_seeds(epochs: pd.DataFrame) -> pd.DataFrame:
    """``min`` and ``max`` of validation perplexity by step over finished runs, as far as all of them go."""
    done = epochs[epochs["status"].eq(DONE)]
    by_step = done.groupby("step")["valid_ppl"].agg(["min", "max", "size"])
    return by_step.loc[by_step["size"].eq(done["seed"].nunique()), ["min", "max"]]


def _variants(data: ReportData, frame: pd.DataFrame, dataset: str) -> list[tuple[str, str]]:
    rows = frame[frame["dataset"].eq(dataset)]
    named = list(rows[["variant", "label"]].itertuples(index=False, name=None))
    return [row for row in named if row[0] != data.suite.baseline] or named


def _block(
    block: SubFigure, data: ReportData, epochs: pd.DataFrame, panels: list[tuple[str, str]], dataset: str
) -> None:
    rows = math.ceil(len(panels) / _COLUMNS)
    axes = block.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True)
    title = heading(data, dataset, 50)
    block.suptitle(title, x=0.01, ha="left", fontsize=7.5, weight="bold")
    baseline = epochs[epochs["variant"].eq(data.suite.baseline)]
    for panel, (variant, label) in zip(axes.flat, panels, strict=False):
        of_variant = epochs[epochs["variant"].eq(variant)]
        runs = data.runs[data.runs["dataset"].eq(dataset) & data.runs["variant"].eq(variant)]
        _lines(panel, baseline, INK, alpha=0.25)
        if variant != data.suite.baseline:
            _lines(panel, of_variant, OURS, alpha=0.45)
        _marks(panel, of_variant, runs)
        panel.set_title(wrapped(label, _TITLE), fontsize=6.5, weight="normal", color=OURS, pad=2)
    for panel in axes.flat[len(panels) :]:
        panel.set_visible(False)
    _scales(axes[0, 0], epochs)
    for place, panel in enumerate(axes.flat[: len(panels)]):
        if place + _COLUMNS >= len(panels):
            panel.tick_params(labelbottom=True)
    block.supxlabel("epoch", fontsize=7)
    block.supylabel("validation perplexity", fontsize=7)


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
        axes.axvline(finetuning.min() - 0.5, color=GREY, linewidth=0.7, linestyle=(0, (1, 1.5)), zorder=0)
    diverged = epochs[epochs["status"].eq(DIVERGED)].groupby("seed")["step"].max()
    if len(diverged):
        # at the top, since the perplexity it went off from is mostly above the axis
        where = axes.get_xaxis_transform()
        axes.plot(diverged, [0.88] * len(diverged), "x", transform=where, color=PAPER, markersize=4, label="diverged")
        axes.annotate(
            "diverged",
            (diverged.max(), 0.88),
            xycoords=where,
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            color=PAPER,
            style="italic",
            fontsize=6.5,
        )
    for started in runs["averaging_started"].dropna():
        axes.axvline(started + 0.5, ymax=0.12, color=PAPER, linewidth=0.9, label="averaging")
    if epochs.empty:
        reason = "missing" if runs["status"].isna().all() else "paused" if runs["status"].eq(PAUSED).any() else "failed"
        look: dict[str, Any] = {"ha": "center", "color": GREY, "style": "italic", "fontsize": 6.5}
        axes.annotate(reason, (0.5, 0.8), xycoords="axes fraction", **look)


def _scales(axes: Axes, epochs: pd.DataFrame) -> None:
    """A log axis on which the ends can be told apart: the first epochs lie above it."""
    done = epochs[epochs["status"].eq(DONE)]
    lowest = done["valid_ppl"].min()
    ends = done.groupby(["variant", "seed"])["valid_ppl"].min()
    early = done.loc[done["step"].le(max(2, math.ceil(0.2 * done["step"].max()))), "valid_ppl"].min()
    top = max(1.12 * ends.max(), early, 1.25 * lowest)
    axes.set_yscale("log")
    axes.set_ylim(0.96 * lowest, min(top, 1.03 * done["valid_ppl"].max()))
    axes.yaxis.set_major_locator(FixedLocator(_ticks(0.96 * lowest, top)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:.0f}")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlim(0, 1.02 * epochs["step"].max())


def _ticks(low: float, high: float) -> list[float]:
    """A few round numbers between two."""
    candidates = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(tick) for tick in candidates if low <= tick <= high]


def _key(data: ReportData) -> list[Line2D]:
    baseline = data.suite.variant(data.suite.baseline).label
    return [
        Line2D([], [], color=INK, linewidth=1.2, label=wrapped(baseline, 28)),
        Line2D([], [], color=OURS, linewidth=1.2, label="the variant named above"),
        Line2D([], [], color=PAPER, linestyle="none", marker="|", markersize=5, label="averaging starts, by seed"),
        Line2D([], [], color=GREY, linewidth=0.7, linestyle=(0, (1, 1.5)), label="fine-tuning starts"),
    ]
