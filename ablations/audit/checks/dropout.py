"""Embedding and locked dropout: what was multiplied by what, seen from the inputs and outputs of the layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ablations.audit.cell import Cell, Finding, close, share, yes_or_no
from ablations.audit.probes.forward_probe import ForwardTrace, WindowTrace
from awd.config import RegularizationConfig

EMBEDDING, INPUT, HIDDEN, OUTPUT = "embed drop", "input drop", "hidden drop", "output drop"
_CLEAR = 1e4  # odds at which a case is clear
_CHANCE = 1e-9  # below it, a coincidence is taken for a fault
_EXACT = 1e-5  # relative rounding of a product in float32


@dataclass(frozen=True)
class Factors:
    """What a window's values were multiplied by at one place.

    Attributes:
        values: ``(time, batch, width)``.
        visible: where they can be read off: elsewhere a zero hides them.
    """

    values: Tensor
    visible: Tensor

    @property
    def dropped(self) -> Tensor:
        """Where the factor is 0, ``(time, batch, width)``."""
        return self.visible & (self.values == 0)

    @property
    def pattern(self) -> Tensor:
        """Units dropped at some step, ``(batch, width)``."""
        return self.dropped.any(dim=0)


def factors(before: Tensor, after: Tensor, visible: Tensor | None = None) -> Factors:
    """Elementwise ``after / before``."""
    readable = before != 0
    if visible is not None:
        readable = readable & visible
    return Factors(torch.where(readable, after / before, 1.0), readable)


@dataclass(frozen=True)
class Words:
    """What embedding and input dropout did to one window.

    Attributes:
        both: the two together.
        units: input dropout alone, where it can be seen.
        fates: for each distinct word, or unit of one, whether it was dropped at each place where that can be seen.
    """

    both: Factors
    units: Factors
    fates: dict[int, set[bool]]


def words(seen: ForwardTrace, strengths: RegularizationConfig) -> Words:
    """Tell what embedding dropout dropped from what input dropout did.

    What is zero wherever one mask of the input holds, which is a column of the window or a single step, may have been
    dropped by either. By which of the two is decided by the odds, before anything is looked at; where the odds are too
    even it is left out. So nothing is left where single units are dropped by both, at every step anew by the one.
    """
    both = factors(seen.embedded, seen.layers[0].inputs)
    gone, seen_at = both.dropped | ~both.visible, both.visible  # (time, batch, width)
    if strengths.embedding_drops == "words":
        gone, seen_at = gone.all(dim=-1, keepdim=True), seen_at.any(dim=-1, keepdim=True)  # (time, batch, 1)
    blank = gone.all(dim=0, keepdim=True) if strengths.mask_per == "window" else gone
    no_words, no_units = _odds(seen, strengths)
    unclear = (no_words <= no_units * _CLEAR) & (no_units <= no_words * _CLEAR) & (no_words > 0)
    is_units = ~unclear & (no_units > no_words)
    readable = ~unclear & ~(blank & is_units) & seen_at
    names = seen.tokens[:, :, None] * gone.shape[-1] + torch.arange(gone.shape[-1])
    fates: dict[int, set[bool]] = {}
    for name, dropped in zip(names[readable].tolist(), gone[readable].tolist(), strict=True):
        fates.setdefault(name, set()).add(dropped)
    shown = ~unclear & (~gone | (blank & is_units))
    return Words(both, Factors(both.values, both.visible & shown), fates)


def _odds(seen: ForwardTrace, strengths: RegularizationConfig) -> tuple[Tensor, Tensor]:
    """Chances that embedding dropout, and input dropout, empties all of a column or a step, or one unit of it where
    embedding dropout drops units; ``(1, batch, 1)`` each."""
    distinct = torch.tensor([len(column.unique()) for column in seen.tokens.t()], dtype=torch.float64)[None, :, None]
    words = distinct if strengths.mask_per == "window" else torch.ones_like(distinct)
    units = seen.embedded.shape[-1] if strengths.embedding_drops == "words" else 1
    no_words = torch.full_like(distinct, strengths.embedding_dropout) ** words
    return no_words, torch.full_like(distinct, strengths.input_dropout**units)


def embedding_cell(windows: Sequence[WindowTrace], strengths: RegularizationConfig) -> Cell:
    """Whole words, or units of them, a share of the vocabulary a minibatch, at every occurrence alike."""
    p, other, drops = strengths.embedding_dropout, strengths.input_dropout, strengths.embedding_drops
    found = [words(window.seen, strengths) for window in windows]
    fates = [fate for window in found for fate in window.fates.values()]
    apart = sum(len(fate) > 1 for fate in fates)
    findings = [
        share(f"share of {drops} dropped", sum(True in fate for fate in fates), len(fates), p),
        yes_or_no("occurrences of a word in a window", not apart, "together", f"apart for {apart} {drops}"),
        _scale_with("kept words, with input dropout, are scaled by", [window.both for window in found], p, other),
    ]
    if drops == "units":
        findings += _apart(found, windows[0].seen.embedded.shape[-1], p)
    again = [
        first.fates[word] == second.fates[word]
        for first, second in itertools.pairwise(found)
        for word in first.fates.keys() & second.fates.keys()
    ]
    if len(again) * math.log(_agreement(p)) < math.log(_CHANCE):
        findings.append(yes_or_no("from window to window", not all(again), "drawn anew", "the same words"))
    return Cell(EMBEDDING, tuple(findings))


def _apart(found: Sequence[Words], width: int, p: float) -> list[Finding]:
    """Whether some word lost some of its units, and kept others."""
    lost: dict[tuple[int, int], list[bool]] = {}  # by window and word, of each unit that can be seen
    for place, window in enumerate(found):
        for name, fate in window.fates.items():
            lost.setdefault((place, name // width), []).append(True in fate)
    if sum(len(of_word) - 1 for of_word in lost.values()) * math.log(_agreement(p)) >= math.log(_CHANCE):
        return []
    apart = any(len(set(of_word)) > 1 for of_word in lost.values())
    return [yes_or_no("units of a word", apart, "each on its own", "together")]


def input_cell(windows: Sequence[WindowTrace], strengths: RegularizationConfig) -> Cell:
    """Dropout on the embedded input."""
    p, other = strengths.input_dropout, strengths.embedding_dropout
    found = [words(window.seen, strengths) for window in windows]
    scale = _scale_with(
        "kept units, with embedding dropout, are scaled by", [window.both for window in found], p, other
    )
    return Cell(INPUT, (*units([window.units for window in found], p, strengths), scale))


def _scale_with(what: str, found: Sequence[Factors], p: float, other: float) -> Finding:
    """The scale of embedding and input dropout together, which alone is seen; a scale that the other lacks is its."""
    measured, expected = _measured_scale(found), 1 / ((1 - p) * (1 - other))
    if measured is None:
        return Finding(what, "none kept", f"{expected:.4g}", ok=True)

    def lacks(share: float) -> bool:
        return abs(measured / (expected * (1 - share)) - 1) <= _EXACT

    finding = close(what, measured, expected, _EXACT * expected)
    return replace(finding, ok=finding.ok or (lacks(other) and not lacks(p)))


def hidden_cell(windows: Sequence[WindowTrace], strengths: RegularizationConfig) -> Cell:
    """Dropout between layers, boundary by boundary."""
    p = strengths.hidden_dropout
    boundaries = len(windows[0].seen.layers) - 1
    findings: list[Finding] = []
    for index in range(boundaries):
        place = f" after layer {index + 1}" if boundaries > 1 else ""
        found = hidden_factors(windows, index)
        findings += [
            replace(finding, what=finding.what + place) for finding in (*units(found, p, strengths), _scale(found, p))
        ]
    return Cell(HIDDEN, tuple(findings) or (Finding("layers", "one", "one", ok=True),))


def hidden_factors(windows: Sequence[WindowTrace], boundary: int) -> list[Factors]:
    """Dropout between one layer and the next."""
    pairs = [window.seen.layers[boundary : boundary + 2] for window in windows]
    return [factors(before.outputs, after.inputs) for before, after in pairs]


def output_cell(windows: Sequence[WindowTrace], strengths: RegularizationConfig) -> Cell:
    """Dropout on the last layer's output."""
    p = strengths.output_dropout
    found = output_factors(windows)
    return Cell(OUTPUT, (*units(found, p, strengths), _scale(found, p)))


def output_factors(windows: Sequence[WindowTrace]) -> list[Factors]:
    """Dropout between the last layer and the decoder."""
    return [factors(window.seen.raw, window.seen.dropped) for window in windows]


def dropped_share(what: str, found: Sequence[Factors], p: float) -> Finding:
    """Share of units dropped; locked, so that steps of time are not draws of their own."""
    dropped, units = 0.0, 0
    for window in found:
        steps = window.visible.sum(dim=0)
        dropped += (window.dropped.sum(dim=0) / steps.clamp_min(1)).sum().item()
        units += int((steps > 0).sum())
    return share(what, dropped, units, p)


def units(found: Sequence[Factors], p: float, strengths: RegularizationConfig) -> list[Finding]:
    """Share dropped, constant over time or not as configured, different across the batch and from window to window."""
    constant = all(not (window.visible & (window.dropped != window.pattern)).any() for window in found)
    same = _agreement(p)
    over_time = [yes_or_no("over time", constant, "constant", "changes")]
    if strengths.mask_per == "step":
        pairs = sum(int((window.visible[1:] & window.visible[:-1]).sum()) for window in found)
        telling = pairs * math.log(same) < math.log(_CHANCE)
        over_time = [yes_or_no("over time", not constant, "changes", "constant")] if telling else []
        found = _side_by_side(found)
    findings = [dropped_share("share of units dropped", found, p), *over_time]
    across = [_compared(*_columns(window)) for window in found]
    if sum(units for units, _ in across) * math.log(same) < math.log(_CHANCE):
        differ = any(differs for _, differs in across)
        findings.append(yes_or_no("across the batch", differ, "differs", "the same"))
    along = [_compared(first, second) for first, second in itertools.pairwise(found)]
    if sum(units for units, _ in along) * math.log(same) < math.log(_CHANCE):
        anew = any(differs for _, differs in along)
        findings.append(yes_or_no("from window to window", anew, "drawn anew", "the same"))
    return findings


def _side_by_side(found: Sequence[Factors]) -> list[Factors]:
    """Windows, cut to the shortest, as of one step in which every step's units stand beside those of the others."""
    steps = min(len(window.values) for window in found)
    # (time, batch, width) -> (1, batch, time * width)
    cut = [[part[:steps].transpose(0, 1).flatten(1)[None] for part in (one.values, one.visible)] for one in found]
    return [Factors(values, visible) for values, visible in cut]


def _agreement(p: float) -> float:
    """Chance that two draws agree."""
    return p**2 + (1 - p) ** 2


def _columns(window: Factors) -> tuple[Factors, Factors]:
    """All columns but the first, and their neighbours."""
    return (
        Factors(window.values[:, 1:], window.visible[:, 1:]),
        Factors(window.values[:, :-1], window.visible[:, :-1]),
    )


def _compared(first: Factors, second: Factors) -> tuple[int, bool]:
    """How many units can be seen on both sides, and whether one of them is dropped on one side only."""
    both = first.visible.any(dim=0) & second.visible.any(dim=0)
    return int(both.sum()), bool(((first.pattern != second.pattern) & both).any())


def _measured_scale(found: Sequence[Factors]) -> float | None:
    """The factor of what was kept that lies farthest from the median; ``None`` if nothing was."""
    kept = torch.cat([window.values[window.visible & ~window.dropped] for window in found]).double()
    if not len(kept):
        return None
    median = kept.median()
    return kept[(kept - median).abs().argmax()].item()


def _scale(found: Sequence[Factors], p: float) -> Finding:
    measured, what = _measured_scale(found), "kept units are scaled by"
    if measured is None:
        return Finding(what, "none kept", f"{1 / (1 - p):.4g}", ok=True)
    return close(what, measured, 1 / (1 - p), _EXACT / (1 - p))
