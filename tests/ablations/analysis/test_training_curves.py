"""What epochs tell, against cases worked by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from ablations.analysis.training_curves import (
    best_so_far_differences,
    in_order,
    mean_differences,
    phase_starts,
    summarise_ends,
    training_ends,
)


def run(
    variant: str,
    seed: int,
    logs: Sequence[float],
    *,
    finetuned: int = 0,
    tokens: int = 10,
    averaging: int | None = None,
) -> pd.DataFrame:
    """Epochs with these validation log-perplexities, the last ``finetuned`` of them in the second phase."""
    trained = len(logs) - finetuned
    numbers = [*range(1, trained + 1), *range(1, finetuned + 1)]
    phases = ["train"] * trained + ["finetune"] * finetuned
    averages = [averaging is not None and number > averaging for number in range(1, trained + 1)] + [True] * finetuned
    return pd.DataFrame(
        {
            "dataset": "text",
            "variant": variant,
            "seed": seed,
            "phase": phases,
            "epoch": numbers,
            "valid_ppl": np.exp(logs),
            "averaging": averages,
            "tokens": tokens,
        }
    )


def end_of(logs: Sequence[float], finetuned: int = 0) -> dict[str, float]:
    (row,) = training_ends(run("full", 1, logs, finetuned=finetuned)).to_dict("records")
    return {str(name): row[name] for name in ("epochs_trained", "best_epoch", "last_tenth", "not_ended")}


def test_epochs_are_counted_over_both_phases_whatever_their_order() -> None:
    epochs = in_order(run("full", 1, [5, 4, 4.5, 3], finetuned=2).iloc[::-1])
    assert epochs["step"].tolist() == [1, 2, 3, 4]
    assert epochs["seen"].tolist() == [10, 20, 30, 40]
    assert epochs["best_log"].tolist() == pytest.approx([5, 4, 4, 3])


def test_training_has_ended_where_the_best_epoch_lies_before_the_last_tenth() -> None:
    # 20 epochs: the last tenth is the 19th and 20th
    falling = [5 - 0.1 * n for n in range(20)]
    assert end_of(falling, finetuned=5) == {
        "epochs_trained": 20,
        "best_epoch": 20,
        "last_tenth": pytest.approx(-20),  # from 3.3 to 3.1
        "not_ended": True,
    }
    assert end_of([*falling[:18], 4, 4]) == {
        "epochs_trained": 20,
        "best_epoch": 18,
        "last_tenth": 0,
        "not_ended": False,
    }


def test_the_last_tenth_is_rounded_up_to_whole_epochs() -> None:
    # 11 epochs: the 10th and 11th
    ended = end_of([5, *[4.0] * 8, 3.95, 3.99])
    assert (ended["best_epoch"], ended["not_ended"]) == (10, True)
    assert ended["last_tenth"] == pytest.approx(-5)
    assert end_of([5, 4, 4.5]) == {"epochs_trained": 3, "best_epoch": 2, "last_tenth": 0, "not_ended": False}


def test_the_first_of_equal_epochs_is_the_best() -> None:
    assert end_of([5, 4, 4, 4, 4, 4, 4, 4, 4, 4])["best_epoch"] == 2


def test_a_single_epoch_has_no_slope_and_had_not_ended() -> None:
    ended = end_of([5])
    assert math.isnan(ended["last_tenth"])
    assert ended["not_ended"]


def test_a_row_is_the_mean_of_its_runs_and_counts_those_that_had_not_ended() -> None:
    runs = [run("less", 1, [5, 4, 3]), run("less", 2, [5, 3, 4]), run("full", 1, [5, 3, 4, 4])]
    ends = summarise_ends(training_ends(pd.concat(runs))).set_index("variant")
    less = ends.loc["less"]
    assert (less["epochs_trained"], less["best_epoch"]) == (3, 2.5)
    assert less["last_tenth"] == pytest.approx((-100 + 0) / 2)
    assert (less["not_ended"], less["with_epochs"]) == (1, 2)
    assert ends.loc["full", "not_ended"] == 0


def test_nothing_is_said_without_epochs() -> None:
    none = run("full", 1, [5]).iloc[:0]
    assert summarise_ends(training_ends(none)).empty
    assert best_so_far_differences(none, "full").empty
    assert mean_differences(best_so_far_differences(none, "full")).empty
    assert phase_starts(none).empty


def test_differences_are_of_the_best_so_far_with_the_same_seed() -> None:
    epochs = pd.concat(
        [
            run("full", 1, [5, 4, 4.5]),
            run("full", 2, [6, 5, 4]),
            run("less", 1, [5.5, 5, 4.4]),
            run("less", 2, [6, 6.5, 5]),
            run("less", 3, [1, 1, 1]),  # the full model has no such seed
        ]
    )
    found = best_so_far_differences(epochs, "full")
    assert found.columns.tolist() == ["dataset", "variant", "seed", "tokens", "log_difference"]
    assert found["variant"].unique().tolist() == ["less"]
    assert found["tokens"].tolist() == [10, 20, 30] * 2
    by_seed = {seed: of_seed["log_difference"].tolist() for seed, of_seed in found.groupby("seed")}
    assert by_seed == {1: pytest.approx([0.5, 1, 0.4]), 2: pytest.approx([0, 1, 1])}


def test_a_run_that_has_ended_keeps_its_best() -> None:
    epochs = pd.concat([run("full", 1, [5, 4, 4.5, 3, 2], finetuned=2), run("less", 1, [5, 3.5, 4])])
    found = best_so_far_differences(epochs, "full")
    assert found["tokens"].tolist() == [10, 20, 30, 40, 50]
    assert found["log_difference"].tolist() == pytest.approx([0, -0.5, -0.5, 0.5, 1.5])


def test_every_seed_of_a_row_goes_on_to_the_end_of_the_longest() -> None:
    epochs = pd.concat(
        [run("full", 1, [5, 4]), run("less", 1, [5, 4.5]), run("full", 2, [5, 4, 3]), run("less", 2, [5, 4, 4])]
    )
    found = best_so_far_differences(epochs, "full").pivot(index="tokens", columns="seed", values="log_difference")
    assert found[1].tolist() == pytest.approx([0, 0.5, 0.5])
    assert found[2].tolist() == pytest.approx([0, 0, 1])


def test_epochs_of_unlike_lengths_are_compared_at_the_same_tokens() -> None:
    epochs = pd.concat([run("full", 1, [5, 4], tokens=20), run("less", 1, [6, 5, 4, 3], tokens=10)])
    found = best_so_far_differences(epochs, "full")
    # nothing is known of the full model before 20; at 30 it is half-way from 5 to 4
    assert found["tokens"].tolist() == [20, 30, 40]
    assert found["log_difference"].tolist() == pytest.approx([0, -0.5, -1])


def test_means_over_seeds_have_t_intervals() -> None:
    differences = pd.DataFrame(
        {
            "dataset": "text",
            "variant": ["less"] * 3 + ["once"],
            "seed": [1, 2, 3, 1],
            "tokens": 10,
            "log_difference": [0.1, 0.2, 0.3, 0.5],
        }
    )
    less, once = mean_differences(differences).to_dict("records")
    half = 4.30265 * 0.1 / math.sqrt(3)  # t of two degrees of freedom, sd 0.1
    assert [less[name] for name in ("mean", "low", "high")] == pytest.approx([0.2, 0.2 - half, 0.2 + half], abs=1e-6)
    assert once["mean"] == 0.5
    assert math.isnan(once["low"])


def test_phases_start_where_the_epoch_before_had_ended() -> None:
    epochs = pd.concat(
        [
            run("full", 1, [5, 4, 3, 2, 1], finetuned=2, averaging=1),
            run("less", 1, [5, 4]),
            run("less", 2, [5], averaging=0),
        ]
    )
    starts = phase_starts(epochs).set_index(["variant", "seed"])[["averaging", "finetuning"]]
    assert starts.loc["full", 1].tolist() == [10, 30]
    assert starts.loc["less", 1].isna().all()
    assert starts.loc["less", 2]["averaging"] == 0
