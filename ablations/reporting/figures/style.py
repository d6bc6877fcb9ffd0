"""How figures look, and how they are saved: the same bytes for the same data."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator, Formatter
from matplotlib.transforms import Bbox

from ablations.analysis.comparison import Comparison
from ablations.reporting.formats import number
from awd.messages import one_line

_APART = 2  # dots of a screen between two labels
WIDTH = 3.4  # inches: a column of a two-column page
NARROW = 2.9  # inches: what a telephone shows without shrinking the text
FORMATS = ("png", "pdf")

# Okabe & Ito's palette, told apart by colour-blind readers, and in grey
OURS, PAPER = "#0072B2", "#D55E00"
INK, GREY, FAINT = "#222222", "#767676", "#D9D9D9"
NOTE: dict[str, Any] = {"color": GREY, "style": "italic", "fontsize": 6.5}  # a word where there is no number

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.labelsize": 7,
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a label may hold a dollar sign
    "pdf.fonttype": 42,
    "svg.fonttype": "none",  # text, which is a sixth of the bytes of its outlines, and can be searched
    "svg.hashsalt": "awd",  # else names inside would differ from call to call
}


@contextmanager
def styled(width: float = WIDTH) -> Iterator[None]:
    """Matplotlib's defaults with this project's settings, whatever the user's own style file says.

    Args:
        width: of the figures made inside, in inches.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS | {"figure.figsize": (width, width)})
        yield


def new_figure(height: float) -> Figure:
    """An empty figure one column wide, drawn without any global state but the width of :func:`styled`."""
    layout = ConstrainedLayoutEngine(h_pad=0.03, w_pad=0.02)
    figure = Figure(figsize=(_figure_width(), height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _figure_width() -> float:
    return float(mpl.rcParams["figure.figsize"][0])


def save(figure: Figure, path: Path, suffix: str) -> None:
    """Write a figure without dates or versions, so that the same data give the same bytes."""
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}
    with styled():
        figure.savefig(path, format=suffix, dpi=200, metadata=metadata[suffix])


@cache
def _letters() -> frozenset[int]:
    """Of the figures' font."""
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def drawable(label: str) -> str:
    """A label on one line, with ▯ for letters that the figures' font lacks."""
    return "".join(letter if ord(letter) in _letters() else "▯" for letter in one_line(label))


def wrapped(label: str, width: int) -> str:
    """A label on as few lines as it needs, never more than three."""
    label = drawable(label)
    return "\n".join(textwrap.wrap(label, width, max_lines=3, placeholder=" …")) or label


def fitted(text: str, width: int) -> str:
    """A text wrapped where so many characters of a line fit into a figure that is ``WIDTH`` wide."""
    return wrapped(text, int(width * _figure_width() / WIDTH))


def is_narrow() -> bool:
    """Whether figures made now are narrower than a column."""
    return _figure_width() < WIDTH


def heading(data: Comparison, dataset: str, width: int = 50) -> str:
    """What a panel shows and, where it is not the paper's, at which scale.

    Args:
        width: characters of a line that fit where figures are ``WIDTH`` wide.
    """
    scale = "" if data.profile.scale == "paper" else f", scaled down ({data.profile.name})"
    return fitted(data.title(dataset) + scale, width)


class Telling(Formatter):
    """Ticks with as few digits as tell one from the next.

    Args:
        digits: the fewest.
        value: what is written of a tick's place.
    """

    def __init__(self, digits: int = 0, value: Callable[[float], float] = float) -> None:
        self.digits, self.value = digits, value
        self.places: Sequence[float] = ()

    def set_locs(self, locs: Sequence[float]) -> None:
        """Take the places of all ticks."""
        self.places = locs

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The text of a tick."""
        values = np.sort([self.value(place) for place in self.places])
        step = np.diff(values).min(initial=math.inf)
        digits = next((n for n in range(self.digits, 12) if (abs(values.round(n) - values) <= step / 20).all()), 12)
        return number(self.value(x), digits)


def spread_ticks(figure: Figure) -> None:
    """Lay out a figure for good, and take away every second tick of an axis until no two labels touch."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = shown_labels(axis) if axes.get_visible() else []
            kept = labels
            while any(after[1] - before[2] < _APART for before, after in pairwise(kept)):
                kept = kept[::2]
            if len(kept) < len(labels):
                axis.set_major_locator(FixedLocator([place for place, _, _ in kept]))
    figure.set_layout_engine(None)  # where there is one, if only a placeholder, each saving draws twice
    for axes in figure.axes:
        # the solver of the layout adds in an order that is another from call to call; a PDF shows the last digits
        axes.set_position(Bbox(axes.get_position(original=True).get_points().round(6)))


def shown_labels(axis: Axis) -> list[tuple[float, float, float]]:
    """Of each label of a drawn axis its tick's place, and where it begins and ends along the axis, in dots."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    found = []
    for tick in ticks:
        if tick.label1.get_visible() and tick.label1.get_text():
            box = tick.label1.get_window_extent()
            start, end = box.intervalx if isinstance(axis, XAxis) else box.intervaly
            found.append((float(tick.get_loc()), float(start), float(end)))
    return sorted(found, key=lambda label: label[1])


def limits_of(points: pd.Series[float], low: pd.Series[float], high: pd.Series[float]) -> tuple[float, float]:
    """What an axis shows: the points decide it, since an interval of two seeds can be ten times as wide."""
    least, most = min(points.min(), 0.0), max(points.max(), 0.0)
    room = (most - least) or 1.0
    bottom, top = low.clip(lower=least - 0.3 * room).min(), high.clip(upper=most + 0.3 * room).max()
    return float(np.fmin(bottom, least)) - 0.06 * room, float(np.fmax(top, most)) + 0.06 * room


def mark_cut(
    axes: Axes,
    places: Iterable[float],
    low: Iterable[float],
    high: Iterable[float],
    limits: tuple[float, float],
    color: str,
    *,
    vertical: bool = False,
) -> None:
    """Arrows at the edge, where intervals at some places of the other axis are cut."""
    for place, start, end in zip(places, low, high, strict=True):
        for edge, marker, beyond in ((0, "<v", start < limits[0]), (1, ">^", end > limits[1])):
            if beyond:
                at = (place, limits[edge]) if vertical else (limits[edge], place)
                axes.plot(*at, marker=marker[vertical], markersize=3, color=color, clip_on=False, label="cut")


def only_bottom(axes: Axes) -> None:
    """Take away the frame but for the horizontal axis."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
