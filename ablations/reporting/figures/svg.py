"""A figure as a small ``<svg>`` element for inside a page: in the page's colours, its letters as text."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from matplotlib.figure import Figure

from ablations.reporting.figures.style import FAINT, GREY, INK, OURS, PAPER, styled

# names that the page's style sheet gives other values in the dark
_COLORS = {INK: "ink", GREY: "grey", FAINT: "faint", OURS: "ours", PAPER: "paper", "#FFFFFF": "page"}
_NAME, _NUMBER, _UNTURNED = re.compile(r"#([\w-]+)"), re.compile(r"-?\d+\.\d+"), re.compile(r"rotate\(-?0 [^)]*\)")
_PLACE = re.compile(r"([ML]) (\S+) (\S+)|(z)")


def as_svg(figure: Figure, name: str, title: str) -> str:
    """A figure without a background, the same text for the same data.

    Args:
        name: what everything named inside begins with, so that figures of one page share no names.
        title: read out instead of the picture.
    """
    written = io.StringIO()
    with styled():
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(written, format="svg", transparent=True, metadata=metadata)
    root = ElementTree.fromstring(written.getvalue())
    values = [value for one in root.iter() for key, value in one.attrib.items() if key != "style"]
    used = dict.fromkeys(named for value in values for named in _NAME.findall(value))
    names = {old: f"{name}-{place}" for place, old in enumerate(used)}
    styles: dict[str, str] = {}
    svg = Element("svg", {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title})
    sheet = ElementTree.SubElement(svg, "style")
    svg.extend(part for child in root for part in _shortened(child, names, styles, name))
    sheet.text = "".join(f".{one}{{{look}}}" for look, one in styles.items())
    return ElementTree.tostring(svg, encoding="unicode")


def _shortened(element: Element, names: dict[str, str], styles: dict[str, str], name: str) -> list[Element]:
    """An element with what is needed of it; nothing, or what it holds, where it does nothing itself."""
    kind = element.tag.rpartition("}")[2]
    style = _look(element.get("style", ""))
    if kind in ("metadata", "style") or (kind == "path" and style == "fill:none"):
        return []
    attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items() if key != "style"}
    attributes = {key: _attribute(key, value, names) for key, value in attributes.items()}
    if style:
        attributes["class"] = styles.setdefault(style, f"{name}{len(styles)}")
    short = Element(kind, {key: value for key, value in attributes.items() if value})
    short.extend(part for child in element for part in _shortened(child, names, styles, name))
    short.text = element.text if kind in ("text", "tspan") else None
    if kind in ("g", "defs") and not (short.attrib and len(short)):
        return list(short) if kind == "g" else [short][: len(short)]
    return [short]


def _attribute(key: str, value: str, names: dict[str, str]) -> str:
    if key == "id":
        return names.get(value, "")
    if key == "d":
        return _path(value)
    value = _NAME.sub(lambda found: f"#{names[found[1]]}", value)
    return value if "#" in value else _NUMBER.sub(_tenths, _UNTURNED.sub("", value))


def _look(style: str) -> str:
    """A style without what the page says once for all, its colours by name."""
    parts = [part.strip().replace(": ", ":") for part in style.split(";")]
    text = ";".join(part for part in parts if part and not part.startswith("font-family"))
    for color, named in _COLORS.items():
        text = text.replace(color.lower(), f"var(--{named})")
    return text


def _path(places: str) -> str:
    """A path in tenths of a point, which nobody sees, from each place to the next."""
    if not set(re.findall("[A-Za-z]", places)) <= set("MLz"):
        return _NUMBER.sub(_tenths, " ".join(places.split()))
    x = y = 0
    written = []
    for letter, *place, end in _PLACE.findall(places):
        if end:
            written.append("z")
            continue
        before, (x, y) = (x, y), (round(10 * float(number)) for number in place)
        to = (x, y) if letter == "M" else (x - before[0], y - before[1])
        written.append(f"{letter if letter == 'M' else 'l'}{to[0] / 10:g} {to[1] / 10:g}".replace(" -", "-"))
    return "".join(written)


def _tenths(number: re.Match[str]) -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
