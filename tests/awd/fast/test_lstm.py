import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from awd.engine import Weights, torch_lstm
from awd.fast import lstm as lstm_module
from awd.fast.lstm import FastLSTM
from tests.awd.strategies import bounded

TIME, BATCH, INPUT, HIDDEN = 6, 3, 4, 5
NAMES = ("inputs", "hidden", "cell", "weight_ih", "weight_hh", "bias_ih", "bias_hh")
# gate values whose derivatives are formed at a time: all, those of two steps (the last chunk is shorter), of one
CHUNKS = {"all steps": 1 << 18, "four steps": 4 * BATCH * 4 * HIDDEN, "one step": 1}


def arguments(
    dtype: torch.dtype = torch.float64,
    time: int = TIME,
    batch: int = BATCH,
    width: int = INPUT,
    hidden: int = HIDDEN,
    seed: int = 0,
) -> tuple[list[Tensor], Tensor]:
    """All that gets a gradient, and a mask of the recurrent weights."""
    draw = torch.Generator().manual_seed(seed)
    state, gates = (batch, hidden), 4 * hidden
    shapes = [(time, batch, width), state, state, (gates, width), (gates, hidden), (gates,), (gates,)]
    leaves = [torch.randn(*shape, generator=draw).mul_(0.7).to(dtype).requires_grad_() for shape in shapes]
    return leaves, (torch.rand(gates, hidden, generator=draw) < 0.7).to(dtype) / 0.7


def fast(leaves: list[Tensor], mask: Tensor | None = None, operand: torch.dtype | None = None) -> tuple[Tensor, ...]:
    return FastLSTM.apply(*leaves, mask, operand or leaves[0].dtype)


def by_hand(leaves: list[Tensor], mask: Tensor | None = None) -> tuple[Tensor, ...]:
    inputs, hidden, cell, w_x, w_h, b_x, b_h = leaves
    outputs = []
    for x in inputs:
        i, f, g, o = (x @ w_x.T + b_x + hidden @ (w_h if mask is None else mask * w_h).T + b_h).chunk(4, dim=1)
        cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return torch.stack(outputs), hidden, cell


def torchs(leaves: list[Tensor], mask: Tensor | None = None) -> tuple[Tensor, ...]:
    weights = Weights(*leaves[3:])
    dropped = weights.recurrent if mask is None else mask * weights.recurrent
    outputs, state = torch_lstm(leaves[0], leaves[1:3], weights._replace(recurrent=dropped), leaves[0].dtype)
    return outputs, *state


def weighed(results: tuple[Tensor, ...]) -> Tensor:
    """A scalar that every number of outputs, hidden and cell state has a part of its own in."""
    return sum((result * torch.arange(1, result.numel() + 1).view(result.shape).cos()).sum() for result in results)


def values_and_gradients(run: Callable[..., tuple[Tensor, ...]], leaves: list[Tensor], *more: Any) -> dict[str, Tensor]:
    results = run(leaves, *more)
    gradients = torch.autograd.grad(weighed(results), leaves)
    named = zip(("outputs", "last hidden", "last cell"), results, strict=True)
    return {name: result.detach() for name, result in named} | dict(zip(NAMES, gradients, strict=True))


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected).norm() / expected.norm()).item()


@pytest.fixture(params=CHUNKS.values(), ids=CHUNKS)
def chunk(request, monkeypatch):
    monkeypatch.setattr(lstm_module, "_CHUNK", request.param)


@pytest.mark.usefixtures("chunk", "packed")
@pytest.mark.parametrize("expected", [by_hand, torchs])
@pytest.mark.parametrize("masked", [True, False])
def test_it_is_the_lstm_with_the_dropped_weights_put_in(masked, expected):
    leaves, mask = arguments()
    more = [mask if masked else None]
    torch.testing.assert_close(
        values_and_gradients(fast, leaves, *more), values_and_gradients(expected, leaves, *more), rtol=1e-12, atol=1e-13
    )


class RunAnew(torch.autograd.Function):
    """FastLSTM with a forward pass for every backward pass: gradcheck asks for many, and it gives one."""

    @staticmethod
    def forward(ctx, mask, *leaves):
        ctx.mask = mask
        ctx.save_for_backward(*leaves)
        return tuple(result.clone() for result in fast(list(leaves), mask))

    @staticmethod
    def backward(ctx, *incoming):
        leaves = [leaf.detach().requires_grad_() for leaf in ctx.saved_tensors]
        with torch.enable_grad():
            results = fast(leaves, ctx.mask)
        return None, *torch.autograd.grad(results, leaves, incoming)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("masked", [True, False])
def test_its_gradients_are_those_of_finite_differences(masked):
    leaves, mask = arguments()
    assert torch.autograd.gradcheck(lambda *parts: RunAnew.apply(mask if masked else None, *parts), leaves)


@bounded(80)
@given(
    time=st.integers(1, 9),
    batch=st.integers(1, 5),
    width=st.integers(1, 9),
    hidden=st.integers(1, 9),
    chunk=st.integers(1, 400),
    masked=st.booleans(),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    seed=st.integers(0, 2**32),
)
def test_no_shape_and_no_cut_changes_the_function(time, batch, width, hidden, chunk, masked, dtype, seed):
    leaves, mask = arguments(dtype, time, batch, width, hidden, seed)
    more = [mask if masked else None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lstm_module, "_CHUNK", chunk)
        found = values_and_gradients(fast, leaves, *more)
    exact = {"rtol": 1e-10, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found, values_and_gradients(by_hand, leaves, *more), **exact)


# measured at most: 2e-7 in float32; 7e-3 in bfloat16, which has 8 bits of mantissa (and at least 1.5e-3)
@pytest.mark.usefixtures("chunk", "packed")
@pytest.mark.parametrize(
    ("operand", "least", "most"), [(torch.float32, 0, 6e-7), (torch.bfloat16, 5e-4, 2e-2)], ids=["float32", "bfloat16"]
)
@pytest.mark.parametrize("masked", [True, False])
def test_in_single_precision_it_is_as_exact_as_what_it_multiplies(masked, operand, least, most):
    leaves, mask = arguments(torch.float32)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    mask = mask if masked else None
    found = values_and_gradients(fast, leaves, mask, operand)
    expected = values_and_gradients(by_hand, exact, None if mask is None else mask.double())
    for name, value in found.items():
        assert value.dtype == torch.float32
        assert least <= relative_error(value, expected[name]) <= most, name


def test_a_model_in_half_precision_is_torchs_to_its_three_digits():
    leaves, mask = arguments(torch.float16)
    for found, expected in zip(fast(leaves, mask), torchs(leaves, mask), strict=True):
        assert found.dtype == torch.float16
        torch.testing.assert_close(found, expected, rtol=0, atol=4e-3)


@pytest.mark.parametrize("operand", [torch.float32, torch.bfloat16])
def test_the_gradient_of_a_dropped_weight_is_exactly_zero(operand):
    leaves, mask = arguments(torch.float32)
    gradient = values_and_gradients(fast, leaves, mask, operand)["weight_hh"]
    assert torch.equal(gradient == 0, mask == 0)


@pytest.mark.parametrize("masked", [True, False])
def test_a_state_carried_across_two_windows_makes_them_one_long_one(masked):
    leaves, mask = arguments()
    mask = mask if masked else None

    def in_two_windows(parts: list[Tensor], mask: Tensor | None) -> tuple[Tensor, ...]:
        inputs, _, _, *weights = parts
        first, *between = fast([inputs[:2], *parts[1:3], *weights], mask)
        second, *after = fast([inputs[2:], *between, *weights], mask)
        return torch.cat([first, second]), *after

    torch.testing.assert_close(
        values_and_gradients(in_two_windows, leaves, mask), values_and_gradients(fast, leaves, mask)
    )


@pytest.mark.parametrize("of", [0, 1, 2], ids=["outputs", "last hidden", "last cell"])
def test_each_result_alone_has_its_own_gradients(of):
    leaves, mask = arguments()
    found, expected = (torch.autograd.grad(run(leaves, mask)[of].sum(), leaves) for run in (fast, by_hand_connected))
    torch.testing.assert_close(found, expected)


def by_hand_connected(leaves: list[Tensor], mask: Tensor | None) -> tuple[Tensor, ...]:
    # a part that does not depend on an argument would have None for its gradient
    return tuple(result + 0 * sum(leaf.sum() for leaf in leaves) for result in by_hand(leaves, mask))


@pytest.mark.parametrize("frozen", range(len(NAMES)), ids=NAMES)
def test_what_needs_no_gradient_gets_none_and_the_others_theirs(frozen):
    leaves, mask = arguments()
    expected = values_and_gradients(fast, leaves, mask)
    leaves[frozen].requires_grad_(False)
    weighed(fast(leaves, mask)).backward()
    for name, leaf in zip(NAMES, leaves, strict=True):
        if leaf is leaves[frozen]:
            assert leaf.grad is None
        else:
            torch.testing.assert_close(leaf.grad, expected[name])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("operand", [torch.float32, torch.bfloat16])
def test_without_gradients_it_gives_the_same(mode, operand):
    leaves, mask = arguments(torch.float32)
    with mode():
        alone = [result.clone() for result in fast(leaves, mask, operand)]
    for mine, tracked in zip(alone, fast(leaves, mask, operand), strict=True):
        assert not mine.requires_grad
        torch.testing.assert_close(mine, tracked.detach(), rtol=0, atol=0)


def test_a_second_backward_pass_raises():
    leaves, mask = arguments()
    total = weighed(fast(leaves, mask))
    torch.autograd.grad(total, leaves, retain_graph=True)
    with pytest.raises(RuntimeError, match="used up"):
        torch.autograd.grad(total, leaves)


CHANGED = {
    "the inputs": lambda leaves, mask, results: leaves[0],
    "the input weights": lambda leaves, mask, results: leaves[3],
    "the recurrent weights": lambda leaves, mask, results: leaves[4],
    "the outputs": lambda leaves, mask, results: results[0].detach(),
    "a step of the outputs": lambda leaves, mask, results: results[0].detach()[1],
    "the mask": lambda leaves, mask, results: mask,
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_what_the_backward_pass_needs_cannot_be_changed_behind_its_back(change):
    leaves, mask = arguments()
    mask = mask if change is CHANGED["the mask"] else None
    results = fast(leaves, mask)
    total = weighed(results)
    with torch.no_grad():
        change(leaves, mask, results).mul_(3)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation"):
        torch.autograd.grad(total, leaves)


def test_outputs_cannot_be_changed_in_place():
    leaves, mask = arguments()
    outputs, _, _ = fast(leaves, mask)
    with pytest.raises(RuntimeError, match="inplace"):
        outputs.mul_(2)


def test_the_state_handed_on_is_its_owners():
    leaves, mask = arguments()
    outputs, hidden, cell = fast(leaves, mask)
    expected = torch.autograd.grad(weighed(fast(leaves, mask)), leaves)
    last, total = outputs[-1].clone(), weighed((outputs, hidden, cell))
    hidden.detach().zero_()
    cell.detach().zero_()
    assert torch.equal(outputs[-1], last)
    torch.testing.assert_close(torch.autograd.grad(total, leaves), expected, rtol=0, atol=0)


@pytest.mark.parametrize("operand", [torch.float32, torch.bfloat16])
def test_neither_arguments_nor_incoming_gradients_are_changed(operand):
    leaves, mask = arguments(torch.float32)
    results = fast(leaves, mask, operand)
    incoming = [torch.randn_like(result) for result in results]
    every = [leaf.detach() for leaf in leaves] + [mask, *incoming]
    before = [tensor.clone() for tensor in every]
    torch.autograd.grad(results, leaves, incoming)
    torch.testing.assert_close(every, before, rtol=0, atol=0)


def test_no_two_gradients_share_their_memory():
    leaves, mask = arguments()
    gradients = torch.autograd.grad(weighed(fast(leaves, mask)), leaves)
    assert len({gradient.untyped_storage().data_ptr() for gradient in gradients}) == len(leaves)


@pytest.mark.usefixtures("packed")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_arguments_and_incoming_gradients_need_not_be_contiguous(dtype):
    leaves, mask = arguments(dtype)
    strided = [
        leaves[0].detach().transpose(0, 1).contiguous().transpose(0, 1),
        leaves[1].detach()[:1].expand(BATCH, -1),
        leaves[2].detach().t().contiguous().t(),
        *(leaf.detach().repeat_interleave(2, dim=-1)[..., ::2] for leaf in leaves[3:]),
    ]
    assert not any(part.is_contiguous() for part in strided)
    plain = [part.contiguous().requires_grad_() for part in strided]
    strided = [part.requires_grad_() for part in strided]
    # the gradient of a sum is one number expanded
    found = torch.autograd.grad(sum(part.sum() for part in fast(strided, mask.t().contiguous().t())), strided)
    expected = torch.autograd.grad(sum(part.sum() for part in by_hand(plain, mask)), plain)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("operand", [torch.float32, torch.bfloat16])
def test_what_was_kept_is_let_go_by_the_backward_pass_though_the_outputs_live_on(operand):
    leaves, mask = arguments(torch.float32)
    results = fast(leaves, mask, operand)
    function = results[0].grad_fn
    kept = [weakref.ref(getattr(function, name)) for name in ("gates", "cells", "dropped")]
    assert all(tensor() is not None for tensor in kept)
    torch.autograd.grad(weighed(results), leaves)
    assert all(tensor() is None for tensor in kept)


def test_outputs_that_live_on_keep_no_memory_but_their_own():
    """Measured in bytes: of a whole window, one step more than is shown, which is the state before it."""
    leaves, mask = arguments(torch.float32, time=50, batch=8, hidden=100)
    results = fast(leaves, mask)
    torch.autograd.grad(weighed(results), leaves)
    outputs, hidden, cell = results
    assert outputs.untyped_storage().nbytes() == 4 * 51 * 8 * 100
    for state in (hidden, cell):
        assert state.untyped_storage().nbytes() == 4 * 8 * 100


def test_a_window_that_is_dropped_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        results = fast(*arguments())
        kept = weakref.ref(results[0].grad_fn.gates)
        del results
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("operand", [torch.float32, torch.bfloat16])
def test_large_inputs_saturate_and_nan_comes_through(operand):
    leaves, _ = arguments(torch.float32)
    with torch.no_grad():
        leaves[0].mul_(1e30)
    values = values_and_gradients(fast, leaves, None, operand)
    assert all(value.isfinite().all() for value in values.values())
    assert values["outputs"].abs().max() <= 1
    with torch.no_grad():
        leaves[0][1, 0, 0] = float("nan")
    outputs, hidden, cell = fast(leaves, None, operand)
    assert outputs[0].isfinite().all()
    assert outputs[1:, 0].isnan().all()
    assert hidden[0].isnan().all()
    assert cell[0].isnan().all()
    assert outputs[:, 1:].isfinite().all()
