"""Evaluation mode: nothing acts, twice is the same, and training afterwards drops as before."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import torch

from ablations.audit.cell import Cell, Finding, close, share, yes_or_no
from ablations.audit.checks import dropout
from ablations.audit.checks.weights import WEIGHTS, kernel, zero_share
from ablations.audit.probes.forward_probe import ForwardTrace, Observer, WindowTrace
from awd.config import RegularizationConfig

_PERPLEXITY = 1e-3  # relative, of float32 against the same network in float64


def evaluation_cell(observer: Observer) -> Cell:
    """What validation computed, against the same network with nothing dropped."""
    acting = sorted({place for found in observer.evaluations for place in _acting(found.seen)})
    repeated = all(first == second for first, second in observer.repeats)
    reported, expected = max(observer.valid_losses, key=lambda pair: abs(math.log(pair[0] / pair[1])))
    return Cell(
        "evaluation",
        (
            Finding("dropout that acts", ", ".join(acting) or "none", "none", not acting),
            kernel("LSTM written out with the raw weights", observer.kernel_errors["evaluation"], "fp32"),
            yes_or_no("two evaluations", repeated, "the same bits", "differ"),
            close("perplexity", reported, expected, _PERPLEXITY * expected),
        ),
    )


def _acting(seen: ForwardTrace) -> Iterator[str]:
    if not torch.equal(seen.embedded, seen.layers[0].inputs):
        yield "input"
    for before, after in zip(seen.layers, seen.layers[1:], strict=False):
        if not torch.equal(before.outputs, after.inputs):
            yield "hidden"
    if not torch.equal(seen.raw, seen.dropped):
        yield "output"


def after_evaluation_cell(
    windows: Sequence[WindowTrace], strengths: RegularizationConfig, red: Collection[str]
) -> Cell:
    """Shares dropped in the epoch after an evaluation; a mechanism that is ``red`` without one has its own cell."""
    findings = [replace(finding, ok=finding.ok or name in red) for name, finding in _shares(windows, strengths)]
    wrong = any(not finding.ok for finding in findings)
    summary = Finding("dropout after evaluation", "changed" if wrong else "same", "same", ok=True)
    return Cell("after eval", (summary, *findings))


def _shares(windows: Sequence[WindowTrace], strengths: RegularizationConfig) -> Iterator[tuple[str, Finding]]:
    """Mechanism and share dropped, of each place."""
    found = [dropout.words(window.seen, strengths) for window in windows]
    fates = [fate for window in found for fate in window.fates.values()]
    gone = sum(True in fate for fate in fates)
    yield (
        dropout.EMBEDDING,
        share(f"share of {strengths.embedding_drops} dropped", gone, len(fates), strengths.embedding_dropout),
    )
    units = [window.units for window in found]
    yield dropout.INPUT, dropout.dropped_share("share of input units dropped", units, strengths.input_dropout)
    for boundary in range(len(windows[0].seen.layers) - 1):
        hidden = dropout.hidden_factors(windows, boundary)
        what = f"share of units dropped after layer {boundary + 1}"
        yield dropout.HIDDEN, dropout.dropped_share(what, hidden, strengths.hidden_dropout)
    outputs = dropout.output_factors(windows)
    yield dropout.OUTPUT, dropout.dropped_share("share of output units dropped", outputs, strengths.output_dropout)
    for layer in range(len(windows[0].recurrent)):
        yield WEIGHTS, zero_share(windows, layer, strengths)
