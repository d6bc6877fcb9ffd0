"""One trial in one process: settings are trained, told to the study epoch by epoch, and given up if they lag behind."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ablations.execution.watch import has_lost_its_parent
from ablations.execution.worker import describe_failure, encode_corpus, prepare_process
from ablations.experiment.plan import RunSpec
from ablations.tuning.search import Search
from ablations.tuning.study import EPOCHS, SECONDS, STOPPED, WHY, open_study
from awd.errors import DivergedError

if TYPE_CHECKING:
    from optuna.trial import Trial, TrialState

_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Order:
    """What a worker is sent: small and picklable.

    Attributes:
        spec: what is trained, with the trial's settings in it.
        search: it belongs to.
        folder: of the study.
        trial_id: of the trial, in the study's storage; ``number``, as it is told.
        device: a torch device, resolved.
        data_dir: folder of the corpora, if one was given.
        invocation: the file whose end says to stop.
        parent_pid: process that hands out the trials.
    """

    spec: RunSpec
    search: Search
    folder: Path
    trial_id: int
    number: int
    device: str
    data_dir: Path | None
    invocation: Path
    parent_pid: int


@dataclass(frozen=True)
class Tried:
    """What a worker sends back: the trial's number, its best validation perplexity so far, and why it ended early."""

    number: int
    valid_ppl: float | None
    why: str | None
    seconds: float


class _StoppedError(Exception):
    """The call was asked to stop."""


def try_settings(order: Order) -> Tried:
    """Train one trial and tell the study what came of it."""
    from optuna.trial import Trial, TrialState

    device = prepare_process(order.device, (), order.parent_pid)
    study = open_study(order.folder, order.search)
    attempt = _Attempt(order, Trial(study, order.trial_id), device)
    try:
        why, state = attempt.train()
    except _StoppedError:  # it stays a running one, which the next call queues again
        return Tried(order.number, attempt.best, STOPPED, attempt.seconds)
    if why is not None:
        attempt.trial.set_user_attr(WHY, why)
    attempt.trial.set_user_attr(SECONDS, round(attempt.seconds, 1))
    attempt.trial.set_user_attr(EPOCHS, len(attempt.values))
    if state == TrialState.COMPLETE:
        study.tell(order.number, attempt.best)
    else:
        study.tell(order.number, state=state)
    return Tried(order.number, attempt.best, why, attempt.seconds)


class _Attempt:
    """A trial while it is trained."""

    def __init__(self, order: Order, trial: Trial, device: str) -> None:
        self.order, self.trial, self.device = order, trial, device
        self.values: list[float] = []
        self._started, self._looked = time.process_time(), 0.0

    @property
    def seconds(self) -> float:
        """Of one core, however busy the machine is."""
        return time.process_time() - self._started

    @property
    def best(self) -> float | None:
        """The best epoch's validation perplexity so far, if one has ended."""
        return min(self.values, default=None)

    def train(self) -> tuple[str | None, TrialState]:
        """Why it ended early, if it did, and what the study calls that."""
        from optuna.trial import TrialState

        try:
            why = self._train()
        except _StoppedError:
            raise
        except DivergedError as error:
            why = str(error)
        except Exception as error:  # one trial's failure never stops the others
            return describe_failure(error), TrialState.FAIL
        return why, TrialState.COMPLETE if why is None else TrialState.PRUNED

    def _train(self) -> str | None:
        """Train epoch by epoch, and no further; why it was given up, if it was."""
        from awd.engine import make_engine
        from awd.trainer import Trainer

        spec = self.order.spec
        corpus = encode_corpus(spec, self.order.data_dir)
        trainer = Trainer(
            spec.config,
            replace(corpus, test=corpus.valid),  # so that nothing here can look at the test split
            spec.seed,
            device=self.device,
            engine=make_engine(spec.engine, spec.precision, self.device),
            may_stop=self._may_stop,
        )
        while not trainer.trained:
            self.values.append(trainer.epoch().valid_ppl)
            if why := self._why_give_up():
                return why
        return None

    def _why_give_up(self) -> str | None:
        """Tell the study of the last epoch; why the trial is not worth going on with, if it is not."""
        self.trial.report(self.values[-1], len(self.values))
        if self.trial.should_prune():
            return f"behind most others after epoch {len(self.values)}"
        most = self.order.search.trial_minutes
        if most is not None and self.seconds > 60 * most:
            return f"took more than {most:g} minutes of a core"
        return None

    def _may_stop(self) -> None:
        now = time.monotonic()
        if now - self._looked > _LOOK_SECONDS:
            self._looked = now
            if not self.order.invocation.exists() or has_lost_its_parent(self.order.parent_pid):
                raise _StoppedError
