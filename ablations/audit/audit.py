"""The audit of one configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from ablations.audit.cell import Cell
from ablations.audit.checks import averaging, dropout, evaluation, penalties, size, steps, weights, windows
from ablations.audit.probes import reference, shortened
from ablations.audit.probes.forward_probe import Observer
from ablations.audit.probes.step_probe import Walk
from awd.config import Config
from awd.corpus.text import Encoded
from awd.engine import PLAIN, Engine
from awd.errors import DivergedError

PASSED, SKIPPED, FAILED = "passed", "skipped", "failed"
_SEED = 1
_TAMER_RATES = (1.0, 1e-3)  # tried where the configured rate diverges: what a step does does not depend on it


@dataclass(frozen=True)
class AuditOutcome:
    """What came of an audit.

    Attributes:
        cells: one a mechanism; none if it broke off.
        error: why it broke off.
    """

    cells: tuple[Cell, ...] = ()
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every mechanism acts as configured."""
        return self.error is None and all(cell.ok for cell in self.cells)

    @property
    def contradictions(self) -> list[str]:
        """One line for each finding that contradicts the configuration."""
        if self.error is not None:
            return [f"the audit broke off: {self.error}"]
        return [f"{cell.mechanism}: {finding}" for cell in self.cells for finding in cell.failures]

    @property
    def text(self) -> str:
        """``passed``, or ``failed:`` and why."""
        return PASSED if self.ok else f"{FAILED}: {'; '.join(self.contradictions)}"


def audit(config: Config, corpus: Encoded, engine: Engine = PLAIN, seed: int = _SEED) -> AuditOutcome:
    """Audit a configuration; what breaks the audit fails it, with a message."""
    try:
        return AuditOutcome(tuple(audit_config(config, corpus, engine, seed)))
    except Exception as error:  # a fault may take any form, and the other configurations go on
        message = str(error).strip().splitlines()
        return AuditOutcome(error=f"{type(error).__name__}: {message[0] if message else 'no message'}")


def audit_config(config: Config, corpus: Encoded, engine: Engine = PLAIN, seed: int = _SEED) -> list[Cell]:
    """Run a configuration for some steps and measure what acted.

    Two short runs of the real trainer: one with the configured windows, for what is dropped, penalised and evaluated;
    one in float64 with tiny windows and scripted validation, for steps, averages and phases. Nothing is trained in
    earnest: both take seconds on a CPU.

    Args:
        config: what is expected; no name of a variant is looked at.
        corpus: whose vocabulary and first words are used.
        engine: what computes the runs.
        seed: of the runs.

    Returns:
        A cell for each mechanism, in a fixed order.

    Raises:
        DivergedError: no learning rate keeps the loss finite.
    """
    embedding, *layers = size.widths(config.model)
    parameters = reference.parameter_count(len(corpus.words), embedding, layers, config.model.tie_weights)
    with _undisturbed(seed):
        observer = Observer(*shortened.dropping(config, corpus, parameters), seed, engine)
        observer.run()
        acting = _acting_cells(observer, config, len(corpus.words), seed)
        walk, note = _walk(config, corpus, parameters, seed, engine)
        return [
            *acting,
            steps.rate_cell(walk, note),
            steps.clipping_cell(walk),
            steps.decay_cell(walk),
            averaging.averaging_cell(walk),
            averaging.finetuning_cell(walk),
            evaluation.evaluation_cell(observer),
            _after_evaluation(observer, config, acting),
        ]


def _acting_cells(observer: Observer, config: Config, vocabulary: int, seed: int) -> list[Cell]:
    first = [window for window in observer.windows if window.epoch == 1]
    strengths = config.regularization
    return [
        size.size_cell(observer, config.model, vocabulary),
        dropout.embedding_cell(first, strengths),
        dropout.input_cell(first, strengths),
        dropout.hidden_cell(first, strengths),
        dropout.output_cell(first, strengths),
        weights.weight_cell(observer, first),
        penalties.softmax_cell(first, observer.precision),
        *penalties.penalty_cells(first, strengths),
        windows.windows_cell(observer, config.windows, seed),
    ]


def _after_evaluation(observer: Observer, config: Config, before: Sequence[Cell]) -> Cell:
    second = [window for window in observer.windows if window.epoch == 2]
    red = {cell.mechanism for cell in before if not cell.ok}
    return evaluation.after_evaluation_cell(second, config.regularization, red)


def _walk(config: Config, corpus: Encoded, parameters: int, seed: int, engine: Engine) -> tuple[Walk, str]:
    """The run of steps, at the configured rate or, where that diverges, at a tamer one; and a note that says so."""
    for rate in (None, *_TAMER_RATES):
        short, text = shortened.stepping(config, corpus, parameters, rate)
        walk = Walk(short, text, seed, engine, shortened.script(short.optimizer.nonmonotone_interval))
        try:
            walk.run()
        except DivergedError:
            if rate == _TAMER_RATES[-1]:
                raise
            continue
        return walk, "" if rate is None else f" (set to {rate:g}: at the configured one the loss is not finite)"
    raise AssertionError("unreachable")


@contextmanager
def _undisturbed(seed: int) -> Iterator[None]:
    """The same draws and the same sums in the same order on every machine, and torch afterwards as it was."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
