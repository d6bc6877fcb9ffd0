"""Figures draw what the frame holds: checked on the drawn data, not on pixels."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from ablations import figures as single
from ablations.analysis.comparison import Comparison
from ablations.analysis.statistics import seed_differences
from ablations.analysis.training_curves import best_so_far_differences, mean_differences
from ablations.reporting.figures import NARROW, as_svg, draw
from ablations.reporting.figures.curves import mean_curve, range_of_seeds, with_steps
from ablations.reporting.figures.style import WIDTH, shown_labels
from tests.ablations.reporting.synthetic import report_data, user_suite


@pytest.fixture(scope="module")
def figures(demo):
    return draw(demo)


@pytest.fixture(scope="module")
def papers(paper):
    return draw(paper)


@pytest.fixture(scope="module")
def narrow(demo):
    return draw(demo, NARROW)


def lines(axes, label):
    """The data of every line of that label, missing values left out."""
    found = [np.column_stack(line.get_data()) for line in axes.get_lines() if line.get_label() == label]
    return [data[np.isfinite(data.astype(float)).all(axis=1)] for data in found]


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def panel(figure, label):
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == label)


def test_the_differences_show_every_seed_the_mean_and_the_paper(figures, demo):
    axes = figures["differences"].axes[0]
    frame = demo.frame.set_index("variant")
    (ours,), (paper,), (seeds,) = lines(axes, "ours"), lines(axes, "paper"), lines(axes, "seeds")
    assert len(ours) == 6  # eight rows, one diverged, one missing
    assert len(paper) == 8
    assert len(seeds) == frame["pairs"].sum() == 16
    assert sorted(ours[:, 0]) == pytest.approx(sorted(100 * frame["valid_log_difference"].dropna()))
    assert sorted(paper[:, 0]) == pytest.approx(sorted(100 * frame["published_valid_log_difference"].dropna()))


def test_rows_of_the_differences_are_in_the_papers_order(figures):
    axes = figures["differences"].axes[0]
    named = [label.get_text() for label in axes.get_yticklabels()]
    assert named[:3] == ["– weight-dropping", "– full sized embedding", "– NT-ASGD"]
    (paper,) = lines(axes, "paper")
    by_height = paper[np.argsort(-paper[:, 1]), 0]
    assert list(by_height) == sorted(by_height, reverse=True)


def test_rows_without_a_result_say_why(figures):
    assert sorted(texts(figures["differences"])) == ["diverged", "missing"]
    assert sorted(texts(figures["curves"])) == ["diverged", "missing"]


def test_an_interval_of_two_seeds_is_cut_with_an_arrow(tmp_path):
    axes = single.differences(report_data(tmp_path, seeds=2)).axes[0]
    arrows = [line for line in axes.get_lines() if line.get_marker() in ("<", ">")]
    assert arrows
    (seeds,) = lines(axes, "seeds")
    low, high = axes.get_xlim()
    assert low < seeds[:, 0].min() < seeds[:, 0].max() < high < 40


def test_a_single_seed_is_drawn_once(tmp_path):
    axes = single.differences(report_data(tmp_path, seeds=1)).axes[0]
    assert len(lines(axes, "ours")[0]) == 8
    assert lines(axes, "seeds") == []


def test_small_runs_say_so_in_every_figure(figures, papers):
    for figure in figures.values():
        titles = [axes.get_title(loc="left") for axes in figure.axes]
        titles += [block.get_suptitle() for block in figure.subfigs]
        assert any("scaled down (demo)" in title for title in titles)
    assert "scaled down" not in " ".join(axes.get_title(loc="left") for axes in papers["ranks"].axes)


def test_the_curves_have_a_panel_a_variant_with_all_seeds_and_their_mean(figures, demo):
    visible = [axes for axes in figures["curves"].axes if axes.get_visible()]
    assert len(visible) == 8
    axes = panel(figures["curves"], "– weight-dropping")
    assert len(lines(axes, "seed")) == 6  # three of the full model
    full, ours = lines(axes, "mean")
    assert axes.get_yscale() == "log"
    epochs = demo.epochs[demo.epochs["variant"].eq("no-weight-drop")]
    last = epochs[epochs["phase"].eq("finetune") & epochs["epoch"].eq(12)]
    assert ours[-1].tolist() == pytest.approx([36, last["valid_ppl"].mean()])
    assert len(full) == 36


def test_the_curves_mark_where_averaging_starts(figures, demo):
    axes = panel(figures["curves"], "– weight-dropping")
    started = demo.runs.loc[demo.runs["variant"].eq("no-weight-drop"), "averaging_started"]
    marks = [data[0, 0] for data in lines(axes, "averaging")]
    assert sorted(marks) == sorted(started + 0.5)
    assert lines(panel(figures["curves"], "– NT-ASGD"), "averaging") == []


def test_a_mean_ends_where_the_first_seed_ends(demo):
    epochs = with_steps(demo)
    full = epochs[epochs["variant"].eq("full")]
    shortened = full[~(full["seed"].eq(2) & full["step"].gt(30))]
    assert mean_curve(shortened).index.tolist() == list(range(1, 31))
    assert mean_curve(epochs[epochs["variant"].eq("no-ntasgd")]).empty  # all diverged


def test_the_differences_while_training_end_where_the_table_is(figures, demo):
    # in these runs a final perplexity is the best of the epochs
    frame = demo.frame.set_index("variant")
    axes = panel(figures["training"], "– weight-dropping")
    (mean,) = lines(axes, "mean")
    assert mean[0, 0] == 0.04
    assert mean[-1].tolist() == pytest.approx([36 * 0.04, 100 * frame.loc["no-weight-drop", "valid_log_difference"]])
    (band,) = [part for part in axes.collections if part.get_label() == "interval"]
    last = [y for x, y in band.get_paths()[0].vertices if x == pytest.approx(36 * 0.04)]
    low, high = (100 * frame.loc["no-weight-drop", f"valid_log_{side}"] for side in ("low", "high"))
    assert (min(last), max(last)) == pytest.approx((low, high))


def test_a_difference_while_training_is_thick_where_its_interval_leaves_out_0(figures, demo):
    epochs = with_steps(demo)
    found = mean_differences(best_so_far_differences(epochs[epochs["status"].eq("done")], "full"))
    of_row = found[found["variant"].eq("full-size-embedding")]
    sure = of_row[of_row["low"].gt(0) | of_row["high"].lt(0)]
    (thick,) = lines(panel(figures["training"], "– full sized embedding"), "not 0")
    assert 0 < len(sure) < len(of_row)
    assert thick[:, 0].tolist() == pytest.approx((sure["tokens"] / 1e6).tolist())


def test_training_marks_averaging_and_fine_tuning_by_tokens(figures, demo):
    axes = panel(figures["training"], "– weight-dropping")
    started = demo.runs.loc[demo.runs["variant"].eq("no-weight-drop"), "averaging_started"]
    assert sorted(data[0, 0] for data in lines(axes, "averaging")) == pytest.approx(sorted(0.04 * started))
    assert [data[0, 0] for data in lines(axes, "fine-tuning")] == pytest.approx([24 * 0.04])
    assert lines(panel(figures["training"], "– fine-tuning"), "fine-tuning") == []


def test_the_panels_of_training_have_one_scale_set_by_the_later_part(tmp_path):
    data = report_data(tmp_path, datasets=["ptb", "wikitext-2"])
    steep = data.epochs["variant"].eq("no-weight-drop") & data.epochs["epoch"].le(3) & data.epochs["phase"].eq("train")
    epochs = data.epochs.assign(valid_ppl=data.epochs["valid_ppl"].mask(steep, 1e6))
    axes = single.training(replace(data, epochs=epochs)).axes
    assert len({panel.get_ylim() for panel in axes}) == 1
    low, high = axes[0].get_ylim()
    assert low < 0 < high < 40


def test_0_is_in_sight_where_every_interval_leaves_it_out(tmp_path):
    data = report_data(tmp_path, suite=user_suite(2))
    far = data.epochs["variant"].eq("v1")
    axes = single.training(replace(data, epochs=data.epochs.assign(valid_ppl=np.where(far, 200.0, 100.0)))).axes[0]
    low, high = axes.get_ylim()
    assert low <= -1
    assert high >= 100 * np.log(2)


def test_training_of_one_seed_has_no_interval(papers):
    figure = papers["training"]
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named[0] == "one seed"
    assert not any("interval" in name for name in named)
    assert lines(panel(figure, "– weight-dropping"), "not 0")[0].size == 0


def test_training_says_why_a_panel_is_empty(figures, tmp_path):
    assert sorted(texts(figures["training"])) == ["diverged", "missing"]
    lone = single.training(report_data(tmp_path, seeds=2, without=[("full", 2), ("no-ntasgd", 1)]))
    assert texts(lone) == ["no pair"]


def test_long_runs_are_drawn_with_few_places(demo):
    many = pd.concat([demo.epochs.assign(epoch=demo.epochs["epoch"] + 100 * n) for n in range(12)])
    (mean,) = lines(panel(single.training(replace(demo, epochs=many)), "– weight-dropping"), "mean")
    assert len(mean) <= 200
    assert mean[-1, 0] == pytest.approx(12 * 36 * 0.04)


def test_the_slopes_join_both_orders(figures, demo):
    axes = figures["ranks"].axes[0]
    slopes = [np.asarray(line.get_ydata()) for line in axes.get_lines()]
    assert len(slopes) == 6
    assert sorted(slope[0] for slope in slopes) == sorted(slope[1] for slope in slopes) == [1, 2, 3, 4, 5, 6]
    assert "Spearman ρ = 0." in axes.get_title(loc="left")
    assert "6 rows" in axes.get_title(loc="left")


def test_two_data_sets_have_a_panel_each(papers):
    found = papers
    assert len(found["differences"].axes) == len(found["ranks"].axes) == 2
    assert len(found["curves"].subfigs) == 2
    above, below = found["differences"].axes
    assert above.get_xlim() == below.get_xlim(), "changes of two data sets are compared"


@pytest.mark.parametrize("variants", [2, 12])
def test_suites_of_the_users_own_are_drawn_without_ranks(tmp_path, variants):
    data = report_data(tmp_path, suite=user_suite(variants, "– costs $5 & more, with a really very long name"), seeds=2)
    found = draw(data)
    assert list(found) == ["differences", "curves", "training", "pairs"]
    (ours,) = lines(found["differences"].axes[0], "ours")
    assert len(ours) == variants - 1


@pytest.mark.parametrize("status", [None, "failed"])
def test_a_data_set_without_a_finished_run_has_no_block(tmp_path, status):
    data = report_data(tmp_path, datasets=["ptb", "wikitext-2"], seeds=2)
    runs = data.runs.assign(status=data.runs["status"].mask(data.runs["dataset"].eq("wikitext-2"), status))
    found = draw(replace(data, runs=runs))
    assert len(found["differences"].axes) == len(found["ranks"].axes) == 1
    assert [len(found[name].subfigs) for name in ("curves", "training", "pairs")] == [1, 1, 1]


def test_without_a_baseline_only_curves_are_left(tmp_path):
    data = report_data(tmp_path, without=[("full", 1)], seeds=1)
    assert list(draw(data)) == ["curves"]


def test_nothing_is_drawn_beyond_the_edges(figures, papers, tmp_path):
    wide = draw(report_data(tmp_path / "wide", suite=user_suite(4)))
    small = draw(report_data(tmp_path / "small", datasets=["ptb", "wikitext-2"]))
    for figure in [*figures.values(), *papers.values(), *wide.values(), *small.values()]:
        assert figure.get_figwidth() == WIDTH
        figure.draw_without_rendering()
        box = figure.get_tightbbox()  # inches
        assert box.x0 > -0.02
        assert box.x1 < WIDTH + 0.02
        assert box.y1 < figure.get_figheight() + 0.02


def test_pairs_are_log_perplexities_of_the_same_seed(figures, demo):
    pairs = seed_differences(demo.runs, "full")
    drawn = panel(figures["pairs"], "– full sized embedding")
    (points,) = lines(drawn, "seeds")
    expected = pairs.loc[pairs["variant"].eq("full-size-embedding"), ["valid_log_of_baseline", "valid_log"]]
    assert points == pytest.approx(expected.to_numpy())
    assert sorted(text.get_text() for text in drawn.texts) == ["1", "2", "3"]
    # one scale for both, on which every point lies
    (left, right), (low, high) = drawn.get_xlim(), drawn.get_ylim()
    assert right - left == pytest.approx(high - low)
    assert ((points > [left, low]) & (points < [right, high])).all()
    shown = {axes.get_title(loc="left") for axes in figures["pairs"].axes if axes.get_visible()}
    assert "– NT-ASGD" not in shown, "no run of it is finished"


def test_one_seed_has_no_pairs_to_show(papers):
    assert "pairs" not in papers


def test_the_range_of_seeds_lies_behind_their_curves(figures, demo):
    epochs = with_steps(demo)
    of_row = epochs[epochs["dataset"].eq("python-docs") & epochs["variant"].eq("full")]
    band = range_of_seeds(of_row)
    table = of_row.pivot(index="step", columns="seed", values="valid_ppl").dropna()
    assert band["min"].tolist() == table.min(axis=1).tolist()
    assert band["max"].tolist() == table.max(axis=1).tolist()
    shaded = [part for part in panel(figures["curves"], "– weight-dropping").collections if part.get_label() == "range"]
    assert len(shaded) == 2, "the full model's and the row's"


def test_no_type_is_smaller_than_can_be_read(figures, narrow):
    for name, figure in [*figures.items(), *narrow.items()]:
        smallest = min(text.get_fontsize() for text in figure.findobj(Text) if text.get_text())
        assert smallest >= 6.5, name


def test_a_figure_is_the_same_text_each_time(demo):
    # whole reports are compared in test_render
    first, second = (as_svg(single.differences(demo, NARROW), "differences", "What") for _ in range(2))
    assert first == second
    assert first.startswith("<svg")


def test_the_places_of_an_svg_are_short_and_where_they_were(demo):
    figure = single.training(demo, NARROW)
    text = as_svg(figure, "training", "When")
    assert not re.search(r' (?:d|x|y)="[^"]*\d\.\d{2,}', text)
    # the line of every panel at 0 begins where its axis does
    (left, _), (_, bottom) = figure.axes[0].transAxes.transform([(0, 0), (1, 0)]) * 72 / figure.dpi
    height = figure.get_figheight() * 72
    zero = figure.axes[0].transData.transform((0, 0))[1] * 72 / figure.dpi
    begins = [tuple(map(float, place)) for place in re.findall(r'd="M([\d.]+) ([\d.]+)l', text)]
    assert any(abs(x - left) < 0.06 and abs(y - (height - zero)) < 0.06 for x, y in begins)
    assert bottom < zero


def close_together(data: Comparison, factor: float) -> Comparison:
    """The same with every perplexity this much nearer to one value."""
    names = ["valid_ppl", "test_ppl"]
    runs, epochs = (
        frame.assign(**{name: 12_345.6 + factor * (frame[name] - 120) for name in names if name in frame})
        for frame in (data.runs, data.epochs)
    )
    return replace(data, runs=runs, epochs=epochs)


@pytest.mark.parametrize("factor", [1e-4, 0.03, 1.0])
def test_tick_labels_tell_their_ticks_apart_and_never_touch(demo: Comparison, factor: float) -> None:
    for name, figure in draw(close_together(demo, factor), NARROW).items():
        figure.draw_without_rendering()
        for axes in filter(lambda one: one.get_visible() and one.axison, figure.axes):
            for axis in (axes.xaxis, axes.yaxis):
                labels = shown_labels(axis)
                assert all(after[1] > before[2] for before, after in pairwise(labels)), name
                low, high = sorted(axis.get_view_interval())
                texts = [tick.label1.get_text() for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                assert len(set(texts)) == len(texts), (name, texts)


@pytest.mark.parametrize(
    "label", ["_x_ costs $5 & $6^2$ [a](b) <b> \\frac", "中文 \N{GRINNING FACE} Ü\x1b[31m", "_" * 90]
)
def test_labels_are_drawn_as_they_are_without_a_warning(tmp_path: Path, label: str) -> None:
    data = report_data(tmp_path, suite=user_suite(3, label), seeds=2)
    base = replace(data.suite.variants[0], label=label)
    data = replace(data, suite=replace(data.suite, variants=(base, *data.suite.variants[1:])))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures = draw(data)
        for figure in figures.values():
            svg = as_svg(figure, "one", "One")
            ElementTree.fromstring(svg)
    words = "".join(text.get_text() for text in figures["curves"].findobj(Text))
    assert "$5&$6^2$[a](b)<b>" in "".join(words.split()) or "$" not in label
    assert figures["curves"].legends[0].get_texts()[0].get_text().startswith("in black: ")
    assert ("▯" in words) == ("中" in label)
