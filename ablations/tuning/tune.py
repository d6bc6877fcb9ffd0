"""Tuning: trials handed out to processes until enough are done, the time is over, or somebody stops it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from rich.console import Console

from ablations.execution.backends.loky import Loky
from ablations.execution.display import last_line
from ablations.experiment.plan import RunSpec
from ablations.experiment.variant import fields
from ablations.storage.invocation import Invocation
from ablations.storage.provenance import collect_provenance
from ablations.terminal import bars, clock, say, text_column
from ablations.tuning.search import Search, Value, nested, require_inside
from ablations.tuning.study import (
    STOPPED,
    best_settings,
    claim,
    count_tried,
    give_back_unfinished,
    open_study,
    require_optuna,
    write_summary,
)
from ablations.tuning.trial import Order, Tried, try_settings
from awd.config import config_to_dict, override
from awd.errors import ConfigError, InputError
from awd.messages import number_text

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class TuneOptions:
    """How to tune.

    Attributes:
        folder: of the study.
        trials: to have in the end, earlier calls' included.
        jobs: trials at a time.
        device: a torch device, resolved.
        data_dir: folder of the corpora, if one was given.
        time_limit: seconds after which to stop.
        start_from: folder of another study, whose best settings are tried first.
    """

    folder: Path
    trials: int
    jobs: int
    device: str
    data_dir: Path | None = None
    time_limit: float | None = None
    start_from: Path | None = None


def tune(spec: RunSpec, search: Search, options: TuneOptions, console: Console) -> str | None:
    """Try settings of a run until there are enough; what is there already counts.

    Args:
        spec: a variant on one corpus, at the profile's settings; its seed is the search's.
        search: what may change.

    Returns:
        Why it stopped early, if it did.

    Raises:
        InputError: Optuna is missing, the folder cannot be used, holds another study or is another call's.
        WorkerDiedError: a process was killed; the same command goes on.
        KeyboardInterrupt: on a second Ctrl-C.
    """
    require_optuna()  # before a folder is made
    require_legal(spec, search)
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(options.folder / ".lock", timeout=0):
            return _Tuning(spec, search, options, console).run()
    except Timeout:
        raise InputError(f"{options.folder}: another call is tuning there") from None
    except OSError as error:
        raise InputError(f"{options.folder}: cannot be written ({error.strerror or error})") from None


def require_legal(spec: RunSpec, search: Search) -> None:
    """Check that every bound and choice is a value that its field may have.

    Raises:
        ConfigError: one is not; names the search and the field.
    """
    for field, values in search.space.items():
        for value in values.choices or values.ends():
            override(spec.config, nested({field: value}), f"search {search.name}: space")


def settings_of(spec: RunSpec, search: Search) -> dict[str, Value]:
    """What a configuration has now in the fields that a search may change."""
    now = fields(spec.config)
    return {field: now[field] for field in search.space}


class _Tuning:
    def __init__(self, spec: RunSpec, search: Search, options: TuneOptions, console: Console) -> None:
        self.spec, self.search, self.options, self.console = spec, search, options, console
        self.study: optuna.Study = open_study(options.folder, search)
        identity = {
            "dataset": spec.dataset,
            "corpus_sha256": spec.corpus_sha256,
            "config": config_to_dict(spec.config),
            "space": {field: asdict(values) for field, values in search.space.items()},
            "training_seed": spec.seed,
            "engine": spec.engine,
            "precision": spec.precision,
        }
        rules = {"trial_minutes": search.trial_minutes, "pruning": asdict(search.pruning)}
        claim(self.study, identity, {**asdict(collect_provenance()), **rules}, options.folder)
        self.invocation = Invocation(options.folder, self._say)

    def run(self) -> str | None:
        if given_back := give_back_unfinished(self.study):
            self._say(f"{given_back} trials that an earlier call had not ended are tried again")
        if not self.study.get_trials(deepcopy=False):
            self._queue_the_start()
        before = count_tried(self.study)
        with bars(self.console, text_column("best")) as bar, self.invocation.running(self.options.time_limit):
            completed = min(before, self.options.trials)
            task = bar.add_task("trials", total=self.options.trials, completed=completed, best="")
            for tried in self._tried():
                write_summary(self.study, self.options.folder)
                self._tell(tried)
                bar.update(task, advance=tried.why != STOPPED, best=self._best())
        write_summary(self.study, self.options.folder)
        return self.invocation.reason

    def _queue_the_start(self) -> None:
        own = settings_of(self.spec, self.search)
        queue = [own | settings for settings in self.search.start] or [own]
        if self.options.start_from is not None:
            queue.insert(0, own | self._others_best(self.options.start_from))
        for settings in queue:
            require_inside(self.search, settings, f"search {self.search.name}")
            self.study.enqueue_trial(settings)

    def _others_best(self, folder: Path) -> dict[str, Value]:
        best = best_settings(open_study(folder, self.search)) if folder.is_dir() else None
        if best is None:
            raise ConfigError(f"--start-from {folder}: no study with a finished trial is there")
        return {field: value for field, value in best.settings.items() if field in self.search.space}

    def _tried(self) -> Iterator[Tried]:
        jobs = min(self.options.jobs, self.options.trials)
        yield from Loky(jobs).call(try_settings, self._orders(), jobs)

    def _orders(self) -> Iterator[Order]:
        """Asked for one by one, so that each choice knows what the others gave."""
        while not self.invocation.stopped and count_tried(self.study) < self.options.trials:
            trial = self.study.ask()
            settings = {field: values.suggest(trial, field) for field, values in self.search.space.items()}
            config = override(self.spec.config, nested(settings), f"search {self.search.name}: trial {trial.number}")
            yield Order(
                spec=replace(self.spec, config=config),
                search=self.search,
                folder=self.options.folder.resolve(),
                trial_id=trial._trial_id,  # public in Optuna's storage, where the worker looks it up
                number=trial.number,
                device=self.options.device,
                data_dir=self.options.data_dir,
                invocation=self.invocation.path.resolve(),
                parent_pid=os.getpid(),
            )

    def _tell(self, tried: Tried) -> None:
        outcome = "no epoch" if tried.valid_ppl is None else f"valid {number_text(tried.valid_ppl)}"
        why = f", {last_line(tried.why)}" if tried.why else ""
        self._say(f"trial {tried.number}: {outcome}{why}  ({clock(tried.seconds)} of a core; {self._best()})")

    def _best(self) -> str:
        best = best_settings(self.study)
        return f"best {best.valid_ppl:.2f}, trial {best.number}" if best else "none finished yet"

    def _say(self, line: str) -> None:
        say(self.console, line)
