import math

import pytest
import torch
from torch import nn

from awd.dropout import bernoulli_mask
from awd.engine import PLAIN, Engine
from awd.lstm import WeightDropLSTM
from awd.streams import Streams
from tests.awd.engines import FP32, label

INPUT, HIDDEN, TIME, BATCH = 4, 5, 6, 3
in_both_engines = pytest.mark.parametrize("engine", FP32, ids=label)


def layer(engine: Engine = PLAIN) -> WeightDropLSTM:
    torch.manual_seed(0)
    return WeightDropLSTM(INPUT, HIDDEN, engine).double()


def inputs() -> torch.Tensor:
    return torch.randn(TIME, BATCH, INPUT, generator=torch.Generator().manual_seed(1)).double()


def state() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    hidden, cell = torch.randn(2, BATCH, HIDDEN, generator=generator).double()
    return hidden, cell


def mask() -> torch.Tensor:
    return bernoulli_mask((4 * HIDDEN, HIDDEN), 0.3, Streams(0)["mask"], torch.device("cpu"), torch.float64)


@in_both_engines
@pytest.mark.parametrize("weight_mask", [None, mask()])
def test_it_is_torchs_lstm_with_the_dropped_weights_put_in(weight_mask, engine):
    mine, torchs = layer(engine), nn.LSTM(INPUT, HIDDEN).double()
    dropped = mine.weight_hh if weight_mask is None else mine.weight_hh * weight_mask
    with torch.no_grad():
        for name, weight in [("weight_ih", mine.weight_ih), ("bias_ih", mine.bias_ih), ("bias_hh", mine.bias_hh)]:
            getattr(torchs, f"{name}_l0").copy_(weight)
        torchs.weight_hh_l0.copy_(dropped)
    hidden, cell = state()
    output, after = mine(inputs(), (hidden, cell), weight_mask)
    expected, expected_after = torchs(inputs(), (hidden[None], cell[None]))
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(after, tuple(part[0] for part in expected_after))


@in_both_engines
def test_the_state_after_a_window_carries_on(engine):
    whole, whole_state = layer(engine)(inputs(), state(), mask())
    first, between = layer(engine)(inputs()[:2], state(), mask())
    second, after = layer(engine)(inputs()[2:], between, mask())
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(after, whole_state)


@in_both_engines
def test_shapes_in_and_out(engine):
    output, (hidden, cell) = layer(engine)(inputs(), state())
    assert output.shape == (TIME, BATCH, HIDDEN)
    assert hidden.shape == cell.shape == (BATCH, HIDDEN)
    assert torch.equal(output[-1], hidden)


@in_both_engines
def test_the_raw_weights_are_left_as_they_were(engine):
    lstm = layer(engine)
    before = {name: tensor.clone() for name, tensor in lstm.state_dict().items()}
    lstm(inputs(), state(), mask())
    torch.testing.assert_close(lstm.state_dict(), before, rtol=0, atol=0)
    assert set(before) == {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}


def test_all_weights_start_uniform_in_one_over_the_root_of_the_hidden_size():
    torch.manual_seed(0)
    for parameter in WeightDropLSTM(30, 100).parameters():
        assert parameter.abs().max().item() == pytest.approx(1 / math.sqrt(100), rel=0.05)
        assert parameter.abs().max().item() <= 1 / math.sqrt(100)
