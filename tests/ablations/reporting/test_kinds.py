"""What a report shows of each kind of suite, checked on what was drawn and written."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.patches import Rectangle

from ablations import figures
from ablations.analysis.comparison import Comparison
from ablations.analysis.contrasts import difference, interaction, log_perplexities
from ablations.experiment.kinds import KINDS, Buildup, Pairs
from ablations.experiment.suite import load_suite
from ablations.reporting import kinds
from ablations.reporting.render import render_report
from ablations.reporting.tables import brief_rows, markdown_page
from tests.ablations.reporting.synthetic import report_data

Data = Callable[[str], Comparison]
LEADING = {
    "buildup": "staircase",
    "pairs": "interactions",
    "widths": "responses",
    "optimizers": "differences",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    made: dict[str, Comparison] = {}

    def of(suite: str) -> Comparison:
        if suite not in made:
            made[suite] = report_data(tmp_path_factory.mktemp(suite), suite=load_suite(suite), seeds=3)
        return made[suite]

    return of


def test_every_kind_has_a_report() -> None:
    assert set(kinds._KINDS) == set(KINDS)


@pytest.mark.parametrize("suite", LEADING)
def test_a_report_has_its_kinds_figure(data: Data, tmp_path: Path, suite: str) -> None:
    first = {path.name: path.read_bytes() for path in render_report(data(suite), tmp_path / "first")}
    assert f"{LEADING[suite]}.png" in first
    page = first["index.html"].decode()
    assert page.index("<svg") < page.index('id="detail-1"')  # it leads


@pytest.mark.slow
@pytest.mark.parametrize("suite", LEADING)
def test_its_report_is_the_same_bytes_again(data: Data, tmp_path: Path, suite: str) -> None:
    for first, second in zip(*(render_report(data(suite), tmp_path / name) for name in "ab"), strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_the_stairs_go_through_every_step_and_each_part_alone_is_beside(data: Data) -> None:
    buildup = data("buildup")
    assert isinstance(buildup.suite.layout, Buildup)
    logs, steps = log_perplexities(buildup, "python-docs"), buildup.suite.layout.steps
    (axes,) = figures.staircase(buildup).axes
    by_label = {line.get_label(): line for line in axes.get_lines()}
    together = [100 * difference(logs, step.cumulative, "nothing", "t").mean for step in steps]
    alone = [100 * difference(logs, step.alone, "nothing", "t").mean for step in steps]
    assert by_label["together"].get_xdata() == pytest.approx(together)
    assert by_label["stairs"].get_xdata() == pytest.approx([0, *together])
    assert by_label["alone"].get_xdata() == pytest.approx(alone)
    assert [label.get_text().replace("\n", " ") for label in axes.get_yticklabels()][-1] == "+ fine-tuning"


def test_a_cell_of_the_heatmap_says_its_interaction_and_whether_it_is_decided_without_colour(data: Data) -> None:
    pairs = data("pairs")
    assert isinstance(pairs.suite.layout, Pairs)
    logs = log_perplexities(pairs, "python-docs")
    (axes,) = figures.interactions(pairs).axes
    written = {tuple(np.floor(text.get_position()).astype(int)): text for text in axes.texts}
    names = [variant.name for variant in pairs.suite.variants][1:9]
    decided = 0
    for (one, other), both in pairs.suite.layout.both.items():
        cell = interaction(logs, both, one, other, "full", "t")
        text = written[names.index(one), names.index(other)]
        assert float(text.get_text().replace("−", "-")) == pytest.approx(100 * cell.mean, abs=0.51)
        assert (text.get_weight() == "bold") == cell.decided
        assert (text.get_style() == "italic") == (not cell.decided)
        decided += cell.decided
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_linewidth() > 0.7]
    assert 0 < decided == len(frames) < 28
    assert len(written) == 28 + 8  # and each removal alone


def test_a_response_has_a_panel_per_field_or_per_row_and_marks_the_profiles_own_value(data: Data) -> None:
    for suite, panels, own in (("strengths", 8, 0.1), ("widths", 3, 1150)):
        shown = [axes for axes in figures.responses(data(suite)).axes if axes.get_visible()]
        assert len(shown) == panels
        for axes in shown:
            lines = {line.get_label(): line for line in axes.get_lines()}
            assert len(lines["response"].get_xdata()) == (5 if suite == "strengths" else 4)
            assert len(lines["own"].get_xdata()) == 1
            assert axes.collections  # the band
        assert {line.get_label(): line for line in shown[0].get_lines()}["own"].get_xdata()[0] == own


def test_values_that_are_no_numbers_stand_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("name: s\ntitle: t\nkind: sweep\nsweep: {model.tie_weights: [false]}\n", encoding="utf-8")
    figure = figures.responses(report_data(tmp_path / "store", suite=load_suite(str(path)), seeds=2))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["false", "true"]


def test_choices_are_in_the_order_of_their_validation(data: Data) -> None:
    optimizers = data("optimizers")
    frame = optimizers.frame.sort_values("valid_mean")
    labels = [re.sub(" †$", "", label) for label in brief_rows(optimizers, "python-docs")["variant"]]
    assert labels == list(frame["label"])


@pytest.mark.parametrize(
    ("suite", "heading", "rows"),
    [("buildup", "What each part adds", 8), ("pairs", "Interactions", 28), ("widths", "Differences to", 12)],
)
def test_a_kinds_own_table_has_its_intervals(data: Data, suite: str, heading: str, rows: int) -> None:
    (found,) = kinds.more_tables(data(suite), "python-docs").items()
    assert found[0].startswith(heading)
    assert len(found[1]) == rows
    assert found[1].iloc[1, -1].count("[") == 1
    assert found[0].split(" (")[0] in markdown_page(data(suite))


@pytest.mark.parametrize("suite", ["buildup", "pairs", "widths"])
def test_a_report_of_few_runs_leaves_out_what_it_cannot_draw(tmp_path: Path, suite: str) -> None:
    plan = load_suite(suite)
    missing = [(variant.name, 1) for variant in plan.variants if variant.name != plan.baseline]
    report = report_data(tmp_path / "store", suite=plan, seeds=1, without=missing)
    names = {path.name for path in render_report(report, tmp_path / "report")}
    assert names == {f"{suite}.md", f"{suite}.csv", f"{suite}.tex", "index.html"}
