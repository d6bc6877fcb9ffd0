"""How figures look, and how they are saved: the same bytes for the same data."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from ablations.analysis.comparison import Comparison

WIDTH = 3.4  # inches: a column of a two-column page
NARROW = 2.9  # inches: what a telephone shows without shrinking the text
FORMATS = ("png", "pdf")

# Okabe & Ito's palette, told apart by colour-blind readers, and in grey
OURS, PAPER = "#0072B2", "#D55E00"
INK, GREY, FAINT = "#222222", "#767676", "#D9D9D9"

# lines and positions, but no scale
_PLACES, _LONG_NUMBER = re.compile(r' (?:d|x|y)="[^"]+"'), re.compile(r"\d+\.\d{3,}")

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
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a label may hold a dollar sign
    "pdf.fonttype": 42,
    "svg.fonttype": "path",  # the same on every machine; the page says in words what a figure shows
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


def as_svg(figure: Figure) -> str:
    """A figure as an ``<svg>`` element without a background, the same text for the same data.

    Places are in hundredths of a point, which nobody sees and saves a quarter of a page's bytes.
    """
    written = io.StringIO()
    with styled():
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(written, format="svg", transparent=True, metadata=metadata)
    text = written.getvalue()
    return _PLACES.sub(_shortened, text[text.index("<svg") :].rstrip())


def _shortened(places: re.Match[str]) -> str:
    return _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}", places[0])


def wrapped(label: str, width: int) -> str:
    """A label on as few lines as it needs, never more than three."""
    lines = textwrap.wrap(label, width, max_lines=3, placeholder=" …")
    return "\n".join(lines) or label


def fitted(text: str, width: int) -> str:
    """A text wrapped where so many characters of a line fit into a figure that is ``WIDTH`` wide."""
    return wrapped(text, int(width * _figure_width() / WIDTH))


def is_narrow() -> bool:
    """Whether figures made now are narrower than a column."""
    return _figure_width() < WIDTH


def heading(data: Comparison, dataset: str, width: int) -> str:
    """What a panel shows and, where it is not the paper's, at which scale.

    Args:
        width: characters of a line that fit where figures are ``WIDTH`` wide.
    """
    scale = "" if data.profile.scale == "paper" else f", scaled down ({data.profile.name})"
    return fitted(data.title(dataset) + scale, width)


def only_bottom(axes: Axes) -> None:
    """Take away the frame but for the horizontal axis."""
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
