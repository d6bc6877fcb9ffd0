"""The page that leads to every report in a folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from ablations.reporting.index import write_index
from awd.errors import InputError
from tests.ablations.conftest import ROOT

PUBLISHED = ROOT / "reports" / "reference"


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(PUBLISHED, tmp_path_factory.mktemp("site") / "reports")


def test_it_lists_every_report_and_its_links_resolve(reports: Path) -> None:
    page = write_index(reports).read_text(encoding="utf-8")
    folders = {path.name for path in reports.iterdir() if path.is_dir()}
    assert set(re.findall(r"<h2>(?:<a [^>]*>)?([^<]+)", page)) == folders
    links = re.findall(r'(?:href|src)="([^"]*)"', page)
    assert {f"{name}/index.html" for name in ("demo", "small")} <= set(links)
    missing = [link for link in links if link != "data:," and not (reports / unquote(link)).is_file()]
    assert not missing
    assert "45 runs of 9 variants on Penn Treebank" in page


def test_the_published_index_is_made_from_the_published_reports(reports: Path) -> None:
    assert write_index(reports).read_bytes() == (PUBLISHED / "index.html").read_bytes()


def test_a_page_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("my page")
    assert write_index(tmp_path).read_text() == "my page"


def test_what_a_report_is_called_is_never_markup(tmp_path: Path) -> None:
    report = tmp_path / "100% #1"
    report.mkdir()
    (report / "index.html").write_text("<title>&lt;b onload=&quot;x&quot;&gt;</title>", encoding="utf-8")
    page = write_index(tmp_path).read_text(encoding="utf-8")
    assert "<b onload" not in page
    assert 'href="100%25%20%231/index.html"' in page


def test_a_folder_that_cannot_be_read_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "index.html").mkdir()
    with pytest.raises(InputError, match="the index cannot be written"):
        write_index(tmp_path)
