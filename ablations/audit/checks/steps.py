"""Single steps: their rate by length, clipping, and the shrink that weight decay causes, all from how weights moved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import median

from ablations.audit.cell import Cell, Finding, yes_or_no
from ablations.audit.probes.step_probe import Moved, Step, Walk
from awd.trainer import TRAIN

_EXACT = 1e-4  # relative, of what a fit says about a movement that is not as due
_CLIPPED = 1e-9  # relative rounding of a norm
_CLIP_GUARD = 1e-6  # that torch adds to a norm before it divides by it


def rate_cell(walk: Walk, note: str) -> Cell:
    """The training phase's rates; ``note`` says how they differ from the configured ones, if they do."""
    steps = [step for step in walk.steps if step.phase == TRAIN]
    findings = [_base_rate(walk, steps, note), _by_length(walk, steps)]
    if walk.config.optimizer.method == "sgd-halving":
        findings.append(_halvings(walk, steps))
    return Cell("rate", tuple(findings))


def wrong_rates(steps: Sequence[Step]) -> Iterator[tuple[Step, float, float]]:
    """Steps at which some parameter moved at another rate than the one due, with that rate and the one due."""
    for step in steps:
        for moved in step.moved.values():
            if step.due is not None and rate_is_wrong(moved):
                yield step, moved.rate * step.due, step.due


def rate_is_wrong(moved: Moved) -> bool:
    """Whether what moved a parameter was not the rate due; NaN is not."""
    return not (moved.as_due or abs(moved.rate - 1) <= _EXACT)


def _base_rate(walk: Walk, steps: Sequence[Step], note: str) -> Finding:
    expected = walk.config.optimizer.learning_rate
    what = f"rate of a window of the base length{note}"
    # averaging's decay may not have begun, nor may anything have been halved
    first = next((step for step in steps if step.epoch == 1 and step.moved), None)
    if first is None:
        return Finding(what, "not seen", f"{expected:.4g}", ok=True)
    measured = expected * median(moved.rate for moved in first.moved.values())
    wrong = any(map(rate_is_wrong, first.moved.values()))
    return Finding(what, f"{measured:.4g}", f"{expected:.4g}", not wrong)


def _by_length(walk: Walk, steps: Sequence[Step]) -> Finding:
    what = f"rates at {len(steps)} steps, of lengths {_lengths(steps)} (base {walk.config.windows.length})"
    for step, measured, due in wrong_rates(steps):
        where = f" (length {step.length}, epoch {step.epoch})"
        return Finding(what + where, f"{measured:.4g}", f"{due:.4g}", ok=False)
    rule = "in proportion" if walk.config.windows.variable else "all the same"
    return Finding(what, rule, rule, ok=True)


def _lengths(steps: Sequence[Step]) -> str:
    lengths = sorted({step.length for step in steps})
    return ", ".join(map(str, lengths))


def _halvings(walk: Walk, steps: Sequence[Step]) -> Finding:
    """Checks after which the rate was half of what it had been."""
    bases: dict[int, float] = {}
    for step in steps:
        if step.moved:
            bases.setdefault(step.epoch, step.base * median(moved.rate for moved in step.moved.values()))
    pairs = ((epoch, bases[epoch], bases[epoch + 1]) for epoch in bases if epoch + 1 in bases)
    halved = [epoch for epoch, before, after in pairs if 0.49 * before < after < 0.51 * before]
    due = [check for check in walk.schedules[TRAIN].fired if check in bases and check + 1 in bases]
    return Finding("rate halved after checks", _checks(halved), _checks(due), halved == due)


def _checks(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"


def clipping_cell(walk: Walk) -> Cell:
    """Gradient norms before and after clipping."""
    clip = walk.config.optimizer.clip_norm
    before = [_total(norms[0] for norms in step.norms.values()) for step in walk.steps]
    after = [_total(norms[1] for norms in step.norms.values()) for step in walk.steps]
    wrong = 0
    for step, norm in zip(walk.steps, before, strict=True):
        factor = min(1.0, clip / (norm + _CLIP_GUARD)) if clip else 1.0
        wrong += any(not abs(now - factor * was) <= _CLIPPED * max(was, norm) for was, now in step.norms.values())
    reached = sum(clip is not None and norm > clip for norm in before)
    largest = max(after, default=0.0)
    limit = "none" if clip is None else f"<={clip:g}"
    text = f"{largest:.3g}" if clip is not None else "none"
    what = f"gradient norm (up to {max(before, default=0.0):.3g} before, {reached} of {len(before)} steps clipped)"
    too_large = clip is not None and largest > clip * (1 + _CLIPPED)
    return Cell(
        "clipping",
        (
            Finding(what, f"{largest:.3g}" if too_large else text, limit, not too_large),
            yes_or_no("every gradient", not wrong, "as it should be", f"not, at {wrong} steps"),
        ),
    )


def _total(norms: Iterator[float]) -> float:
    return math.hypot(*norms)


def decay_cell(walk: Walk) -> Cell:
    """The L2 term of every parameter, biases included, in both phases."""
    expected = walk.config.regularization.weight_decay
    found = [(name, moved) for step in walk.steps for name, moved in step.moved.items()]
    wrong: dict[str, float] = {}
    for name, moved in found:
        if _decay_is_wrong(moved, expected):
            wrong.setdefault(name, moved.decay * (expected or 1.0))
    decays = [moved.decay * (expected or 1.0) for _, moved in found]
    shrink = expected * walk.config.optimizer.learning_rate
    adam = walk.config.optimizer.method == "adam"
    what = "L2 term" if adam else f"L2 term: a step at the base rate shrinks weights by {shrink:.3g}"
    measured, due = f"{median(decays) if decays else 0:.2g}", f"{expected:.2g}"
    findings = [Finding(what, measured, due, not wrong or measured == due)]
    findings += [Finding(f"L2 term of {name}", f"{decay:.3g}", due, ok=False) for name, decay in wrong.items()]
    still = sorted({name for step in walk.steps for name in step.still})
    findings += [Finding(f"L2 term of {name}", "no gradient", due, ok=False) for name in still]
    return Cell("weight decay", tuple(findings))


def _decay_is_wrong(moved: Moved, expected: float) -> bool:
    if moved.as_due:
        return False
    right = abs(moved.decay - 1) <= _EXACT if expected else abs(moved.decay) <= _EXACT
    # a movement that neither term explains is put down here, unless the rate explains it
    return not right or not rate_is_wrong(moved)
