"""Several scales as a table, as files, as a figure and on the page."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from rich.console import Console

from ablations.analysis.ladder import Ladder
from ablations.reporting.figures import NARROW, draw_ladder, styled
from ablations.reporting.figures.style import WIDTH
from ablations.reporting.ladder import (
    EXTRAPOLATION,
    LINE,
    ladder_csv,
    ladder_folder,
    ladder_markdown,
    ladder_rows,
    ladder_terminal,
    render_ladder,
    share_text,
)
from ablations.reporting.render import render_report
from awd.errors import InputError
from tests.ablations.conftest import CommandLine
from tests.ablations.reporting.ladders import SUITE, four_rungs, growing, ladder_of, record, rung
from tests.ablations.reporting.synthetic import report_data, user_suite

REFERENCE = Path(__file__).resolve().parents[3] / "results" / "reference"


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> Ladder:
    root = tmp_path_factory.mktemp("rungs")
    return ladder_of(root, four_rungs(root))


@pytest.fixture(scope="module")
def figure(ladder: Ladder) -> Figure:
    with styled():
        return draw_ladder(ladder)


def panels(figure: Figure, label: str) -> list[Axes]:
    """Penn Treebank's, then WikiText-2's."""
    return [axes for axes in figure.axes if axes.get_title(loc="left") == label]


def points(axes: Axes, label: str) -> np.ndarray:
    (line,) = [line for line in axes.get_lines() if line.get_label() == label]
    return np.column_stack(line.get_data())


def test_shares_are_written_plainly() -> None:
    written = [share_text(share) for share in (1.0, 0.999, 0.03, 0.00044, 1e-7)]
    assert written == ["100%", "100%", "3%", "0.044%", "0.00001%"]


def test_the_table_has_a_column_a_rung_the_papers_and_the_lines(ladder: Ladder) -> None:
    rows = ladder_rows(ladder, "ptb")
    assert list(rows.columns) == [
        *("variant", "demo (Python docs) 0.044%", "small 0.11%", "long 0.4%", "medium 3%", "paper 100%", LINE)
    ]
    assert rows["variant"].tolist() == [variant.label for variant in SUITE.variants[1:]]
    row = ladder.rows.iloc[0]
    assert rows[LINE][0].startswith(f"{100 * row['at_full']:+.1f} [")
    assert rows["paper 100%"].tolist()[-1] == "+17.0"


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_table_is_whole_at_any_width(ladder: Ladder, width: int) -> None:
    written = io.StringIO()
    Console(file=written, width=width).print(ladder_terminal(ladder, width))
    words = written.getvalue().split()
    for dataset in ladder.datasets:
        for cell in ladder_rows(ladder, dataset).drop(columns="variant").to_numpy().ravel():
            assert set(cell.split()) <= set(words), cell
    assert " ".join(EXTRAPOLATION.split()) in " ".join(words)
    assert max(map(len, written.getvalue().splitlines())) <= width


def test_markdown_says_what_is_an_extrapolation_and_what_another_text(ladder: Ladder) -> None:
    text = ladder_markdown(replace(ladder, notes=("long is left out of WikiText-2: no finished run.",)))
    assert "It is an extrapolation over orders of magnitude, and no measurement." in text
    assert "demo is not on WikiText-2, but on Python docs: it is in no line." in text
    assert "- long is left out of WikiText-2: no finished run." in text
    assert text.count("| variant ") == 2


def test_the_csv_holds_every_number_with_ten_digits(ladder: Ladder) -> None:
    table = pd.read_csv(io.StringIO(ladder_csv(ladder)))
    assert table["kind"].value_counts().to_dict() == {"rung": 2 * 4 * 8, "paper": 16, "line": 16}
    found = table[table["kind"].eq("rung")].set_index(["dataset", "variant", "profile"])
    for point in ladder.points.to_dict("records"):
        row = found.loc[(point["dataset"], point["variant"], point["profile"])]
        assert row["difference"] == pytest.approx(point["difference"], abs=1e-9)
        assert (row["low"], row["high"]) == (pytest.approx(point["low"]), pytest.approx(point["high"]))
    assert table.loc[table["kind"].ne("rung"), "share"].eq(1).all()
    # as another processor might have them
    nudged = replace(
        ladder,
        points=ladder.points.assign(
            difference=ladder.points["difference"] * (1 + 4e-16), low=ladder.points["low"] + 1e-17
        ),
    )
    assert ladder_csv(nudged) == ladder_csv(ladder)


def test_a_rung_that_lacks_a_row_leaves_a_dash(tmp_path: Path) -> None:
    small, grown = rung("small"), growing(0.2)
    record(tmp_path, small, 0.001, lambda spec: None if spec.variant == "no-ar-tar" else grown(spec))
    ladder = ladder_of(tmp_path, [small])
    rows = ladder_rows(ladder, "ptb").set_index("variant")
    assert rows.loc["– AR/TAR", "small 0.1%"] == "–"
    assert set(rows[LINE]) == {"–"}
    with styled():
        (axes,) = panels(draw_ladder(ladder), "– AR/TAR")
    assert [text.get_text() for text in axes.texts] == ["no run"]


def test_a_panel_shows_the_rungs_the_paper_and_the_line(figure: Figure, ladder: Ladder) -> None:
    for dataset, axes in zip(ladder.datasets, panels(figure, "– weight-dropping"), strict=True):
        of_row = ladder.points[ladder.points["dataset"].eq(dataset) & ladder.points["variant"].eq("no-weight-drop")]
        own = of_row[of_row["own_text"].eq(True)]
        row = ladder.rows.set_index(["dataset", "variant"]).loc[(dataset, "no-weight-drop")]
        assert points(axes, "ours") == pytest.approx(np.column_stack([own["share"], 100 * own["difference"]]))
        assert len(points(axes, "other")) == 1
        assert points(axes, "paper").tolist() == [[1, pytest.approx(100 * row["published"])]]
        first, last = points(axes, "line")
        assert last.tolist() == [1, pytest.approx(100 * row["at_full"])]
        assert first[0] == own["share"].min()
        assert axes.get_xscale() == "log"


def test_all_panels_have_the_same_axes_and_every_point_lies_within(figure: Figure, ladder: Ladder) -> None:
    visible = [axes for axes in figure.axes if axes.get_visible()]
    assert len(visible) == 16
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in visible}) == 1
    (left, right), (low, high) = visible[0].get_xlim(), visible[0].get_ylim()
    values = 100 * pd.concat([ladder.points["difference"], ladder.rows["published"]])
    assert values.between(low, high).all()
    assert ladder.rungs["share"].between(left, right).all()
    assert right > 1


def test_another_text_is_told_in_the_key_and_rungs_in_the_heading(figure: Figure) -> None:
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "ours on another text (Python docs)" in told
    headings = [" ".join(block.get_suptitle().split()) for block in figure.subfigs]
    assert headings[0] == "Penn Treebank: demo 0.044%, small 0.11%, long 0.4%, medium 3%"


@pytest.mark.parametrize("width", [NARROW, WIDTH])
def test_no_type_is_smaller_than_can_be_read(ladder: Ladder, width: float) -> None:
    with styled(width):
        drawn = draw_ladder(ladder)
    assert min(text.get_fontsize() for text in drawn.findobj(Text) if text.get_text()) >= 6.5


def test_a_suite_without_published_numbers_has_no_paper(tmp_path: Path) -> None:
    small = rung("small")
    record(tmp_path, small, 0.001, growing(0.1))
    ladder = ladder_of(tmp_path, [small], ["ptb"])
    unpublished = replace(ladder, rows=ladder.rows.assign(published=np.nan))
    assert not any("paper" in column for column in ladder_rows(unpublished, "ptb").columns)
    with styled():
        drawn = draw_ladder(unpublished)
    assert "paper" not in {line.get_label() for axes in drawn.axes for line in axes.get_lines()}


def test_files_are_the_same_bytes_each_time(ladder: Ladder, tmp_path: Path) -> None:
    first, second = (render_ladder(ladder.only(["ptb"]), tmp_path / name) for name in ("a", "b"))
    assert sorted(path.name for path in first) == ["ladder.csv", "ladder.md", "ladder.pdf", "ladder.png"]
    assert sorted((tmp_path / "a").iterdir()) == sorted(first)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_folder_that_cannot_be_written_is_one_clear_message(ladder: Ladder, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(InputError, match="taken: the ladder cannot be written there"):
        render_ladder(ladder, tmp_path / "taken")


def test_another_suite_has_a_folder_of_its_own(ladder: Ladder, tmp_path: Path) -> None:
    assert ladder_folder(ladder, tmp_path) == tmp_path / "ladder"
    assert ladder_folder(replace(ladder, suite=replace(SUITE, name="my/own")), tmp_path) == tmp_path / "ladder-my-own"


def test_the_page_shows_it_and_no_other_file(rendered: list[Path], ladder: Ladder, tmp_path: Path) -> None:
    data = report_data(tmp_path / "results", suite=user_suite(2), seeds=1)
    paths = render_report(data, tmp_path / "report", ladder=ladder.only(["ptb"]))
    assert not [path.name for path in paths if "ladder" in path.name]
    page = paths[-1].read_text(encoding="utf-8")
    assert "<h3>How each effect grows with scale</h3><svg" in page
    assert "an extrapolation over orders of magnitude, and no measurement" in page
    assert "figure-ladder" not in rendered[-1].read_text(encoding="utf-8")


def test_the_command_draws_the_published_runs(cli: CommandLine, tmp_path: Path) -> None:
    done = cli("ladder", "--results", REFERENCE, "--reports", "S", "--profiles", "demo,small,paper")
    assert done.returncode == 0, done.stderr
    assert "Penn Treebank" in done.stdout
    assert "WikiText-2" in done.stdout
    assert "+17.0" in done.stdout
    assert "paper is left out of Penn Treebank and WikiText-2: no finished run." in done.stdout
    assert {path.name for path in (tmp_path / "S" / "ladder").iterdir()} == {
        f"ladder.{suffix}" for suffix in ("png", "pdf", "md", "csv")
    }
    table = pd.read_csv(tmp_path / "S" / "ladder" / "ladder.csv")
    small = table[table["profile"].eq("small") & table["dataset"].eq("ptb")]
    # 36 + 6 epochs of 30,000 words, of 1,250 of 929,589
    assert small["share"].unique() == pytest.approx([1_259_160 / (929_589 * 1250)])


def test_what_cannot_be_is_one_line_and_code_2(cli: CommandLine) -> None:
    for arguments, message in (
        (["--profiles", "demo,smal"], "unknown profile 'smal'; did you mean 'small'?"),
        (["--results", "nothing"], "nothing: no finished pair of runs of suite table5"),
    ):
        done = cli("ladder", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
