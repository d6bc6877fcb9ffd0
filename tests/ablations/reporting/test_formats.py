"""User text is never markup: whatever a label or a folder holds is read back as it was written."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ablations.experiment.suite import Suite, Variant
from ablations.reporting.formats import bullets, latex, markdown
from ablations.reporting.ladder import ladder_markdown
from ablations.reporting.page import page_text
from ablations.reporting.tables import csv_text, latex_text, markdown_page
from awd.messages import one_line
from tests.ablations.reporting.ladders import growing, ladder_of, record, rung
from tests.ablations.reporting.synthetic import report_data

GITHUB = MarkdownIt("commonmark").enable(["table", "strikethrough"])
# what markdown, LaTeX and HTML read as their own, among a few letters and half a surrogate
LETTERS = st.sampled_from([*r"""\|`*<>~$_&;:[]()!#+-=.'"^%{}@/,?""", *"ab1é中\n\t\x1b\ud800", "amp;", "  "])
TEXTS = st.lists(LETTERS, max_size=14).map("".join)


def words(rendered: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", rendered)).strip()


@given(TEXTS)
@settings(max_examples=300, deadline=None)
@example("1. a")
@example("[a]: b")
@example("__init__ [x] ~~a~~ ![a](b)")
def test_markdown_is_read_back_as_it_was_written(text: str) -> None:
    if not (plain := one_line(text)):
        return
    listed = GITHUB.render(bullets([text]))
    assert re.fullmatch(r"<ul>\n<li>[^<]*</li>\n</ul>\n", listed), listed
    assert words(listed) == plain
    cells = GITHUB.render(f"| a | b |\n|---|---|\n| {markdown(text)} | x |\n")
    assert [words(cell) for cell in re.findall("<td>(.*?)</td>", cells)] == [plain, "x"]


def test_github_reads_neither_mathematics_nor_pictures() -> None:
    assert markdown("$a$ costs lr:100:x, 3:4") == r"\$a\$ costs lr\:100:x, 3:4"
    assert markdown("my_model at +1.0 [+0.3, +2.0]") == "my_model at +1.0 [+0.3, +2.0]"


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_latex_holds_no_command_of_the_users(text: str) -> None:
    written = latex(text)
    rest = re.sub(r"\\text\w+\{\}|\\[&%$#_{}]|\$[^$]*\$|\{[\[*]\}|(?<=[-'])\{\}|``", "", written)
    assert not re.search(r"[\\&%$#_{}^~<>|`]", rest), written
    assert not written.startswith(("[", "*"))
    written.encode()


def test_rows_signs_in_a_row_stay_apart() -> None:
    assert latex("a--b ''c''") == "a-{}-b '{}'c'{}'"
    assert latex("* a") == "{*} a"


NASTY = r"[b] ]] $x$ _y_ & <i> | # %41 \e :x: --o"


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory):
    """A suite, its rows and its data set, all called like this."""
    rows = (Variant("base", NASTY), Variant("v1", f"{NASTY} é"))
    suite = Suite("odd", NASTY, "base", rows)
    return report_data(tmp_path_factory.mktemp("nasty"), suite=suite, datasets=[NASTY], seeds=2, notes=(NASTY,))


def test_tables_hold_names_as_they_are(nasty) -> None:
    rendered = GITHUB.render(markdown_page(nasty))
    assert f"<h2>{html.escape(NASTY)}</h2>" in rendered
    in_each_table = [NASTY, f"{NASTY} é"]
    found = [words(cell).removesuffix(" †") for cell in re.findall("<tr>\n<td.*?>(.*?)</td>", rendered)]
    assert found == in_each_table * 2
    assert NASTY in csv_text(nasty)
    assert latex_text(nasty).startswith("% needs lualatex or xelatex")


def test_the_page_holds_names_as_they_are_and_its_links_lead_where_they_say(nasty) -> None:
    page = page_text(nasty, {}, ["odd.md", "50% [a]#b.md"], "../my results/100%#1: é")
    assert f"<h2>{html.escape(NASTY)}</h2>" in page.replace("&#34;", "&quot;").replace("&#39;", "&#x27;")
    assert 'href="50%25%20%5Ba%5D%23b.md"' in page
    assert 'href="../my%20results/100%25%231%3A%20%C3%A9"' in page
    ids = re.findall(r'id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]*)"', page)) <= set(ids)


def test_headings_of_a_ladder_are_text(tmp_path: Path) -> None:
    record(tmp_path, rung("small"), 0.001, growing(0.1))
    ladder = ladder_of(tmp_path, [rung("small")], ["ptb"])
    odd = ladder.rungs.assign(own_text=False, title="a|b [c]")
    table = ladder_markdown(type(ladder)(ladder.suite, odd, ladder.points, ladder.rows))
    assert r"small (a\|b [c])" in table
