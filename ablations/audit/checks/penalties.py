"""The loss: a softmax over every word's undropped vector, AR and TAR, from the gradients that came back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from ablations.audit.cell import Cell, Finding, close
from ablations.audit.probes import reference
from ablations.audit.probes.forward_probe import WindowTrace
from awd.config import RegularizationConfig
from awd.engine import Precision

_ROUNDING = {"fp32": 1e-3, "bf16": 2e-2}  # relative, of gradients
_LOSS = 1e-3  # relative
_PRECISION = 0.01  # relative, of a fitted strength
_PARALLEL = 1 - 1e-9
_ULPS = 16 * torch.finfo(torch.float32).eps
_ERRORS = 6  # standard errors besides


def softmax_cell(windows: Sequence[WindowTrace], precision: Precision) -> Cell:
    """Cross-entropy and its gradient are those of all words' raw vectors: embedding dropout stays in the look-up."""
    off = max(_off(window) for window in windows)
    reported, own = (fmean(getattr(window, name) for window in windows) for name in ("cross_entropy", "own"))
    seen = off <= _ROUNDING[precision]
    sees = "all" if seen else f"off by {off:.1g}"
    return Cell(
        "softmax",
        (
            Finding("words whose undropped vectors made the cross-entropy's gradient", sees, "all", seen),
            close("cross-entropy", reported, own, _LOSS * own),
        ),
    )


def _off(window: WindowTrace) -> float:
    """Relative difference of the cross-entropy's gradients; where the dropout is not shown, the own one is a guess."""
    reported, own = (window.gradients[name][window.seen.shown] for name in ("reported", "own"))
    return ((reported - own).norm() / own.norm().clamp_min(1e-30)).item()


def penalty_cells(windows: Sequence[WindowTrace], strengths: RegularizationConfig) -> list[Cell]:
    """AR and TAR: strengths that explain the gradient beyond the cross-entropy's, value and share of the loss."""
    fitted = fit(windows)
    alpha, beta = strengths.activation_penalty, strengths.temporal_activation_penalty
    means = {
        "AR": fmean(window.seen.dropped.double().square().mean().item() for window in windows),
        "TAR": fmean(_mean_square_difference(window.seen.raw) for window in windows),
    }
    values = {"AR": alpha * means["AR"], "TAR": beta * means["TAR"]}
    loss = fmean(window.own for window in windows) + sum(values.values())
    cells = []
    for name, strength, other in (("AR", alpha, "AR, undropped"), ("TAR", beta, "TAR, dropped")):
        if name not in fitted:
            cells.append(Cell(name, (Finding("windows", "one step", "one step", ok=True),)))
            continue
        value = f"strength (at the start: value {values[name]:.3g}, {100 * values[name] / loss:.2g}% of the loss)"
        findings = [_strength(value, fitted[name], strength, _PRECISION * strength)]
        if other in fitted:
            which = "of the output before dropout" if name == "AR" else "of the output after dropout"
            findings.append(_strength(f"strength {which}", fitted[other], 0.0, _PRECISION * strength))
        cells.append(Cell(name, tuple(findings)))
    return cells


def _mean_square_difference(raw: Tensor) -> float:
    return (raw[1:] - raw[:-1]).double().square().mean().item() if len(raw) > 1 else 0.0


def _strength(what: str, fitted: tuple[float, float], expected: float, allowed: float) -> Finding:
    strength, error = fitted
    finding = close(what, strength, expected, allowed + error)
    return Finding(what, "0", "0", ok=True) if not expected and finding.ok else finding


def fit(windows: Sequence[WindowTrace]) -> dict[str, tuple[float, float]]:
    """Strength of each penalty and its largest likely error, by least squares on what was differentiated.

    The gradient of the total less that of the cross-entropy is a sum of the penalties' gradients, each times its
    strength. Penalties on the wrong one of raw and dropped output are fitted too, where the two differ. Elements whose
    dropout is not shown are left out.
    """
    columns: dict[str, list[Tensor]] = {}
    penalties = []
    for window in windows:
        shown = window.seen.shown
        found = reference.penalty_gradients(window.seen.raw, window.seen.output_factors)
        rest = window.gradients.get("total", window.gradients["reported"]) - window.gradients["reported"]
        penalties.append(rest[shown])
        for name in ("AR", "TAR", "AR, undropped", "TAR, dropped"):
            columns.setdefault(name, []).append(found.get(name, torch.zeros_like(rest))[shown])
    joined = {name: torch.cat(parts) for name, parts in columns.items()}
    joined = {name: column for name, column in joined.items() if column.any()}
    for name, alternative in (("AR", "AR, undropped"), ("TAR", "TAR, dropped")):
        if name in joined and torch.cosine_similarity(joined[name], joined[alternative], dim=0) > _PARALLEL:
            del joined[alternative]  # nothing was dropped, so that the two are one
    # each of the two gradients subtracted was rounded
    rounding = _ULPS * math.hypot(*(window.gradients["reported"].norm().item() for window in windows))
    return _least_squares(joined, torch.cat(penalties), rounding)


def _least_squares(columns: dict[str, Tensor], values: Tensor, rounding: float) -> dict[str, tuple[float, float]]:
    norms = torch.stack([column.norm() for column in columns.values()])
    matrix = torch.stack(list(columns.values()), dim=1) / norms
    inverse = torch.linalg.pinv(matrix.t() @ matrix, hermitian=True)
    strengths = inverse @ (matrix.t() @ values)
    spare = max(len(values) - len(columns), 1)
    variance = (values - matrix @ strengths).square().sum() / spare
    errors = (inverse.diagonal().clamp_min(0).sqrt() * (_ERRORS * variance.sqrt() + rounding)) / norms
    return dict(zip(columns, zip((strengths / norms).tolist(), errors.tolist(), strict=True), strict=True))
