"""DropConnect on the recurrent matrices, of weights or of columns: did the kernel use dropped weights, did gradients
reach the raw ones?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ablations.audit.cell import Cell, Finding, share, yes_or_no
from ablations.audit.probes.forward_probe import Nudge, Observer, WindowTrace
from awd.config import RegularizationConfig
from awd.engine import Precision

WEIGHTS = "weight drop"
_CHANCE = 1e-9  # below it, a coincidence is taken for a fault
# how far a kernel may be from the same LSTM in float64; outputs lie between -1 and 1, and bfloat16 has 8 bits
_KERNEL = {"fp32": 1e-4, "bf16": 1e-2}


def weight_cell(observer: Observer, windows: Sequence[WindowTrace]) -> Cell:
    """Share of recurrent weights without gradient, layer by layer, and what the kernel made of them."""
    strengths = observer.config.regularization
    p, drops = strengths.weight_dropout, strengths.recurrent_drops
    layers = range(len(windows[0].recurrent))
    findings = [zero_share(windows, layer, strengths) for layer in layers]
    findings += [finding for layer in layers for finding in _columns(windows, layer, strengths)]
    findings += _nudge_findings(observer.nudge)
    errors = observer.kernel_errors["train"]
    if errors:
        findings.append(kernel("LSTM written out with kept weights scaled by 1/(1-p)", errors, observer.precision))
    if p and _drawn_anew(windows, drops) is False:
        findings.append(Finding("from window to window", "the same", "drawn anew", ok=False))
    return Cell(WEIGHTS, tuple(findings))


def zero_share(windows: Sequence[WindowTrace], layer: int, strengths: RegularizationConfig) -> Finding:
    """Share of one recurrent matrix whose gradient is exactly zero, because the kernel never used those weights; or of
    its columns, each of which is what one unit of the state is multiplied by."""
    p, drops = strengths.weight_dropout, strengths.recurrent_drops
    what = f"share of layer {layer + 1}'s recurrent {drops} without gradient"
    found = [window.recurrent[layer] for window in windows]
    if any(recurrent.zero is None for recurrent in found):
        return Finding(what, "no gradient", f"{p:g}", ok=False)
    pairs = [(recurrent.zero, recurrent.visible) for recurrent in found if recurrent.zero is not None]
    if drops == "units":
        pairs = [((zero | ~visible).all(dim=0), visible.any(dim=0)) for zero, visible in pairs]
    hits = sum(int((zero & visible).sum()) for zero, visible in pairs)
    return share(what, hits, sum(int(visible.sum()) for _, visible in pairs), p)


def _columns(windows: Sequence[WindowTrace], layer: int, strengths: RegularizationConfig) -> Iterator[Finding]:
    """Whether the weights that read one unit of the state were dropped together."""
    p, together = strengths.weight_dropout, strengths.recurrent_drops == "units"
    mixed = seen = 0
    for recurrent in (window.recurrent[layer] for window in windows):
        if recurrent.zero is None:
            return
        zero, visible = recurrent.zero, recurrent.visible
        mixed += int(((zero & visible).any(dim=0) & (~zero & visible).any(dim=0)).sum())
        seen += int((visible.sum(dim=0) - 1).clamp_min(0).sum())
    telling = p > 0 and seen * math.log(p**2 + (1 - p) ** 2) < math.log(_CHANCE)
    what = f"layer {layer + 1}'s weights that read one unit"
    if together and p:
        yield yes_or_no(what, not mixed, "dropped together", f"each on its own in {mixed} columns")
    elif telling:
        yield yes_or_no(what, mixed > 0, "dropped each on its own", "together")


def _nudge_findings(nudge: Nudge | None) -> list[Finding]:
    if nudge is None:
        return []
    findings = []
    if nudge.dropped:
        what = f"outputs after a change of {nudge.dropped:,} weights without gradient"
        findings.append(yes_or_no(what, not nudge.dropped_moved, "the same bits", "changed"))
    if nudge.kept_moved:
        what = f"loss after a change of one kept weight a layer (by {nudge.loss_change:.1g} or more)"
        findings.append(yes_or_no(what, all(nudge.kept_moved), "changed", "the same"))
    return findings


def kernel(what: str, errors: Sequence[float], precision: Precision) -> Finding:
    """Layers' outputs against an LSTM written out; the largest difference counts."""
    allowed = _KERNEL[precision]
    largest = max(errors, key=lambda error: math.inf if math.isnan(error) else error)
    return Finding(what, f"off by {largest:.1g}", f"off by < {allowed:.0e}", largest < allowed)


def _drawn_anew(windows: Sequence[WindowTrace], drops: str) -> bool | None:
    """Whether some window dropped other weights than the first; ``None`` where chance could hide it."""
    first, *others = [window.recurrent for window in windows]
    seen = 0
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            if mine.zero is None or theirs.zero is None:
                return None
            both = mine.visible & theirs.visible
            if ((mine.zero != theirs.zero) & both).any():
                return True
            dropped = mine.zero & both
            seen += int((dropped.any(dim=0) if drops == "units" else dropped).sum())
    # where nothing is dropped there is nothing to draw anew
    return False if seen > 100 else None
