"""Which weights were validated and kept, when averaging began, and what fine-tuning started from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ablations.audit.cell import Cell, Finding, yes_or_no
from ablations.audit.checks.steps import wrong_rates
from ablations.audit.probes.step_probe import Check, Walk
from awd.trainer import FINETUNE, TRAIN


def averaging_cell(walk: Walk) -> Cell:
    """When averaging began in the training phase, and whether validation saw the mean of the iterates since."""
    checks = [check for check in walk.checks if check.phase == TRAIN]
    return Cell(
        "averaging",
        (
            _start(walk, checks),
            _judged(checks),
            yes_or_no("weights between steps", not walk.replaced, "left alone", f"replaced in epochs {walk.replaced}"),
            _decay_term(walk),
            yes_or_no("weights kept at the end", walk.kept_best, "the best", "others"),
        ),
    )


def _start(walk: Walk, checks: Sequence[Check]) -> Finding:
    schedule = walk.schedules[TRAIN]
    what = "averaging begins after"
    if schedule.method == "nt-asgd":
        shown = f" (perplexities {', '.join(f'{value:.3g}' for value in schedule.values)})"
        what = f"the criterion of n = {schedule.interval}{shown} starts averaging at"
        due = f"check {schedule.fired[0]}" if schedule.fired else "never"
    else:
        due = "never" if math.isinf(schedule.average_from) else f"step {schedule.average_from:g}"
        due = f"check {schedule.average_from_epoch}" if schedule.average_from_epoch else due
    if all(check.as_due for check in checks):
        return Finding(what, due, due, ok=True)
    seen = [check.number for check in checks if not check.raw]
    measured = f"check {seen[0] - 1}" if seen else "never"
    # begun where it should: what is wrong is the average, which is another finding's
    return Finding(what, measured, due, ok=measured == due)


def _judged(checks: Sequence[Check]) -> Finding:
    what = "weights validated"
    averages = sum(check.averaged > 0 for check in checks)
    due = f"mean of iterates at {averages} of {len(checks)} checks" if averages else "the last iterate"
    wrong = [check for check in checks if not check.as_due]
    if not wrong:
        return Finding(what, due, due, ok=True)
    first = wrong[0]
    was = "the last iterate" if first.raw else "neither that nor the last iterate"
    expected = f"mean of {first.averaged} iterates" if first.averaged else "the last iterate"
    return Finding(f"{what} at check {first.number}", was, expected, ok=False)


def _decay_term(walk: Walk) -> Finding:
    """Polyak-Juditsky's own shrink; the decay of the rate while averaging is part of the rate."""
    lambd = f"{walk.config.optimizer.lambd:g}"
    wrong = sum(not step.shrunk_as_due for step in walk.steps)
    return Finding("lambd", f"off at {wrong} steps" if wrong else lambd, lambd, not wrong)


def finetuning_cell(walk: Walk) -> Cell:
    """The second phase: from the best weights, averaged from its first step, ended by the criterion."""
    checks = [check for check in walk.checks if check.phase == FINETUNE]
    steps = [step for step in walk.steps if step.phase == FINETUNE]
    if not walk.config.finetuning.epochs:
        return Cell("fine-tuning", (yes_or_no("the phase", not steps, "none", f"{len(steps)} steps"),))
    if not steps:
        return Cell("fine-tuning", (Finding("the phase", "none", "best", ok=False),))
    schedule = walk.schedules[FINETUNE]
    end = schedule.fired[0] if schedule.fired else walk.config.finetuning.epochs
    wrong = next(wrong_rates(steps), None)
    rate = f"{schedule.rate:.4g}"
    return Cell(
        "fine-tuning",
        (
            yes_or_no("it starts from", bool(walk.started_from_best), "best", "others"),
            _judged(checks),
            Finding("rate", rate, rate, ok=True)
            if wrong is None
            else Finding(f"rate at length {wrong[0].length}", f"{wrong[1]:.4g}", f"{wrong[2]:.4g}", ok=False),
            Finding("it ends at check", f"{len(checks)}", f"{end}", len(checks) == end),
        ),
    )
