import math
from dataclasses import fields, replace

import pytest
import torch

from awd.config import LARGEST_DROPOUT, ModelConfig, RegularizationConfig
from awd.dropout import Masks, apply, bernoulli_mask, draw_masks, no_masks
from awd.streams import Streams

CPU = torch.device("cpu")
MODEL = ModelConfig(embedding_size=5, hidden_size=7, num_layers=3)
NOTHING = RegularizationConfig(
    embedding_dropout=0.0, input_dropout=0.0, hidden_dropout=0.0, output_dropout=0.0, weight_dropout=0.0
)
OF_MASK = {
    "embedding": "embedding_dropout",
    "input": "input_dropout",
    "hidden": "hidden_dropout",
    "output": "output_dropout",
    "weight": "weight_dropout",
}


def draw(regularization: RegularizationConfig | None = None, streams: Streams | None = None, **kwargs) -> Masks:
    streams = streams or Streams(0)
    return draw_masks(MODEL, regularization or RegularizationConfig(), 11, 4, streams=streams, device=CPU, **kwargs)


@pytest.mark.parametrize("p", [0.1, 0.4, 0.5, 0.65])
def test_a_mask_drops_a_share_of_p_and_scales_what_it_keeps(p):
    mask = bernoulli_mask((400, 500), p, Streams(0)["mask"], CPU, torch.float64)
    assert set(mask.unique().tolist()) == {0.0, 1 / (1 - p)}
    # four standard deviations of a share among 200,000
    assert (mask == 0).double().mean().item() == pytest.approx(p, abs=4 * 0.5 / 200_000**0.5)
    assert mask.mean().item() == pytest.approx(1, abs=0.01)


def drawn(shape: tuple[int, ...], p: float, seed: int = 0) -> torch.Tensor:
    return bernoulli_mask(shape, p, Streams(seed)["mask"], CPU, torch.float64)


@pytest.mark.parametrize("p", [2**-10, 0.01, 0.1, 1 / 3, 0.5, 0.9, 0.99, 1 - 2**-10])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_share_dropped_is_p_to_within_chance(p, seed):
    count = 1_000_000
    dropped = (drawn((count,), p, seed) == 0).sum().item()
    assert abs(dropped - count * p) < 4 * (count * p * (1 - p)) ** 0.5


def test_the_largest_probability_keeps_one_in_65536_and_scales_it_by_as_much():
    mask = drawn((1_000_000,), LARGEST_DROPOUT)
    kept = (mask != 0).sum().item()
    assert abs(kept - 1_000_000 / 65536) < 4 * (1_000_000 / 65536) ** 0.5
    assert set(mask.unique().tolist()) == {0.0, 65536.0}


@pytest.mark.parametrize("p", [math.nextafter(LARGEST_DROPOUT, 1), 0.9999999, 1.0, -1e-9, math.nan])
def test_what_16_bits_cannot_keep_is_refused_by_mask_and_configuration(p):
    with pytest.raises(ValueError, match=r"0 to 0\.9999847412109375"):
        drawn((10,), p)
    with pytest.raises(ValueError, match=r"0\.9999847412109375|greater than or equal to 0|finite"):
        RegularizationConfig(weight_dropout=p)


@pytest.mark.parametrize("p", [2**-18, 1e-9, 5e-324])
def test_a_probability_of_almost_zero_drops_nothing(p):
    assert (drawn((100_000,), p) == 1 / (1 - p)).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.4, 0.5, 0.65])
def test_what_is_kept_is_scaled_by_exactly_one_over_one_minus_p(p, dtype):
    mask = bernoulli_mask((1000,), p, Streams(0)["mask"], CPU, dtype)
    assert mask.dtype == dtype
    assert mask.unique().tolist() == [0.0, torch.tensor(1 / (1 - p), dtype=dtype).item()]


@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (5,), (7, 1), (1, 3, 5), (1, 1, 1), (0, 3), (13, 11)])
def test_a_mask_has_any_shape(shape):
    mask = drawn(shape, 0.5)
    assert mask.shape == shape
    assert mask.is_contiguous()
    # a larger one from the same stream begins alike: nothing depends on what fills the last integer
    assert torch.equal(mask.flatten(), drawn((200,), 0.5)[: mask.numel()])


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_neighbours_are_dropped_independently(p):
    """Those from one random integer, four in a row, and those from two."""
    count = 400_000
    dropped = (drawn((count,), p) == 0).double()
    lanes = dropped.view(-1, 4)
    within = torch.corrcoef(lanes.t()) - torch.eye(4)
    assert within.abs().max() < 4.5 / len(lanes) ** 0.5
    assert (lanes.mean(dim=0) - p).abs().max() < 4.5 * (p * (1 - p) / len(lanes)) ** 0.5
    for distance in range(1, 9):
        pair = torch.corrcoef(torch.stack([dropped[distance:], dropped[:-distance]]))[0, 1]
        assert pair.abs() < 4.5 / count**0.5, distance
    # all four at once: what pairs would not show
    all_four = lanes.prod(dim=1).mean().item()
    assert abs(all_four - p**4) < 4.5 * (p**4 / len(lanes)) ** 0.5


def test_two_masks_of_one_stream_are_independent():
    stream = Streams(0)["mask"]
    first, second = (bernoulli_mask((100_000,), 0.5, stream, CPU, torch.float64) for _ in range(2))
    assert torch.corrcoef(torch.stack([first, second]))[0, 1].abs() < 4.5 / 100_000**0.5


def test_each_mask_is_drawn_at_its_own_strength():
    """None of them is another's, nor one minus another's or its own."""
    strengths = {"embedding": 0.1, "input": 0.2, "hidden": 0.3, "output": 0.4, "weight": 0.35}
    regularization = RegularizationConfig(**{OF_MASK[name]: p for name, p in strengths.items()})
    model = ModelConfig(embedding_size=50, hidden_size=60, num_layers=3)
    masks = draw_masks(model, regularization, 2000, 40, streams=Streams(0), device=CPU, dtype=torch.float64)
    for name, p in strengths.items():
        for mask in vars_of(name, masks)[0] if name in ("hidden", "weight") else vars_of(name, masks):
            assert set(mask.unique().tolist()) == {0.0, 1 / (1 - p)}, name
            error = 4 * (p * (1 - p) / mask.numel()) ** 0.5
            assert (mask == 0).double().mean().item() == pytest.approx(p, abs=error), name


def test_masks_have_the_shapes_at_which_they_broadcast():
    masks = draw()
    assert masks.embedding.shape == (11, 1)
    assert masks.input.shape == (1, 4, 5)
    assert [mask.shape for mask in masks.hidden] == [(1, 4, 7), (1, 4, 7)]
    assert masks.output.shape == (1, 4, 5)
    assert [mask.shape for mask in masks.weight] == [(28, 7), (28, 7), (20, 5)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_masks_are_the_same_at_every_precision(dtype):
    masks = draw(dtype=dtype)
    assert masks.input.dtype == masks.weight[0].dtype == dtype
    assert torch.equal(masks.weight[0] == 0, draw().weight[0] == 0)


def test_masks_are_drawn_anew_for_every_minibatch():
    streams = Streams(0)
    first, second = draw(streams=streams), draw(streams=streams)
    assert not torch.equal(first.weight[0], second.weight[0])
    assert not torch.equal(first.input, second.input)


def test_layers_have_masks_of_their_own():
    masks = draw()
    assert not torch.equal(masks.weight[0], masks.weight[1])
    assert not torch.equal(masks.hidden[0], masks.hidden[1])


def test_a_layer_more_leaves_the_masks_of_the_others_as_they_were():
    deep, shallow = (replace(MODEL, num_layers=layers, tie_weights=False) for layers in (3, 2))
    both = [(deep, Streams(0)), (shallow, Streams(0))]
    for _ in range(3):
        mine, theirs = (
            draw_masks(sizes, RegularizationConfig(), 11, 4, streams=streams, device=CPU) for sizes, streams in both
        )
        assert torch.equal(mine.hidden[0], theirs.hidden[0])
        assert torch.equal(mine.weight[0], theirs.weight[0])
        assert torch.equal(mine.weight[1], theirs.weight[1])


@pytest.mark.parametrize("name", OF_MASK)
def test_a_probability_of_zero_has_no_mask_and_leaves_the_others_as_they_were(name):
    full, without = draw(), draw(replace(RegularizationConfig(), **{OF_MASK[name]: 0.0}))
    for field in fields(Masks):
        mine, theirs = (value if isinstance(value, tuple) else (value,) for value in vars_of(field.name, without, full))
        if field.name == name:
            assert set(mine) == {None}
        else:
            assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))


def vars_of(name: str, *masks: Masks) -> list:
    return [getattr(mask, name) for mask in masks]


def test_nothing_to_drop_draws_nothing():
    before = torch.get_rng_state()
    assert draw_masks(MODEL, NOTHING, 11, 4, streams=None, device=CPU) == no_masks(3)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_streams_masks_come_from_the_global_generator():
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(draw_masks(MODEL, RegularizationConfig(), 11, 4, streams=None, device=CPU).weight[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_no_mask_hands_back_the_values_themselves():
    values = torch.ones(3)
    assert apply(None, values) is values
    assert apply(torch.tensor([0.0, 2.0, 2.0]), values).tolist() == [0, 2, 2]


@pytest.mark.parametrize("layers", [1, 3])
def test_where_masks_of_a_kind_are_drawn_at_once_they_have_the_same_shapes(layers):
    model = replace(MODEL, num_layers=layers)
    on_cpu, elsewhere = (
        draw_masks(model, RegularizationConfig(), 11, 3, streams=None, device=torch.device(device))
        for device in ("cpu", "meta")
    )
    for field in fields(Masks):
        of_cpu, of_other = getattr(on_cpu, field.name), getattr(elsewhere, field.name)
        for one, other in zip(of_cpu, of_other, strict=True) if isinstance(of_cpu, tuple) else [(of_cpu, of_other)]:
            assert one.shape == other.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_there_are_as_many_draws_as_kinds():
    device, streams = torch.device("cuda"), Streams(0, "cuda")
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        masks = draw_masks(MODEL, RegularizationConfig(), 11, 3, streams=streams, device=device)
    assert sum(event.count for event in profiler.key_averages() if event.key == "aten::random_") == len(fields(Masks))
    again = draw_masks(MODEL, RegularizationConfig(), 11, 3, streams=Streams(0, "cuda"), device=device)
    for one, other in zip(masks.weight, again.weight, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(masks.weight[0], masks.weight[1])


CHOICES = {"mask_per": "step", "embedding_drops": "units", "recurrent_drops": "units"}
# large enough that shares are seen, all of them another
WIDE = ModelConfig(embedding_size=50, hidden_size=60, num_layers=3)
STRENGTHS = {
    "embedding_dropout": 0.1,
    "input_dropout": 0.2,
    "hidden_dropout": 0.3,
    "output_dropout": 0.4,
    "weight_dropout": 0.35,
}
TIME, BATCH, WORDS = 30, 8, 500


def chosen(*choices: str, seed: int = 0) -> Masks:
    """Masks with these of the choices made, in float64."""
    regularization = RegularizationConfig(**STRENGTHS, **{choice: CHOICES[choice] for choice in choices})
    streams = Streams(seed)
    return draw_masks(WIDE, regularization, WORDS, BATCH, steps=TIME, streams=streams, device=CPU, dtype=torch.float64)


def require_share(mask: torch.Tensor, p: float) -> None:
    assert set(mask.unique().tolist()) == {0.0, 1 / (1 - p)}
    # five standard deviations of a share
    assert (mask == 0).double().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / mask.numel()) ** 0.5)


def require_unlike_neighbours(mask: torch.Tensor, p: float, dim: int) -> None:
    """Neighbours along a dimension agree as often as two draws do, so that nothing is constant along it."""
    size, same = mask.shape[dim] - 1, p**2 + (1 - p) ** 2
    agree = (mask.narrow(dim, 1, size) == mask.narrow(dim, 0, size)).double()
    assert agree.mean().item() == pytest.approx(same, abs=5 * (2 * same * (1 - same) / agree.numel()) ** 0.5)


def test_a_mask_for_every_step_has_its_share_and_is_constant_along_nothing():
    masks, (input_width, *widths) = chosen("mask_per"), (50, 60, 60, 50)
    drawn_masks = [masks.input, *masks.hidden, masks.output]
    strengths = [STRENGTHS[f"{name}_dropout"] for name in ("input", "hidden", "hidden", "output")]
    for mask, width, p in zip(drawn_masks, (input_width, *widths), strengths, strict=True):
        assert mask.shape == (TIME, BATCH, width)
        require_share(mask, p)
        for dim in range(3):
            require_unlike_neighbours(mask, p, dim)


def test_a_mask_of_embedding_units_has_its_share_and_is_constant_along_nothing():
    mask, p = chosen("embedding_drops").embedding, STRENGTHS["embedding_dropout"]
    assert mask.shape == (WORDS, 50)
    require_share(mask, p)
    for dim in range(2):
        require_unlike_neighbours(mask, p, dim)


def test_a_mask_of_recurrent_units_drops_whole_columns():
    for seed in range(3):
        masks = chosen("recurrent_drops", seed=seed).weight
        assert [mask.shape for mask in masks] == [(240, 60), (240, 60), (200, 50)]
        assert all((mask == mask[:1]).all() for mask in masks)
        require_share(torch.cat([mask[0] for mask in masks]), STRENGTHS["weight_dropout"])
    assert not torch.equal(masks[0], masks[1])


@pytest.mark.parametrize("choice", CHOICES)
def test_a_choice_leaves_the_other_masks_as_they_were(choice):
    of = {"mask_per": {"input", "hidden", "output"}, "embedding_drops": {"embedding"}, "recurrent_drops": {"weight"}}
    paper, other = chosen(), chosen(choice)
    for field in fields(Masks):
        mine, theirs = (value if isinstance(value, tuple) else (value,) for value in vars_of(field.name, paper, other))
        for one, another in zip(mine, theirs, strict=True):
            assert torch.equal(one, another) == (field.name not in of[choice])


def test_a_mask_for_every_step_needs_to_know_how_many():
    for steps in (None, 0, 2.5):
        with pytest.raises(ValueError, match=f"steps: given {steps}, expected an integer from 1 on"):
            draw_masks(MODEL, RegularizationConfig(mask_per="step"), 11, 4, steps=steps, streams=Streams(0), device=CPU)


@pytest.mark.parametrize("choice", CHOICES)
def test_where_masks_of_a_kind_are_drawn_at_once_a_choice_has_the_same_shapes(choice):
    regularization = RegularizationConfig(**{choice: CHOICES[choice]})
    both = [
        draw_masks(MODEL, regularization, 11, 3, steps=6, streams=None, device=torch.device(device))
        for device in ("cpu", "meta")
    ]
    for field in fields(Masks):
        mine, theirs = (value if isinstance(value, tuple) else (value,) for value in vars_of(field.name, *both))
        assert [mask.shape for mask in mine] == [mask.shape for mask in theirs]
