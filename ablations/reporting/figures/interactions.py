"""Pairs of removals: a labelled heatmap of what taking both away costs beyond the sum of each."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ablations.analysis.comparison import Comparison
from ablations.analysis.contrasts import Contrast, difference, interaction, log_perplexities
from ablations.experiment.kinds import Pairs
from ablations.experiment.variant import part_of
from ablations.reporting.figures.panels import stack
from ablations.reporting.figures.style import FAINT, GREY, INK, OURS, PAPER, fitted, heading, new_figure, wrapped
from ablations.reporting.formats import DASH, percent

_CELL = 0.29  # inches
_COLORS = LinearSegmentedColormap.from_list("interaction", [OURS, "#FFFFFF", PAPER])
_STRONGEST = 0.75  # share of a colour at the largest interaction, so that the text on it can be read


def draw_interactions(data: Comparison) -> Figure | None:
    """One block per data set, one cell per pair: the interaction in validation log-perplexity times 100. What is
    decided is bold on its colour; what is not is slanted on white. On the diagonal, the effect of each removal alone.

    Returns:
        ``None`` where no pair of removals is finished in the same seed as both alone.
    """
    assert isinstance(data.suite.layout, Pairs)
    pairs = data.suite.layout.both
    names = [one.name for one in data.suite.variants if any(one.name in pair for pair in pairs)]
    blocks = {}
    for dataset in data.datasets:
        logs = log_perplexities(data, dataset)
        full = data.suite.baseline
        cells = {pair: interaction(logs, both, *pair, full, data.interval) for pair, both in pairs.items()}
        if any(cell.pairs for cell in cells.values()):
            blocks[dataset] = cells, [difference(logs, name, full, data.interval) for name in names]
    if not blocks:
        return None
    height = len(names) * _CELL + 0.45
    figure = new_figure(len(blocks) * height + 0.75)
    parts = stack(figure, [height] * len(blocks), [heading(data, dataset) for dataset in blocks])
    labels = [part_of(data.label(name)) for name in names]
    for part, (cells, alone) in zip(parts, blocks.values(), strict=True):
        _panel(part.subplots(), names, labels, cells, alone)
    says = "interaction: effect of removing both minus the sum of each, in 100 × log-perplexity"
    figure.supxlabel(fitted(says, 62))
    figure.legend(handles=_key(), loc="outside upper left", ncols=1)
    return figure


def _panel(
    axes: Axes, names: list[str], labels: list[str], cells: dict[tuple[str, str], Contrast], alone: list[Contrast]
) -> None:
    decided = [abs(cell.mean) for cell in cells.values() if cell.decided]
    largest = max(decided, default=1.0)
    place = {name: position for position, name in enumerate(names)}
    for (one, other), cell in cells.items():
        column, row = sorted((place[one], place[other]))
        share = cell.mean / largest if cell.decided else 0.0
        color = _COLORS(0.5 + 0.5 * _STRONGEST * share)
        edge, width = (INK, 0.8) if cell.decided else (FAINT, 0.5)
        axes.add_patch(Rectangle((column + 0.04, row + 0.04), 0.92, 0.92, facecolor=color, edgecolor=edge, lw=width))
        _write(axes, column, row, cell.mean, bold=cell.decided, slanted=not cell.decided)
    for position, effect in enumerate(alone):
        _write(axes, position, position, effect.mean, bold=False, slanted=False)
    axes.set_xlim(0, len(names))
    axes.set_ylim(len(names), 0)
    places = [position + 0.5 for position in range(len(names))]
    axes.set_xticks(places, [str(position + 1) for position in range(len(names))])
    axes.set_yticks(places, [wrapped(f"{position + 1} {label}", 19) for position, label in enumerate(labels)])
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _write(axes: Axes, column: int, row: int, value: float, *, bold: bool, slanted: bool) -> None:
    text = DASH if math.isnan(value) else percent(value, 0 if abs(value) >= 0.0995 else 1)
    axes.text(
        column + 0.5, row + 0.5, text, ha="center", va="center_baseline", fontsize=6.5,
        weight="bold" if bold else "normal", style="italic" if slanted else "normal", color=INK if bold else GREY,
    )  # fmt: skip


def _key() -> list[Patch]:
    return [
        Patch(
            facecolor=_COLORS(0.2),
            edgecolor=INK,
            lw=0.8,
            label="framed, bold, below 0: each is worth more beside the other",
        ),
        Patch(facecolor=_COLORS(0.8), edgecolor=INK, lw=0.8, label="framed, bold, above 0: the two do the same job"),
        Patch(facecolor="white", edgecolor=FAINT, label="slanted, on white: undecided; diagonal: removed alone"),
    ]
