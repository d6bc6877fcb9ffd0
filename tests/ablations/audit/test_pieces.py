"""The audit's own arithmetic, against numbers known otherwise."""

from __future__ import annotations

import math

import pytest
import torch

from ablations.audit.cell import Cell, Finding, close, share, tolerance, yes_or_no
from ablations.audit.checks.windows import below_or_at
from ablations.audit.probes import reference, shortened
from awd.config import WindowConfig


def test_a_cell_shows_its_first_contradiction() -> None:
    cell = Cell("m", (Finding("a", "1", "1", ok=True), Finding("b", "2", "3", ok=False)))
    assert (cell.ok, cell.measured, cell.expected) == (False, "2", "3")
    assert [str(finding) for finding in cell.failures] == ["b: measured 2, expected 3"]


def test_a_share_may_lie_five_standard_errors_off() -> None:
    assert tolerance(0.5, 10_000) == pytest.approx(5 * 0.005 + 0.0005)
    assert share("s", 5_250, 10_000, 0.5).ok
    assert not share("s", 5_260, 10_000, 0.5).ok
    assert share("s", 0, 10_000, 0.0).ok
    assert not share("s", 10, 10_000, 0.0).ok
    assert not share("s", 0, 10_000, 0.1).ok
    assert share("s", 0, 0, 0.5).measured == "none to see"


def test_what_is_not_a_number_is_a_contradiction() -> None:
    assert not close("x", math.nan, 1.0, 0.1).ok
    assert yes_or_no("x", True, "y", "n").measured == "y"


def test_the_criterion_fires_on_the_script_where_its_reading_says() -> None:
    for interval in range(12):
        script = shortened.script(interval)
        right = reference.Schedule("nt-asgd", 1.0, interval, math.inf, 0.0, 0.0)
        assert [right.check(value) for value in script].index(True) + 1 == interval + 4
        if interval:  # v[-0:] is all of v
            last = [len(v) > interval and value > min(v[-interval:]) for value, v in _growing(script)]
            assert last.index(True) + 1 < interval + 4
        tie = [len(v) > interval and value >= min(v[: len(v) - interval]) for value, v in _growing(script)]
        assert tie.index(True) + 1 < interval + 4


def _growing(script: list[float]) -> list[tuple[float, list[float]]]:
    return [(value, script[:index]) for index, value in enumerate(script)]


def test_schedules() -> None:
    asgd = reference.Schedule("asgd", 2.0, 5, 1, 0.5, 1.0)
    assert asgd.next_rate(0.5) == 1.0
    assert [asgd.step() for _ in range(3)] == [False, True, True]
    assert asgd.next_rate(1.0) == pytest.approx(2.0 / (1 + 0.5 * 2.0 * 2))
    halving = reference.Schedule("sgd-halving", 8.0, 0, math.inf, 0.0, 0.0)
    assert [halving.check(value) for value in (3.0, 4.0, 2.0, 5.0)] == [False, True, False, True]
    assert halving.rate == 2.0


def test_the_plain_lstm_is_torchs() -> None:
    kernel = torch.nn.LSTM(3, 4)
    layer = torch.nn.Module()
    for name, parameter in kernel.named_parameters():
        layer.register_parameter(name.removesuffix("_l0"), parameter)
    inputs, hidden, cell = torch.randn(5, 2, 3), torch.randn(2, 4), torch.randn(2, 4)
    expected, _ = kernel(inputs, (hidden[None], cell[None]))
    found = reference.lstm(layer, layer.weight_hh, inputs, hidden, cell)
    torch.testing.assert_close(found.float(), expected, rtol=1e-5, atol=1e-6)


def test_parameters_of_the_papers_models() -> None:
    assert reference.parameter_count(10_000, 400, [1150, 1150, 400], tied=True) == 24_221_600
    assert reference.parameter_count(10_000, 1150, [1150, 1150, 1150], tied=True) == 43_277_600


def test_the_distribution_of_lengths() -> None:
    config = WindowConfig()
    values = torch.arange(0, 130, dtype=torch.float64)
    chances = below_or_at(values, config).diff(prepend=torch.zeros(1, dtype=torch.float64))
    assert chances.sum().item() == pytest.approx(1.0)
    assert (chances @ values).item() == pytest.approx(0.95 * 69.5 + 0.05 * 34.5, abs=1e-3)
    assert below_or_at(torch.tensor([4.0, 5.0]), config).tolist()[0] == 0
    fixed = below_or_at(torch.tensor([34.0, 35.0, 69.0, 70.0]), WindowConfig(spread=0.0)).tolist()
    assert fixed == pytest.approx([0, 0.05, 0.05, 1])
