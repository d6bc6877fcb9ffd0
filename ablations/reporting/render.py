"""A report as files in a folder."""

from __future__ import annotations

import os
from pathlib import Path

from ablations.analysis.comparison import Comparison, Ladder, require_finished
from ablations.experiment.suite import DEFAULT_SUITE
from ablations.reporting.tables import csv_text, latex_text, markdown_page, terminal_table
from ablations.storage.store import explained
from awd.files import whole_file, write_text
from awd.paths import file_name, short_name

__all__ = ["render_report", "report_folder", "terminal_table"]


def report_folder(data: Comparison, reports: Path) -> Path:
    """``reports/<profile>``, with the suite's name and the data sets' added where they are not the usual ones, so that
    the report of another suite or of one's own text does not replace the first."""
    others = [] if data.suite.name == DEFAULT_SUITE else [data.suite.name]
    usual = [name for name in data.datasets if name in data.profile.datasets and not data.is_namesake(name)]
    others += [] if usual == data.datasets else data.datasets
    return reports / short_name("-".join([data.profile.name, *map(file_name, others)]))


def render_report(data: Comparison, folder: Path, ladder: Ladder | None = None) -> list[Path]:
    """Write the tables (``<suite>.md, .csv, .tex``), the figures (``.png`` and ``.pdf``) and the page (``index.html``).

    A figure that the data cannot fill, such as ``ranks`` without published numbers, is left out, and one of that name
    from an earlier report is removed.

    Args:
        ladder: the same rows at several scales, which the page shows.

    Returns:
        The files, in the order in which they were written.

    Raises:
        InputError: no run is finished, or the folder cannot be written.
    """
    require_finished(data)
    with explained(f"{folder}: the report cannot be written there"):
        paths = [*_write_tables(data, folder), *_write_figures(data, folder)]
        return [*paths, _write_page(data, folder, [path.name for path in paths], ladder)]


def _write_tables(data: Comparison, folder: Path) -> list[Path]:
    name = file_name(data.suite.name)
    texts = {"md": markdown_page(data), "csv": csv_text(data), "tex": latex_text(data)}
    paths = {folder / f"{name}.{suffix}": text for suffix, text in texts.items()}
    for path, text in paths.items():
        write_text(path, text)
    return list(paths)


def _write_figures(data: Comparison, folder: Path) -> list[Path]:
    from ablations.reporting import figures  # matplotlib takes a second to import, and tables do without

    drawn = figures.draw(data)
    paths = []
    for name in figures.ALL_FIGURES:
        for suffix in figures.FORMATS:
            path = folder / f"{name}.{suffix}"
            if name not in drawn:
                path.unlink(missing_ok=True)
                continue
            with whole_file(path) as temporary:
                figures.save(drawn[name], temporary, suffix)
            paths.append(path)
    return paths


def _write_page(data: Comparison, folder: Path, files: list[str], ladder: Ladder | None) -> Path:
    from ablations.reporting import figures
    from ablations.reporting.page import TITLES, page_text

    drawn = figures.draw(data, figures.NARROW, ladder)
    svgs = {name: figures.as_svg(figure, name, TITLES[name]) for name, figure in drawn.items()}
    path = folder / "index.html"
    place = Path(os.path.relpath(data.store.root, folder)).as_posix() if data.store else ""
    write_text(path, page_text(data, svgs, files, place))
    return path
