"""The optimizers at a small size, in float64: 40 steps of theirs beside our :class:`awd.optim.Stepper`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from awd.config import Config, Method, override
from awd.corpus.batching import batchify
from awd.model import AWDLSTM, detach
from awd.optim import Stepper
from awd.streams import Streams
from awd.windows import draw_length
from benchmarks.published.difference import Difference, largest, learnable_text, relative
from benchmarks.published.program import Program, Training

STEPS = 40
WORDS = 12
# so small that it learns its text in a few hundred steps, with clipping and weight decay that show; at a rate of 20
# rounding grows from step to step, until after 190 of them perplexities differ in their sixth digit
SMALL = override(
    Config(),
    {
        "model": {"embedding_size": 24, "hidden_size": 32, "num_layers": 2},
        "regularization": {
            "embedding_dropout": 0.05,
            "input_dropout": 0.1,
            "hidden_dropout": 0.1,
            "output_dropout": 0.1,
            "weight_dropout": 0.2,
            "weight_decay": 1e-4,
        },
        "windows": {"length": 20},
        "optimizer": {"learning_rate": 5.0, "clip_norm": 0.1, "nonmonotone_interval": 2},
        "training": {"batch_size": 10},
    },
    "benchmarks/published/optimizers.py",
)
_SEED, _ALLOWED = 1, 1e-10


@dataclass(frozen=True)
class Case:
    """An optimizer of theirs, and what ours is told to be it.

    Attributes:
        title: as it is printed.
        method: as :class:`awd.config.OptimizerConfig` names it.
        plain: whether it is made to average plainly, by :func:`make_plain`.
        late: whether a step's rate is that of the window before.
        average_from: steps whose iterates its mean leaves out.
    """

    title: str
    method: Method = "sgd"
    plain: bool = False
    late: bool = False
    average_from: int = 0


CASES = (
    Case("SGD"),
    Case("ASGD made a plain mean", method="asgd", plain=True),
    Case("ASGD as it is", method="asgd", late=True, average_from=1),
)


def optimizer_steps(program: Program) -> Iterator[Difference]:
    """All weights after 40 steps, and their averages: clipped, decayed, each at the rate of its window."""
    generator = Streams(_SEED)["window lengths"]
    lengths = [draw_length(SMALL.windows, generator) for _ in range(STEPS)]
    text = learnable_text(WORDS, (sum(lengths) + 1) * SMALL.training.batch_size, seed=4)
    for case in CASES:
        theirs, optimizer = _their_steps(program, case, text, lengths)
        stepper = _our_steps(case, text, lengths)
        apart = _apart("", stepper.model, theirs.parameters)
        if case.method == "asgd":
            with averages_in_place(optimizer):
                apart |= _apart("average of ", stepper.evaluated, theirs.parameters)
        yield Difference(f"{STEPS} steps, {case.title}", "torch float64", *largest(apart), _ALLOWED)


def _apart(prefix: str, ours: AWDLSTM, theirs: Mapping[str, Tensor]) -> dict[str, float]:
    return {prefix + name: relative(parameter, theirs[name]) for name, parameter in ours.named_parameters()}


def _network() -> AWDLSTM:
    return AWDLSTM(WORDS, SMALL.model, SMALL.regularization, streams=Streams(_SEED)).double()


def _their_steps(
    program: Program, case: Case, text: Tensor, lengths: list[int]
) -> tuple[Training, torch.optim.Optimizer]:
    model, streams, drawn = _network(), Streams(_SEED), iter(lengths)
    columns = SMALL.training.batch_size
    theirs = Training(program, model, SMALL, text, lambda: model.draw_masks(columns, streams), lambda: next(drawn))
    optimizer = make_optimizer(theirs, SMALL, averages=case.method == "asgd", plain=case.plain)
    theirs.train(optimizer)
    return theirs, optimizer


def _our_steps(case: Case, text: Tensor, lengths: list[int]) -> Stepper:
    model, streams, rows = _network(), Streams(_SEED), batchify(text, SMALL.training.batch_size, "train")
    settings = replace(SMALL.optimizer, method=case.method, average_from=case.average_from)
    stepper = Stepper(model, settings, settings.learning_rate, SMALL.regularization.weight_decay)
    scaled = [lengths[0], *lengths[:-1]] if case.late else lengths
    start, state = 0, model.initial_state(rows.shape[1])
    for length, by in zip(lengths, scaled, strict=True):
        end = start + length
        output = model(rows[start:end], state, model.draw_masks(rows.shape[1], streams))
        stepper.step(model.loss(output, rows[start + 1 : end + 1]).total, by / SMALL.windows.length)
        start, state = end, detach(output.state)
    return stepper


def make_optimizer(theirs: Training, config: Config, *, averages: bool, plain: bool = True) -> torch.optim.Optimizer:
    """What their program hands to its ``train``: SGD, or ASGD that averages from its first step.

    Args:
        theirs: whose parameters are stepped.
        config: rate and weight decay.
        averages: ASGD.
        plain: have it average plainly.
    """
    parameters = list(theirs.parameters.values())
    rate, decay = config.optimizer.learning_rate, config.regularization.weight_decay
    if not averages:
        return torch.optim.SGD(parameters, lr=rate, weight_decay=decay)
    optimizer = torch.optim.ASGD(parameters, lr=rate, lambd=0.0, t0=0, weight_decay=decay)
    if plain:
        optimizer.register_step_pre_hook(make_plain)
    return optimizer


def make_plain(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Before a step of torch's ASGD: have it taken at its own rate, and its iterate count as much as any other."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter)
            if state:  # there is none before the first step, which is as it should be
                state["eta"].fill_(group["lr"])
                state["mu"].fill_(1 / (state["step"].item() + 1))


@contextlib.contextmanager
def averages_in_place(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within it, parameters hold the averages that an ASGD keeps of them; under another optimizer, what they hold."""
    averages = {parameter: state["ax"] for parameter, state in optimizer.state.items() if "ax" in state}
    raw = {parameter: parameter.detach().clone() for parameter in averages}
    _fill(averages)
    try:
        yield
    finally:
        _fill(raw)


@torch.no_grad()
def _fill(values: Mapping[Tensor, Tensor]) -> None:
    for parameter, value in values.items():
        parameter.copy_(value)
