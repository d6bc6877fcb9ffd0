"""Tables hold what the runs gave, keep rows without a result, and never set a small run against the paper's numbers."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from ablations.experiment.suite import Suite, Variant
from ablations.reporting.formats import count, latex, markdown, number
from ablations.reporting.tables import csv_text, latex_text, markdown_page, table_rows, terminal_table, training_rows
from awd.corpus import corpus_identity
from tests.ablations.reporting.synthetic import report_data, stale_runs, user_suite


def rows_of(data, dataset="python-docs"):
    """The cells by label, without the mark of rows whose training had not ended."""
    rows = table_rows(data, dataset).set_index("variant")
    return rows.set_axis(rows.index.str.removesuffix(" †"))


def terminal_text(data, width=80):
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal_table(data))
    return console.file.getvalue()


def test_rows_are_the_suites_in_its_order(demo):
    assert list(rows_of(demo).index) == [variant.label for variant in demo.suite.variants]


def test_cells_are_the_means_of_the_finished_runs(demo):
    row = rows_of(demo).loc["– weight-dropping"]
    runs = demo.runs[demo.runs["variant"].eq("no-weight-drop")]
    assert row["valid"] == f"{runs['valid_ppl'].mean():.2f} ± {runs['valid_ppl'].std():.2f}"
    assert row["n"] == "3"
    assert row["parameters"] == "351 k"
    assert re.fullmatch(r"\+\d+\.\d \[\+\d+\.\d, \+\d+\.\d\]", row["100 Δ log test"])
    assert row["paper 100 Δ log"] == "+17.0 / +18.4"


def test_a_row_without_a_result_stays_and_says_why(demo):
    rows = rows_of(demo)
    assert rows.loc["– NT-ASGD", ["n", "valid", "test", "Δ valid"]].tolist() == [
        "0 (3 diverged)",
        "diverged",
        "diverged",
        "–",
    ]
    assert rows.loc["– AR/TAR", ["n", "valid", "test", "parameters"]].tolist() == ["0 (3 missing)", "–", "–", "–"]
    assert rows.loc["– weight decay", "n"] == "2 (1 missing)"
    assert rows.loc["– fine-tuning", "n"] == "2 (1 failed)"


def test_a_single_run_has_neither_spread_nor_interval(paper):
    row = rows_of(paper, "ptb").loc["– weight-dropping"]
    assert re.fullmatch(r"\d+\.\d\d", row["valid"])
    assert re.fullmatch(r"\+\d+\.\d", row["100 Δ log valid"])


def test_perplexities_are_set_against_the_papers_only_at_the_papers_own_setting(paper, demo):
    assert "ours − paper" in rows_of(paper, "ptb")
    assert "ours − paper" not in rows_of(demo)
    assert not replace(paper, settings=("optimizer.learning_rate=20",)).comparable("ptb")
    assert not replace(paper, published=None).comparable("ptb")
    assert not replace(paper, profile=replace(paper.profile, title="mine")).comparable("ptb"), "a user's own profile"
    assert not replace(paper, runs=paper.runs.assign(corpus_sha256="f" * 64)).comparable("ptb"), "a folder named ptb"
    frame = paper.frame.set_index(["dataset", "variant"]).loc[("wikitext-2", "full")]
    assert frame["valid_minus_published"] == pytest.approx(frame["valid_mean"] - 68.6)
    assert demo.frame["valid_minus_published"].isna().all()


def test_a_corpus_that_the_paper_lacks_is_compared_with_its_first_column(paper, tmp_path):
    data = report_data(tmp_path, scale="paper", datasets=["python-docs"], seeds=1)
    frame = data.frame
    assert set(frame["published_dataset"]) == {"ptb"}
    assert frame["valid_minus_published"].isna().all()
    assert "the point of comparison for python-docs" in markdown_page(data)
    assert set(paper.frame["published_dataset"]) == {"ptb", "wikitext-2"}


@pytest.mark.parametrize("write", [markdown_page, latex_text, terminal_text])
def test_every_table_of_a_small_run_says_that_it_is_scaled_down(demo, paper, write):
    # the terminal breaks lines
    text = " ".join(write(demo).split())
    assert "Scaled-down run on python-docs, profile demo: not the paper's setting" in text
    assert "Scaled-down" not in write(paper)


def test_the_paper_profile_with_options_is_not_the_papers_setting(paper):
    page = markdown_page(replace(paper, settings=("optimizer.learning_rate=20",)))
    assert "The paper's profile with --set options in force on ptb: not the paper's setting" in page
    assert "ours − paper" not in page


@pytest.mark.parametrize("write", [markdown_page, latex_text])
def test_the_caption_says_what_was_run(demo, write):
    text = write(demo)
    for part in [
        "every row in minutes on a laptop",
        "3 seeds (1, 2, 3)",
        "model.hidden",
        "device cpu",
        "fp32",
        "2.13.0",
    ]:
        assert part in text
    assert f"{corpus_identity('python-docs')[:12]})" in text
    assert "The corpus is another machine's." in text
    assert "19 of 27 runs finished, 1 failed, 3 diverged, 4 missing." in text
    assert "Spearman" in text


def test_rows_are_sorted_into_worse_better_the_same_and_undecided(tmp_path):
    data = report_data(tmp_path, seeds=2)
    named = ["full", "no-finetuning", "no-ntasgd", "no-ar-tar", "no-weight-drop"]
    runs = data.runs[data.runs["variant"].isin(named)]
    # two seeds each: the same, far above, far below, and one of each
    for variant, values in (
        ("full", (50, 50)),
        ("no-finetuning", (50, 50)),
        ("no-ntasgd", (60, 61)),
        ("no-ar-tar", (40, 40.2)),
        ("no-weight-drop", (49, 51)),
    ):
        runs.loc[runs["variant"].eq(variant), "valid_ppl"] = values
    told = (
        "by each row's own interval: worse: – NT-ASGD; better: – AR/TAR; the same in every seed: – fine-tuning; "
        "undecided: – weight-dropping."
    )
    assert told in markdown_page(replace(data, runs=runs))
    assert told in " ".join(terminal_text(replace(data, runs=runs)).split())
    assert "own interval" not in markdown_page(replace(data, runs=runs[runs["seed"].eq(1)]))


def test_few_seeds_are_cautioned_about_where_they_are_few(tmp_path):
    data = report_data(tmp_path, datasets=["ptb", "wikitext-2"], seeds=5)
    few = data.runs["dataset"].eq("wikitext-2") & data.runs["seed"].gt(3)
    ptb, wikitext = markdown_page(replace(data, runs=data.runs[~few])).split("## WikiText-2")
    assert "4.3 standard errors to each side where there are 3 seeds" in wikitext
    assert "standard errors" not in ptb
    lost = data.runs["variant"].eq("no-ntasgd") & data.runs["seed"].gt(2)
    runs = data.runs.assign(status=data.runs["status"].mask(lost, "failed"))
    assert "12.7 standard errors to each side where there are 2 seeds" in markdown_page(replace(data, runs=runs))


def test_equal_seeds_are_counted(tmp_path):
    data = report_data(tmp_path)
    of_full = data.runs[data.runs["variant"].eq("full")].set_index("seed")["valid_ppl"]
    values = data.runs["valid_ppl"].mask(data.runs["variant"].eq("no-finetuning"), data.runs["seed"].map(of_full))
    rows = rows_of(replace(data, runs=data.runs.assign(valid_ppl=values)))
    assert rows.loc["– fine-tuning", "seeds worse, valid"] == "0/3 (3 equal)"


def test_a_profile_says_how_its_strengths_were_chosen(tmp_path):
    data = report_data(tmp_path, seeds=1)
    tuned = replace(data, profile=replace(data.profile, strengths={"python-docs": "tuned by hand"}))
    assert "Strengths: tuned by hand." in markdown_page(tuned)
    assert "Strengths" not in markdown_page(data)


def test_what_a_table_took_is_not_said_to_be_of_a_model_that_is_not_there(tmp_path):
    data = report_data(tmp_path, seeds=1, without=[("full", 1), ("no-finetuning", 1)])
    page = markdown_page(data)
    assert "parameters: 351 k (– NT-ASGD)" in page
    assert "24 to 36 per run, of at most 36" in page
    assert "of the paper's training" not in page


def test_failed_runs_and_stale_ones_are_listed_and_long_lists_cut(demo):
    page = markdown_page(demo)
    assert "- python-docs no-ntasgd seed 1: diverged: loss not finite in phase train, epoch 10, step 3" in page
    assert "- python-docs no-finetuning seed 3: failed: OSError: disk full" in page
    assert "stale: 3 recorded runs of this profile belong to another configuration" in page
    page = markdown_page(replace(demo, stale=stale_runs(25)))
    assert "seed 19\n- and 5 more\n" in page
    assert "stale: 25 recorded runs" in terminal_text(demo).replace("3", "25")
    assert "stale" not in markdown_page(replace(demo, stale=stale_runs(0)))


def test_a_reference_stands_beside_when_there_is_one(demo, tmp_path):
    data = replace(demo, reference=report_data(tmp_path).runs)
    cell = rows_of(data).loc["– AR/TAR", "reference valid / test"]
    assert re.fullmatch(r"\d+\.\d\d / \d+\.\d\d", cell)
    assert "reference" in terminal_text(data, 120)
    assert not any("reference" in column for column in rows_of(demo).columns)


def test_the_csv_reads_back_to_eight_digits(demo, paper):
    for data in (demo, paper):
        read = pd.read_csv(io.StringIO(csv_text(data)))
        frame = data.frame
        assert len(read) == len(frame) == 9 * frame["dataset"].nunique()
        # a missing integer reads back as a missing number
        frame = frame.astype({name: float for name in frame.columns if frame[name].dtype == "Int64"})
        pd.testing.assert_frame_equal(read[frame.columns], frame, check_dtype=False, rtol=1e-7, atol=0)


@pytest.mark.parametrize("towards", [0, math.inf])
def test_the_csv_does_not_depend_on_last_bits(demo, towards):
    # another processor adds and takes logarithms in another way: a unit in the last place here or there
    columns = ["valid_ppl", "test_ppl"]
    odd = demo.runs["seed"].mod(2).eq(1)
    moved = demo.runs[columns].apply(lambda column: np.nextafter(column, towards))
    runs = demo.runs.assign(**{name: demo.runs[name].mask(odd, moved[name]) for name in columns})
    assert (runs.loc[odd, columns].dropna() != demo.runs.loc[odd, columns].dropna()).all(axis=None)
    assert csv_text(replace(demo, runs=runs)) == csv_text(demo)


def without_an_end(data, variant, runs):
    """The same data with ``runs`` seeds of a variant, and no other run, at their best in the last epoch."""
    last = data.epochs["epoch"].eq(12) & data.epochs["phase"].eq("finetune")
    first = data.epochs["epoch"].eq(1) & data.epochs["phase"].eq("finetune")
    late = last & data.epochs["variant"].eq(variant) & data.epochs["seed"].le(runs)
    epochs = data.epochs.assign(valid_ppl=data.epochs["valid_ppl"].mask(first, 20.0).mask(late, 19.0))
    return replace(data, epochs=epochs)


@pytest.mark.parametrize("write", [markdown_page, terminal_text, latex_text])
def test_rows_whose_training_had_not_ended_are_marked_and_named(tmp_path, write):
    suite = replace(user_suite(3), variants=user_suite(3, "Row").variants)
    drawn = report_data(tmp_path, suite=suite)
    data = without_an_end(drawn, "v1", 2)
    text = " ".join(write(data).split()).replace(r"$\dagger$", "†")
    assert "† Training had not ended in 2 of 3 runs of Row 1: their best epoch is in the last tenth." in text
    assert text.count("Row 1 †") == (2 if write is markdown_page else 1)  # in two tables, or in one
    assert "Row 2 †" not in text
    assert "†" not in write(without_an_end(drawn, "v1", 0)).replace(r"$\dagger$", "†")


def test_best_epochs_are_told_beside_how_many_were_trained(tmp_path):
    data = without_an_end(report_data(tmp_path, suite=user_suite(3, "Row")), "v1", 2)
    rows = training_rows(data, "python-docs").set_index("variant")
    # 25, the first of fine-tuning, or the last of all; from 20 to 19 twice, flat once
    change = number(100 * 2 / 3 * math.log(19 / 20))
    assert rows.loc["Row 1 †"].tolist() == ["36.0", "32.3", change, "2/3"]
    assert rows.loc["Row 2"].tolist() == ["36.0", "25.0", "0.00", "0/3"]
    assert rows.loc["Base"].tolist() == rows.loc["Row 2"].tolist()


def test_nothing_is_said_of_the_end_where_there_are_no_epochs(demo):
    data = replace(demo, epochs=demo.epochs.iloc[:0])
    assert "†" not in markdown_page(data)
    assert training_rows(data, "python-docs").empty


def test_markdown_has_a_narrow_and_a_whole_table_for_each_data_set(paper):
    page = markdown_page(paper)
    assert re.findall(r"^## .*$", page, re.MULTILINE) == ["## Penn Treebank", "## WikiText-2"]
    columns = [rule.count("|") - 1 for rule in re.findall(r"^\|:-.*$", page, re.MULTILINE)]
    assert columns == [4, 13, 4, 13]
    assert {line.count("|") - 1 for line in page.splitlines() if line.startswith("|")} == {4, 13}


def test_the_terminal_table_fits_eighty_columns(demo):
    text = terminal_text(demo)
    assert "351 k" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_labels_that_hold_special_characters_stay_in_their_cells(tmp_path):
    nasty = r"50% of a_b & {c} $d #1 ~ ^ \e <f> | g"
    suite = Suite("odd_name", 'What "100%" is', "base", (Variant("base", "Base"), Variant("v1", nasty)))
    data = report_data(tmp_path, suite=suite, seeds=1)
    table = [line for line in markdown_page(data).splitlines() if line.startswith("|")]
    # the narrow table has other columns than the whole one, and each is the same in all of its rows
    columns = [len(re.findall(r"(?<!\\)\|", line)) for line in table]
    assert len(table) == 8
    assert (len(set(columns[:4])), len(set(columns[4:]))) == (1, 1)
    assert nasty.split()[0] in terminal_text(data)
    text = latex_text(data)
    row = next(line for line in text.splitlines() if line.startswith(r"50\%"))
    assert row.count(" & ") == text.split("begin{tabular}{")[1].split("}")[0].count("r")
    assert "``100\\%''" in text
    assert unescaped(text) == []


def unescaped(text: str) -> list[str]:
    """Special characters that LaTeX would trip over, outside commands, arguments and mathematics."""
    for line in (body := text.splitlines()):
        assert line.isascii(), line
    cells = [line for line in body if line.endswith(r"\\")]
    caption = [line for line in body if line.startswith(r"\caption")]
    known = r"\$\\?[a-z-]+\$|\\text\w+\{\}|(?<=[-'])\{\}|\\[&%$#_{}]|"
    plain = re.sub(known + r"\\\\$| & |\\caption|", "", "\n".join(cells), flags=re.I | re.M)
    plain += re.sub(known + r"^\\caption\{|\}$", "", "\n".join(caption), flags=re.I | re.M)
    return re.findall(r"[&%$#_{}~^\\<>|]", plain)


def test_latex_is_a_booktabs_table_with_nothing_left_to_escape(demo, paper):
    for data, tables in ((demo, 1), (paper, 2)):
        text = latex_text(data)
        for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{tabular}", r"\end{table*}", r"\caption{"):
            assert text.count(part) == tables
        assert unescaped(text) == []
        assert text.count("{") == text.count("}")
        columns = len(re.search(r"begin\{tabular\}\{(l r*|lr*)\}", text)[1])
        cells = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert {line.count(" & ") for line in cells} == {columns - 1}
    assert "\n-- NT-ASGD & " in latex_text(demo)


def test_without_published_numbers_there_is_nothing_of_the_paper(tmp_path):
    data = report_data(tmp_path, suite=user_suite(3), seeds=2)
    assert not any("paper" in column for column in rows_of(data).columns)
    assert "Spearman" not in markdown_page(data)


def test_without_a_baseline_there_are_means_but_no_differences(tmp_path):
    data = report_data(tmp_path, without=[("full", seed) for seed in (1, 2)], seeds=2)
    row = rows_of(data).loc["– weight-dropping"]
    assert row["Δ valid"] == "–"
    assert row["valid"] != "–"
    assert "No run of the baseline full is finished: no differences." in markdown_page(data)


def test_a_part_of_the_suite_makes_a_part_of_the_table(demo):
    runs = demo.runs[demo.runs["variant"].isin(["full", "no-weight-drop"])]
    assert list(rows_of(replace(demo, runs=runs)).index) == ["AWD-LSTM (tied)", "– weight-dropping"]


@pytest.mark.parametrize(
    ("value", "text"), [(24_221_600, "24.2 M"), (351_240, "351 k"), (999_600, "1.0 M"), (6_240, "6.2 k"), (812, "812")]
)
def test_counts_are_short(value, text):
    assert count(value) == text
    assert count(float("nan")) == "–"


def test_numbers_have_a_minus_sign_and_no_negative_zero():
    assert number(-1.25, 1) == "−1.2"
    assert number(-0.001, 1, signed=True) == "+0.0"
    assert (number(2.04e43), number(2.04e43, signed=True)) == ("2.0e43", "+2.0e43")
    assert latex("– a ± 1") == r"-- a $\pm$ 1"
    assert markdown("a|b\nc") == r"a\|b c"
    assert markdown("_x_ and my_model, [+1.0, +2.0], [l](u)") == r"\_x\_ and my_model, [+1.0, +2.0], \[l](u)"
    assert latex("[a] b [c]") == "{[}a] b [c]"
