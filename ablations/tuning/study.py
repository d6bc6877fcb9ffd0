"""The study of a tuning: Optuna's journal in a folder, and what is read from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import yaml

from ablations.storage.store import explained
from ablations.tuning.search import Search, Value, nested, tidy
from awd.config import Config, config_to_dict, merged
from awd.errors import ConfigError, InputError
from awd.files import write_text

if TYPE_CHECKING:
    import optuna

JOURNAL, TRIALS, BEST = "study.journal", "trials.csv", "best.yaml"
STOPPED = "stopped"  # a trial that the next call tries again
WHY, SECONDS, EPOCHS = "why", "core_seconds", "epochs"  # what a trial says of itself
_NAME = "study"
_IDENTITY, _SITTINGS = "identity", "sittings"


def require_optuna() -> None:
    """Say how to install it, if it is not there.

    Raises:
        ConfigError: it is not.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError("tuning needs Optuna: python -m pip install 'awd-ablations[tune]'") from None
    optuna.logging.set_verbosity(logging.WARNING)


def open_study(folder: Path, search: Search) -> optuna.Study:
    """The study in a folder, made if there is none; whoever opens it sees what all others wrote.

    Raises:
        InputError: Optuna is missing, or the journal cannot be read or written.
    """
    require_optuna()
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = folder / JOURNAL
    pruning = search.pruning
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
        study = optuna.create_study(
            storage=storage,
            study_name=_NAME,
            load_if_exists=True,
            pruner=optuna.pruners.PercentilePruner(
                pruning.percentile, n_startup_trials=pruning.startup_trials, n_warmup_steps=pruning.warmup_epochs
            ),
        )
        # one that goes on must not draw again what it drew before
        seed = search.sampler_seed + len(study.get_trials(deepcopy=False))
    except OSError as error:
        raise InputError(f"{path}: cannot be read or written ({error.strerror or error})") from None
    except (ValueError, KeyError, AssertionError) as error:
        raise InputError(f"{path}: not a study of this program's, or damaged ({error})") from None
    study.sampler = optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=search.startup_trials, multivariate=True, constant_liar=True
    )
    return study


def claim(study: optuna.Study, identity: Mapping[str, Any], sitting: Mapping[str, Any], folder: Path) -> None:
    """Say what a study is of, or check that it is of the same; and who goes on with it.

    Raises:
        InputError: it is of something else; the message says what differs.
    """
    recorded = study.user_attrs.get(_IDENTITY)
    expected = json.loads(json.dumps(identity))
    if recorded is None:
        study.set_user_attr(_IDENTITY, expected)
        recorded = expected
    now, before = _without_searched(expected), _without_searched(recorded)
    if now != before:
        differing = sorted(key for key in now.keys() | before if now.get(key) != before.get(key))
        raise InputError(
            f"{folder}: holds a study with another {' and '.join(differing)}; give another --study folder, or delete it"
        )
    study.set_user_attr(_SITTINGS, [*study.user_attrs.get(_SITTINGS, []), dict(sitting)])


def _without_searched(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that each trial sets do not matter: a profile may have taken over what a study found."""
    # a field that is younger than the study had no other meaning then than its default has now
    config = merged(config_to_dict(Config()), identity["config"])
    for field in identity["space"]:
        section, _, key = field.partition(".")
        config[section].pop(key, None)
    return {**identity, "config": config}


def give_back_unfinished(study: optuna.Study) -> int:
    """Queue again what an earlier call left running, when it was killed; returns how many those were."""
    from optuna.trial import TrialState

    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in left:
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)
    return len(left)


def count_tried(study: optuna.Study) -> int:
    """Trials that are running or have an outcome."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    return sum(trial.state == TrialState.RUNNING or _has_outcome(trial) for trial in trials)


def _has_outcome(trial: optuna.trial.FrozenTrial) -> bool:
    """One that was stopped has none."""
    from optuna.trial import TrialState

    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    return ended or (trial.state == TrialState.FAIL and WHY in trial.user_attrs)


def trials_frame(study: optuna.Study) -> pd.DataFrame:
    """One row per trial that has begun: ``trial, state, valid_ppl, epochs, core_seconds, why``, then the fields it set.

    ``valid_ppl`` is the best epoch's, so far as it went.
    """
    from optuna.trial import TrialState

    rows = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.WAITING:
            continue
        best = min(trial.intermediate_values.values(), default=None)
        about = {key: trial.user_attrs.get(key) for key in (EPOCHS, SECONDS, WHY)}
        stopped = trial.state == TrialState.FAIL and WHY not in trial.user_attrs
        state = STOPPED if stopped else trial.state.name.lower()
        outcome = {"trial": trial.number, "state": state, "valid_ppl": best}
        rows.append({**outcome, **about, **_settings(trial)})
    return pd.DataFrame(rows)


def _settings(trial: optuna.trial.FrozenTrial) -> dict[str, Value]:
    return {field: tidy(value) for field, value in trial.params.items()}


class BestTrial(NamedTuple):
    """The best finished trial."""

    number: int
    valid_ppl: float
    settings: dict[str, Value]


def best_settings(study: optuna.Study) -> BestTrial | None:
    """The best finished trial; ``None`` while there is none."""
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not done:
        return None
    best = min(done, key=lambda trial: (trial.value, trial.number))
    return BestTrial(best.number, float(best.value or 0.0), _settings(best))


def write_summary(study: optuna.Study, folder: Path) -> None:
    """``trials.csv``, every trial, and ``best.yaml``, the settings of the best as a profile holds them.

    Raises:
        InputError: they cannot be written.
    """
    with explained(f"{folder}: cannot be written"):
        write_text(folder / TRIALS, trials_frame(study).to_csv(index=False, lineterminator="\n"))
        if best := best_settings(study):
            number, value, settings = best
            of = study.user_attrs[_IDENTITY]
            text = yaml.safe_dump(nested(settings), sort_keys=False)
            tried = sum(map(_has_outcome, study.get_trials(deepcopy=False)))
            tokens = of["config"].get("corpus", {}).get("valid_tokens")
            beginning = f"the first {tokens} tokens of " if tokens else ""
            heading = (
                f"# trial {number}, the best of {tried} settings: validation perplexity {value:.3f} on "
                f"{beginning}{of['dataset']} (seed {of['training_seed']}, {of['engine']} engine, {of['precision']})\n"
            )
            write_text(folder / BEST, heading + text)
