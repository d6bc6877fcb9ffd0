import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from awd.config import OptimizerConfig
from awd.optim import NonMonotonicTrigger, Stepper

STEPS = 8
RATE_SCALES = [1.0, 0.5, 1.0, 2.0, 0.9, 1.1, 0.5, 1.0]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def data() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(6, 3, generator=generator).double(), torch.randn(6, 2, generator=generator).double())
        for _ in range(STEPS)
    ]


def loss_of(weights: list[torch.Tensor], step: int) -> torch.Tensor:
    """The network's squared error, ten times over so that it is clipped, from its bare weights."""
    inputs, targets = data()[step]
    first, first_bias, second, second_bias = weights
    return 10 * ((inputs @ first.T + first_bias).tanh() @ second.T + second_bias - targets).square().mean()


def clipped(gradients: list[torch.Tensor], largest: float | None) -> list[torch.Tensor]:
    if largest is None:
        return gradients
    norm = math.sqrt(sum((gradient**2).sum().item() for gradient in gradients))
    # torch adds 1e-6 against a division by zero
    return [gradient * min(1.0, largest / (norm + 1e-6)) for gradient in gradients]


def iterates_by_hand(
    config: OptimizerConfig, weight_decay: float = 0.0, average_from: int | None = None
) -> list[list[torch.Tensor]]:
    """The weights after each step of SGD, with the rate's decay and the shrinkage of averaging from its step on."""
    weights = [parameter.detach().clone() for parameter in network().parameters()]
    iterates = []
    for step, scale in enumerate(RATE_SCALES):
        leaves = [weight.clone().requires_grad_() for weight in weights]
        gradients = clipped(list(torch.autograd.grad(loss_of(leaves, step), leaves)), config.clip_norm)
        rate, shrinkage = config.learning_rate * scale, 1.0
        if average_from is not None and step >= average_from:
            averaged = step - average_from
            rate = rate / (1 + config.lambd * config.learning_rate * averaged) ** config.alpha
            shrinkage = 1 - config.lambd * rate
        shrunk = [weight * shrinkage for weight in weights]
        weights = [w - rate * (g + weight_decay * w) for w, g in zip(shrunk, gradients, strict=True)]
        iterates.append(weights)
    return iterates


def run(
    config: OptimizerConfig, weight_decay: float = 0.0, start_averaging_at: int | None = None
) -> tuple[list[list[torch.Tensor]], Stepper]:
    model = network()
    stepper = Stepper(model, config, config.learning_rate, weight_decay)
    iterates = []
    for step, scale in enumerate(RATE_SCALES):
        if step == start_averaging_at:
            stepper.start_averaging()
        stepper.step(loss_of(list(model.parameters()), step), scale)
        iterates.append([parameter.detach().clone() for parameter in model.parameters()])
    return iterates, stepper


def mean_of(iterates: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    return [torch.stack(weights).mean(dim=0) for weights in zip(*iterates, strict=True)]


def assert_same(actual, expected) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("method", ["sgd", "sgd-halving", "nt-asgd"])
@pytest.mark.parametrize("clip_norm", [None, 0.25])
@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_a_step_is_the_gradient_clipped_then_decayed_at_the_rate_of_its_window(method, clip_norm, weight_decay):
    config = OptimizerConfig(method=method, learning_rate=0.5, clip_norm=clip_norm)
    assert_same(run(config, weight_decay)[0], iterates_by_hand(config, weight_decay))


def test_clipping_bounds_the_norm_of_all_gradients_together():
    config = OptimizerConfig(method="sgd", learning_rate=1.0, clip_norm=0.25)
    weights = [parameter.detach().clone() for parameter in network().parameters()]
    (first, *_), _ = run(config)
    moved = math.sqrt(sum((after - before).square().sum().item() for before, after in zip(weights, first, strict=True)))
    assert moved == pytest.approx(0.25, rel=1e-5)


def test_a_small_gradient_is_not_clipped():
    unclipped, wide = (OptimizerConfig(method="sgd", learning_rate=0.01, clip_norm=norm) for norm in (None, 1e4))
    assert_same(run(wide)[0], run(unclipped)[0])


def test_weight_decay_shrinks_every_parameter_biases_included():
    model = network()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    # a loss without gradient, and clipping that a decay added before it would not survive
    loss = sum(parameter.sum() * 0 for parameter in model.parameters())
    Stepper(model, OptimizerConfig(method="sgd", clip_norm=1e-4), 0.5, weight_decay=0.1).step(loss)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] * (1 - 0.5 * 0.1), msg=name)


@pytest.mark.parametrize("method", ["sgd", "asgd", "nt-asgd"])
def test_rates_of_30_15_30_60_are_steps_of_exactly_these(method):
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    stepper = Stepper(model, OptimizerConfig(method=method, learning_rate=30.0, clip_norm=None), 30.0, 0.0)
    if method == "nt-asgd":
        stepper.start_averaging()
    positions = [0.0]
    for scale in (1.0, 0.5, 1.0, 2.0):
        stepper.step(model.weight.sum(), scale)
        positions.append(model.weight.item())
    assert [before - after for before, after in pairwise(positions)] == [30, 15, 30, 60]


@pytest.mark.parametrize("average_from", [0, 1, 3, STEPS - 1])
def test_asgd_returns_the_plain_mean_of_the_iterates_after_step_t(average_from):
    config = OptimizerConfig(method="asgd", learning_rate=0.5, average_from=average_from)
    iterates, stepper = run(config, weight_decay=0.05)
    assert_same(iterates, iterates_by_hand(config, 0.05))
    assert_same(list(stepper.evaluated.parameters()), mean_of(iterates[average_from:]))


def test_asgd_has_no_average_before_step_t():
    _, stepper = run(OptimizerConfig(method="asgd", learning_rate=0.5, average_from=STEPS))
    assert stepper.evaluated is stepper.model


@pytest.mark.parametrize("start", [0, 2, 5])
def test_nt_asgd_averages_from_its_trigger_on(start):
    config = OptimizerConfig(method="nt-asgd", learning_rate=0.5)
    iterates, stepper = run(config, start_averaging_at=start)
    assert_same(list(stepper.evaluated.parameters()), mean_of(iterates[start:]))


def test_an_average_without_iterates_is_not_evaluated():
    model = network()
    stepper = Stepper(model, OptimizerConfig(method="nt-asgd"), 30.0, 0.0)
    stepper.start_averaging()
    assert stepper.evaluated is model
    stepper.step(loss_of(list(model.parameters()), 0))
    assert stepper.evaluated is not model


def test_averaging_leaves_the_iterates_as_they_were():
    raw, _ = run(OptimizerConfig(method="sgd", learning_rate=0.5))
    averaged, _ = run(OptimizerConfig(method="nt-asgd", learning_rate=0.5), start_averaging_at=2)
    torch.testing.assert_close(averaged, raw, rtol=0, atol=0)


@pytest.mark.parametrize(("lambd", "alpha"), [(0.1, 0.0), (0.1, 0.75), (0.0, 0.75)])
def test_lambd_and_alpha_decay_rate_and_weights_while_averaging(lambd, alpha):
    config = OptimizerConfig(method="asgd", learning_rate=0.5, average_from=2, lambd=lambd, alpha=alpha)
    iterates, stepper = run(config)
    assert_same(iterates, iterates_by_hand(config, average_from=2))
    assert_same(list(stepper.evaluated.parameters()), mean_of(iterates[2:]))


def test_lambd_and_alpha_are_those_of_torch_at_a_constant_rate():
    model, other = network(), network()
    config = OptimizerConfig(method="asgd", learning_rate=0.01, clip_norm=None, lambd=0.1, alpha=0.75)
    stepper = Stepper(model, config, 0.01, 0.0)
    torch_asgd = torch.optim.ASGD(other.parameters(), lr=0.01, lambd=0.1, alpha=0.75, t0=0)
    for step in range(STEPS):
        stepper.step(loss_of(list(model.parameters()), step))
        torch_asgd.zero_grad()
        loss_of(list(other.parameters()), step).backward()
        torch_asgd.step()
    torch.testing.assert_close(list(model.parameters()), list(other.parameters()), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("weight_decay", [0.0, 0.05])
def test_adam_is_its_equations_with_l2_and_a_rate_per_step(weight_decay):
    config = OptimizerConfig(method="adam", learning_rate=0.01)
    weights = [parameter.detach().clone() for parameter in network().parameters()]
    first = [torch.zeros_like(weight) for weight in weights]
    second = [torch.zeros_like(weight) for weight in weights]
    iterates, _ = run(config, weight_decay)
    for step, scale in enumerate(RATE_SCALES):
        leaves = [weight.clone().requires_grad_() for weight in weights]
        gradients = clipped(list(torch.autograd.grad(loss_of(leaves, step), leaves)), config.clip_norm)
        for index, gradient in enumerate(gradients):
            decayed = gradient + weight_decay * weights[index]
            first[index] = 0.9 * first[index] + 0.1 * decayed
            second[index] = 0.999 * second[index] + 0.001 * decayed**2
            mean, variance = first[index] / (1 - 0.9 ** (step + 1)), second[index] / (1 - 0.999 ** (step + 1))
            weights[index] = weights[index] - 0.01 * scale * mean / (variance.sqrt() + 1e-8)
        assert_same(iterates[step], weights)


def first_firing(trigger, values: list[float]) -> int | None:
    """Epoch, from 1, of the first firing."""
    return next((epoch for epoch, value in enumerate(values, 1) if trigger.check(value)), None)


@pytest.mark.parametrize(
    ("interval", "perplexities", "epoch"),
    [
        (5, [100, 90, 95, 94, 93, 92, 91, 91, 91], 8),  # the slice v[-n:] would fire at epoch 7
        (2, [10, 8, 9, 9, 9], 5),  # v[-n:]: at epoch 4
        (2, [10, 9, 9.5, 9.4, 9.3, 9.2], 5),  # v[-n:]: at epoch 4
        (5, [70, 99, 99, 99, 99, 99, 71], 7),  # the first epoch at which it may; v[-n:] would not fire
        (5, [70, 99, 99, 99, 99, 99], None),
        (1, [5, 4, 3, 2, 1], None),
        (1, [5, 4, 4, 4, 4], None),  # as good is not worse
        (1, [5, 4, 4, 4.1], 4),
        (0, [5], None),
        (0, [5, 4, 4, 4.1], 4),
        (0, [5, 6], 2),
    ],
)
def test_the_trigger_fires_at_exactly_this_epoch(interval, perplexities, epoch):
    assert first_firing(NonMonotonicTrigger(interval), perplexities) == epoch


@given(st.lists(st.floats(1, 1000), max_size=30), st.integers(1, 6))
def test_the_trigger_is_algorithm_1(perplexities, interval):
    trigger = NonMonotonicTrigger(interval)
    for epoch, current in enumerate(perplexities):
        v = perplexities[:epoch]
        assert trigger.check(current) == (len(v) > interval and current > min(v[:-interval]))


def test_the_history_is_not_reset_when_the_trigger_fires():
    trigger = NonMonotonicTrigger(0)
    assert [trigger.check(value) for value in [5, 6, 5.5, 4, 4.5]] == [False, True, True, False, True]


@pytest.mark.parametrize("method", ["sgd", "asgd", "nt-asgd", "adam"])
def test_a_stepper_goes_on_from_its_state(method):
    config = OptimizerConfig(method=method, learning_rate=0.5, average_from=2, lambd=0.1, alpha=0.75)
    iterates, stepper = run(config, 0.05, start_averaging_at=3 if method == "nt-asgd" else None)
    model = network()
    first = Stepper(model, config, 0.5, 0.05)
    second = Stepper(copy.deepcopy(model), config, 7.0, 0.05)
    for step, scale in enumerate(RATE_SCALES):
        if method == "nt-asgd" and step == 3:
            first.start_averaging()
        if step == 5:
            second.model.load_state_dict(model.state_dict())
            second.load_state_dict(first.state_dict())
        at = first if step < 5 else second
        at.step(loss_of(list(at.model.parameters()), step), scale)
    torch.testing.assert_close(list(second.model.parameters()), iterates[-1], rtol=0, atol=0)
    torch.testing.assert_close(
        list(second.evaluated.parameters()), list(stepper.evaluated.parameters()), rtol=0, atol=0
    )


def test_a_trigger_goes_on_from_its_state():
    values, first, second = [100, 90, 95, 94, 93, 92, 91, 91], NonMonotonicTrigger(5), NonMonotonicTrigger(5)
    assert first_firing(first, values[:5]) is None
    second.load_state_dict(first.state_dict())
    assert first_firing(second, values[5:]) == 8 - 5


def test_the_average_is_to_the_bit_what_torch_gives_on_a_cpu() -> None:
    model = network().float()
    stepper = Stepper(model, OptimizerConfig(method="asgd", average_from=0), 0.5, 0.0)
    theirs = torch.optim.swa_utils.AveragedModel(model)
    for step in range(STEPS):
        stepper.step(loss_of([weight.double() for weight in model.parameters()], step))
        theirs.update_parameters(model)
        assert stepper.average is not None
        for mine, expected in zip(stepper.average.parameters(), theirs.module.parameters(), strict=True):
            assert torch.equal(mine, expected)
