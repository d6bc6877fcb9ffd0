"""One page that leads to every report in a folder, read from the reports themselves."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ablations.reporting import ladder
from ablations.reporting.page import environment
from ablations.storage.store import explained
from awd.files import write_text

_MARK = '<meta name="generator" content="awd-ablations">'  # tells our index from a page of the user's own
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
_SENTENCE = re.compile(r'<meta name="description" content="(.*?)">', re.DOTALL)
_HEADLINES = ("differences.png", f"{ladder.NAME}.png")


def write_index(reports: Path) -> Path:
    """Write ``index.html``: every report of a folder with its first figure and a sentence; the same bytes for the same
    reports. A page of that name that is not ours is left alone.

    Raises:
        InputError: the folder cannot be read or written.
    """
    path = reports / "index.html"
    with explained(f"{path}: the index cannot be written"):
        if not path.exists() or _MARK in path.read_text(encoding="utf-8", errors="replace"):
            found = [_entry(folder) for folder in sorted(reports.iterdir()) if folder.is_dir()]
            entries = [entry for entry in found if entry is not None]
            write_text(path, environment().get_template("index.html.jinja").render(mark=_MARK, entries=entries) + "\n")
    return path


def _entry(folder: Path) -> dict[str, Any] | None:
    """What the index says of a folder; ``None`` if it holds no report."""
    page = folder / "index.html"
    text = page.read_text(encoding="utf-8", errors="replace") if page.is_file() else ""
    files = [path.name for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    if not text and f"{ladder.NAME}.md" not in files:
        return None
    title, sentence = (html.unescape(found[1]) if (found := of.search(text)) else "" for of in (_TITLE, _SENTENCE))
    place = quote(folder.name)
    return {
        "name": folder.name,
        "title": title or ladder.TITLE,
        "sentence": sentence,
        "page": f"{place}/index.html" if text else "",
        "figure": next((f"{place}/{name}" for name in _HEADLINES if name in files), ""),
        "files": {name: f"{place}/{quote(name)}" for name in files if name != "index.html"},
    }
