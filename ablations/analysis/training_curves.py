"""What the epochs of runs tell: whether training had ended, and from when on a difference is there.

Pure functions from frames to frames. Epochs are counted over both phases, fine-tuning after training; *best so far* is
the lowest validation perplexity up to an epoch, since it is the best weights that a run keeps.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from ablations.analysis.statistics import KEYS, mean_interval
from awd.trainer import FINETUNE, TRAIN

RUN = [*KEYS, "seed"]


def in_order(epochs: pd.DataFrame) -> pd.DataFrame:
    """The epochs of each run in the order in which they were trained.

    Args:
        epochs: as :attr:`ablations.analysis.comparison.Comparison.epochs`.

    Returns:
        The same rows with ``step``, counted over both phases from 1; ``seen``, the tokens trained on when the epoch
        had ended; and ``best_log``, the lowest validation log-perplexity so far, in nats.
    """
    second_phase = epochs["phase"].eq(FINETUNE)
    ordered = epochs.assign(second_phase=second_phase).sort_values([*RUN, "second_phase", "epoch"])
    runs = ordered.assign(best_log=np.log(ordered["valid_ppl"])).groupby(RUN, sort=False)
    return ordered.assign(
        step=runs.cumcount() + 1, seen=runs["tokens"].cumsum(), best_log=runs["best_log"].cummin()
    ).drop(columns="second_phase")


def training_ends(epochs: pd.DataFrame) -> pd.DataFrame:
    """Whether each run had ended to learn when it ended.

    The last tenth is that of the run's epochs, rounded up to whole ones.

    Args:
        epochs: as for :func:`in_order`.

    Returns:
        One row per run: ``dataset, variant, seed``; ``epochs_trained``; ``best_epoch``, the first with the lowest
        validation perplexity; ``last_tenth``, best-so-far log-perplexity after the last tenth minus that before it,
        times 100 (0 is flat, negative still falling; missing where the last tenth is all there is); ``not_ended``,
        whether the best epoch lies in the last tenth.
    """
    rows = [(*run, *_end(of_run)) for run, of_run in in_order(epochs).groupby(RUN, sort=False)]
    return pd.DataFrame(rows, columns=[*RUN, "epochs_trained", "best_epoch", "last_tenth", "not_ended"])


def _end(run: pd.DataFrame) -> tuple[int, int, float, bool]:
    best = run["best_log"].to_numpy()
    trained = len(best)
    before = trained - math.ceil(trained / 10)
    best_epoch = int(run["valid_ppl"].to_numpy().argmin()) + 1
    change = 100 * (best[-1] - best[before - 1]) if before else np.nan
    return trained, best_epoch, change, best_epoch > before


def summarise_ends(ends: pd.DataFrame) -> pd.DataFrame:
    """The same by row of a table.

    Args:
        ends: of finished runs, as :func:`training_ends` gives them.

    Returns:
        One row per data set and variant: ``dataset, variant``; means over runs of ``epochs_trained, best_epoch`` and
        ``last_tenth``; ``not_ended``, how many had not; ``with_epochs``, of how many.
    """
    return (
        ends.groupby(KEYS, sort=False)
        .agg(
            epochs_trained=("epochs_trained", "mean"),
            best_epoch=("best_epoch", "mean"),
            last_tenth=("last_tenth", "mean"),
            not_ended=("not_ended", "sum"),
            with_epochs=("seed", "size"),
        )
        .reset_index()
        .astype({"not_ended": "Int64", "with_epochs": "Int64"})
    )


def best_so_far_differences(epochs: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Each run's best-so-far validation log-perplexity minus that of the baseline's run of the same seed, by tokens.

    It is taken at every end of an epoch of any run of a row and of the baseline's with the same seeds, from where all
    of them have one. After a run has ended its best stays as it is, up to the end of the longest; between two of its
    epochs, which matters only where epochs have unlike lengths, its curve is a straight line.

    Args:
        epochs: of finished runs, as for :func:`in_order`.
        baseline: name of the variant that is subtracted.

    Returns:
        One row per pair and place, the baseline itself left out: ``dataset, variant, seed``; ``tokens`` trained on;
        ``log_difference`` in nats, above 0 where the row is worse.
    """
    curves = {run: of_run[["seen", "best_log"]] for run, of_run in in_order(epochs).groupby(RUN, sort=False)}
    pairs = [run for run in curves if run[1] != baseline and (run[0], baseline, run[2]) in curves]
    frames = []
    for row in dict.fromkeys(run[:2] for run in pairs):
        seeds = [run[2] for run in pairs if run[:2] == row]
        ours, theirs = ([curves[row[0], name, seed] for seed in seeds] for name in (row[1], baseline))
        seen = [curve["seen"].to_numpy() for curve in ours + theirs]
        tokens = np.unique(np.concatenate(seen))
        tokens = tokens[tokens >= max(of_run[0] for of_run in seen)]
        for seed, our, their in zip(seeds, ours, theirs, strict=True):
            difference = _at(tokens, our) - _at(tokens, their)
            names = {"dataset": row[0], "variant": row[1], "seed": seed}
            frames.append(pd.DataFrame({**names, "tokens": tokens, "log_difference": difference}))
    empty = pd.DataFrame(columns=[*RUN, "tokens", "log_difference"])
    return pd.concat(frames, ignore_index=True) if frames else empty


def _at(tokens: np.ndarray, curve: pd.DataFrame) -> np.ndarray:
    # beyond the last place its value is kept
    return np.interp(tokens, curve["seen"], curve["best_log"])


def mean_differences(differences: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds with 95% t intervals, each place by itself.

    Args:
        differences: as :func:`best_so_far_differences` gives them.

    Returns:
        One row per data set, variant and place: ``dataset, variant, tokens``; ``mean, low, high``, the last two missing
        for a single seed.
    """
    places = differences.groupby([*KEYS, "tokens"], sort=False)["log_difference"]
    rows = [(*place, values.mean(), *mean_interval(values.to_numpy())) for place, values in places]
    return pd.DataFrame(rows, columns=[*KEYS, "tokens", "mean", "low", "high"])


def phase_starts(epochs: pd.DataFrame) -> pd.DataFrame:
    """Where averaging and fine-tuning began, by tokens trained on.

    Args:
        epochs: as for :func:`in_order`.

    Returns:
        One row per run: ``dataset, variant, seed, averaging, finetuning``, missing where it never did. Averaging is
        that of the training phase; fine-tuning averages from its own beginning.
    """
    ordered = in_order(epochs)
    ordered["before"] = ordered["seen"] - ordered["tokens"]
    averaging = ordered[ordered["phase"].eq(TRAIN) & ordered["averaging"].eq(True)]
    finetuning = ordered[ordered["phase"].eq(FINETUNE)]
    first = [phase.groupby(RUN, sort=False)["before"].first() for phase in (averaging, finetuning)]
    runs = ordered[RUN].drop_duplicates().set_index(RUN)
    return runs.assign(averaging=first[0], finetuning=first[1]).reset_index()
