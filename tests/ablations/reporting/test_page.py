"""The page needs nothing but itself, says what the tables say, and renders in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ablations.analysis.comparison import Comparison
from ablations.experiment.hypotheses import Hypotheses, Hypothesis, load_hypotheses
from ablations.experiment.suite import load_published, load_suite
from ablations.reporting.formats import percent
from ablations.reporting.kinds import figures_of
from ablations.reporting.page import page_text
from ablations.reporting.render import render_report
from tests.ablations.conftest import ROOT
from tests.ablations.reporting.synthetic import report_data, user_suite

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def text(rendered: list[Path]) -> str:
    return rendered[-1].read_text(encoding="utf-8")


def page_of(data: Comparison) -> str:
    """The page with empty figures: they take seconds to draw."""
    return page_text(data, dict.fromkeys(figures_of(data), "<svg></svg>"), [], "")


class Page(HTMLParser):
    """Links, names and visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("href", "src", "xlink:href"):
                self.links.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_it_refers_to_itself_and_its_neighbours_only(text: str, rendered: list[Path]) -> None:
    page = Page(text)
    neighbours = {path.name for path in rendered}
    for link in page.links:
        assert link in ("data:,", *neighbours) or link.removeprefix("#") in page.ids, link
    assert {path.name for path in rendered[:-1]} <= set(page.links)
    assert len(page.ids) == len(set(page.ids)), "figures share no names"
    assert not page.tags & {"script", "iframe", "img", "object"}
    assert "url(http" not in text
    assert rendered[-1].stat().st_size < 300_000


def test_it_says_what_the_tables_say(demo: Any, text: str) -> None:
    words = " ".join(" ".join(Page(text).words).split())
    frame = demo.frame
    for row in frame[frame["pairs"].gt(1)].to_dict("records"):
        low, high = percent(row["valid_log_low"]), percent(row["valid_log_high"])
        assert f"{percent(row['valid_log_difference'])} [{low}, {high}]" in words
    assert "not the paper's setting" in words
    assert "diverged" in words
    assert "The corpus is another machine's." in words
    for run in demo.runs[demo.runs["status"].eq("done")].to_dict("records"):
        assert f"{run['valid_ppl']:.2f} / {run['test_ppl']:.2f}" in words


def test_hypotheses_are_told_with_their_evidence(demo: Any) -> None:
    suite = load_suite("table5")
    hypotheses = load_hypotheses(suite, "table5", load_published(suite, "table5"))
    assert hypotheses is not None
    written = page_of(replace(demo, hypotheses=hypotheses))
    words = " ".join(" ".join(Page(written).words).split())
    for hypothesis in hypotheses.hypotheses:
        assert f"{hypothesis.says} {hypothesis.written()}" in words
    assert words.count("validation:") == len(hypotheses.hypotheses)
    verdicts = re.findall(r'class="verdict (\w+)">', written)
    shown, told = verdicts[: len(hypotheses.hypotheses)], verdicts[len(hypotheses.hypotheses) :]
    assert shown == told[::2], "beside the first figure: those on validation"
    assert "no pair of finished runs" in words, "no run without NT-ASGD is finished here"


def test_names_from_the_user_are_text_and_nothing_else(tmp_path: Path) -> None:
    data = report_data(tmp_path / "results", suite=user_suite(3, label='<b onload="x">&amp; row'), seeds=2)
    page = render_report(data, tmp_path / "report")[-1].read_text(encoding="utf-8")
    assert "<b onload" not in page
    assert "&lt;b onload=&#34;x&#34;&gt;&amp;amp; row 1" in page


def test_every_row_has_its_seeds_even_where_labels_are_the_same(tmp_path: Path) -> None:
    suite = user_suite(3)
    twins = replace(suite, variants=(suite.variants[0], *(replace(one, label="twin") for one in suite.variants[1:])))
    data = report_data(tmp_path, suite=twins, seeds=2)
    page = page_of(data)
    for run in data.runs.to_dict("records"):
        assert f"{run['valid_ppl']:.2f} / {run['test_ppl']:.2f}" in page


def test_nothing_is_said_of_a_paper_where_nothing_is_published(tmp_path: Path) -> None:
    suite = user_suite(3)
    hypotheses = Hypotheses("my notes", (Hypothesis("worse", "v1 is worse", ("v1",), more_than=0),))
    page = page_of(report_data(tmp_path, suite=suite, hypotheses=hypotheses))
    assert "What is claimed, at this scale" in page
    words = " ".join(" ".join(Page(page).words).split())
    for wrong in ("the full model", "What the paper concludes", "paper's own"):
        assert wrong not in words


def test_curves_say_of_which_beginning_they_are(demo: Any, text: str) -> None:
    assert "first tokens of the split" not in text
    configs = demo.runs["config"].map(lambda config: config if config is None else short(config), na_action="ignore")
    page = page_of(replace(demo, runs=demo.runs.assign(config=configs)))
    assert "Epochs are validated on the first tokens of the split only: Python docs 1,500." in page


def short(config: str) -> str:
    read = json.loads(config)
    read["corpus"]["valid_tokens"] = 1500
    return json.dumps(read)


def test_colours_follow_the_readers_scheme(text: str) -> None:
    figures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(figures) == 5
    for figure in figures:
        assert not re.findall(r"#[0-9a-fA-F]{6}\b", figure), "only the page's own colours"
        assert "var(--ink)" in figure


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: the page is not looked at in a browser")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1060])
def test_it_renders_in_a_browser(browser: Any, rendered: list[Path], width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    told: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(rendered[-1].as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert not told
    assert [url for url in requests if not url.startswith("data:")] == [rendered[-1].as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    background, ink = (
        sum(map(int, re.findall(r"\d+", page.evaluate(f"getComputedStyle(document.body).{name}"))[:3]))
        for name in ("backgroundColor", "color")
    )
    assert (background > ink) == (scheme == "light")
    # the smallest type in a figure has 6.5 points (tests/ablations/reporting/test_figures.py): here, 10 pixels
    assert min(page.evaluate(_PIXELS_A_POINT)) * 6.5 >= 10
    context.close()


@pytest.mark.parametrize(("width", "tables"), [(360, ".wide"), (480, ".wide:has(.brief)"), (1280, ".wide")])
def test_published_tables_are_seen_without_scrolling(browser: Any, width: int, tables: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto((ROOT / "reports" / "reference" / "small" / "index.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    hidden = page.evaluate(_HIDDEN_TO_THE_RIGHT, tables)
    assert hidden
    assert max(hidden) <= 0
    rows = page.evaluate("Array.from(document.querySelectorAll('tr')).map(one => getComputedStyle(one).display)")
    assert set(rows) == {"table-row"} if width >= 480 else "block" in rows
    page.close()


def test_the_first_table_has_few_columns_and_the_rest_is_disclosed(text: str) -> None:
    main = text[text.index("<main>") :]
    heads = re.findall(r"<thead>.*?</thead>", main, re.DOTALL)
    assert re.findall(r"<th scope[^>]*>(.*?)</th>", heads[0]) == [
        "variant",
        "test perplexity",
        "ours, % [95%]",
        "paper, %",
    ]
    shown = re.sub(r"<details>.*?</details>", "", main, flags=re.DOTALL)
    assert len(re.findall("<table", shown)) == 1
    assert '<th scope="col">100 Δ log valid</th>' in main


def test_published_pages_are_small() -> None:
    for profile in ("demo", "small"):
        assert (ROOT / "reports" / "reference" / profile / "index.html").stat().st_size < 400_000


_HIDDEN_TO_THE_RIGHT = """
chosen => Array.from(document.querySelectorAll(chosen)).map(one => one.scrollWidth - one.clientWidth)
"""
_PIXELS_A_POINT = """
Array.from(document.querySelectorAll('svg')).map(one => one.getBoundingClientRect().width / one.viewBox.baseVal.width)
"""
