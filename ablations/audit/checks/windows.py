"""Lengths of backpropagation through time: 10,000 draws against their distribution, and the run's own windows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ablations.audit.cell import Cell, Finding, close, share, yes_or_no
from ablations.audit.probes.forward_probe import Observer
from awd import windows as windows_module
from awd.config import WindowConfig

_DRAWS = 10_000
_CHANCE = 1e-9
_ERRORS = 6
_LONGEST = 5_000_000  # lengths up to which the distribution is tabulated


def windows_cell(observer: Observer, config: WindowConfig, seed: int) -> Cell:
    """Draws of the real generator of windows, and whether the run's windows covered its text once, in order."""
    stream = torch.Generator().manual_seed(seed)
    drawn = list(itertools.islice(windows_module.windows(10**12, config, stream), _DRAWS))
    lengths = torch.tensor([window.length for window in drawn], dtype=torch.float64)
    scales = torch.tensor([window.rate_scale for window in drawn], dtype=torch.float64)
    expected = lengths / config.length if config.variable else torch.ones(_DRAWS, dtype=torch.float64)
    if config.variable:
        findings = _distribution(lengths, config)
    else:
        constant = bool((lengths == config.length).all())
        findings = [yes_or_no("lengths", constant, f"{config.length}", f"{lengths.min():g}-{lengths.max():g}")]
    # the formula in words, since one number cannot stand for all lengths
    rule = "length / base" if config.variable else "1"
    exact = torch.allclose(scales, expected, rtol=1e-12, atol=0)
    wrong = f"{scales.min():.3g}-{scales.max():.3g}"
    return Cell("windows", (*findings, yes_or_no("factor on the rate", exact, rule, wrong), *_text(observer)))


def _text(observer: Observer) -> list[Finding]:
    rows = len(observer.text) - 1
    whole = all(sum(lengths) == rows for lengths in observer.lengths)
    in_order = all(window.in_order for window in observer.windows)
    carried = True
    for before, window in zip([None, *observer.windows], observer.windows, strict=False):
        for index, layer in enumerate(window.seen.layers):
            goes_on = before is not None and before.epoch == window.epoch
            due = before.seen.layers[index].outputs[-1] if goes_on and before else torch.zeros_like(layer.hidden)
            carried = carried and torch.equal(layer.hidden, due)
    return [
        yes_or_no("the text", whole and in_order, "each token once", "not each token once, in order"),
        yes_or_no("state from window to window", carried, "carried", "not carried"),
    ]


def _distribution(lengths: Tensor, config: WindowConfig) -> list[Finding]:
    bound = math.sqrt(math.log(2 / _CHANCE) / (2 * _DRAWS))  # Dvoretzky, Kiefer, Wolfowitz, Massart
    values = lengths.unique()
    measured = torch.searchsorted(lengths.sort().values, values, right=True) / _DRAWS
    distance = (measured - below_or_at(values, config)).abs().max().item()
    halfway = torch.tensor([math.floor(0.75 * config.length)], dtype=torch.float64)
    short = below_or_at(halfway, config).item()
    shortest = lengths.min().item()
    return [
        *_moments(lengths, config),
        share("share below 3/4 of the base", int((lengths <= halfway).sum()), _DRAWS, min(round(short, 6), 1.0)),
        Finding("distance of the distribution", f"{distance:.3f}", f"<{bound:.3f}", distance <= bound),
        Finding("shortest", f"{shortest:g}", f">={config.minimum}", shortest >= config.minimum),
    ]


def _moments(lengths: Tensor, config: WindowConfig) -> list[Finding]:
    top = int(config.length + 12 * config.spread) + 2
    if top > _LONGEST:
        return []
    values = torch.arange(config.minimum, max(top, config.minimum + 1), dtype=torch.float64)
    chances = below_or_at(values, config).diff(prepend=torch.zeros(1, dtype=torch.float64))
    mean = (chances @ values).item()
    second, fourth = ((chances @ (values - mean) ** power).item() for power in (2, 4))
    deviation = math.sqrt(max(second, 0.0))
    mean_error = deviation / math.sqrt(_DRAWS)
    # standard error of a sample's standard deviation
    spread_error = math.sqrt(max(fourth - second**2, 0) / _DRAWS) / (2 * deviation) if deviation else 0.0
    # which is all there is where two lengths are equally likely
    second_order = _ERRORS**2 / (2 * _DRAWS)
    return [
        close("mean length", lengths.mean().item(), mean, _ERRORS * mean_error + 1e-6 * mean, digits=3),
        close("spread", lengths.std().item(), deviation, _ERRORS * spread_error + second_order * deviation, digits=3),
    ]


def below_or_at(values: Tensor, config: WindowConfig) -> Tensor:
    """P(length <= value), for whole values: a normal draw truncated to an integer, no less than the minimum."""
    chance = torch.zeros_like(values)
    for base, weight in _bases(config):
        if config.spread:
            below = torch.special.ndtr((values + 1 - base) / config.spread)
        else:
            below = (math.trunc(base) <= values).double()
        chance += weight * below
    return torch.where(values >= config.minimum, chance, 0.0)


def _bases(config: WindowConfig) -> Sequence[tuple[float, float]]:
    return [(config.length, 1 - config.short_probability), (config.length / 2, config.short_probability)]
