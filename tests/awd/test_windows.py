import itertools

import pytest
import torch

from awd.config import WindowConfig
from awd.windows import draw_length, windows

DRAWS = 20_000


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def lengths() -> torch.Tensor:
    stream = generator()
    return torch.tensor([draw_length(WindowConfig(), stream) for _ in range(DRAWS)])


def test_one_window_in_twenty_has_half_the_base_length(lengths):
    # 52 is more than three standard deviations from either base
    assert (lengths < 52).double().mean().item() == pytest.approx(0.05, abs=0.006)


@pytest.mark.parametrize(("mode", "base"), [("long", 70), ("short", 35)])
def test_lengths_are_normal_around_their_base_and_truncated(lengths, mode, base):
    chosen = lengths[lengths >= 52] if mode == "long" else lengths[lengths < 52]
    error = 4 * 5 / len(chosen) ** 0.5
    # an integer part lies half a token below, on average
    assert chosen.double().mean().item() == pytest.approx(base - 0.5, abs=error)
    assert chosen.double().std().item() == pytest.approx(5, abs=error)


def test_the_mean_length_is_that_of_the_mixture(lengths):
    assert lengths.double().mean().item() == pytest.approx(0.95 * 69.5 + 0.05 * 34.5, abs=0.3)


def test_no_longest_length_is_set(lengths):
    # 81 is 2.2 standard deviations above 70, where 1.4% of a normal distribution lie
    assert (lengths > 80).double().mean().item() == pytest.approx(0.95 * 0.0139, abs=0.004)


def test_no_window_is_shorter_than_five():
    stream = generator()
    drawn = [draw_length(WindowConfig(length=8), stream) for _ in range(1000)]
    assert min(drawn) == 5
    assert max(drawn) > 5


@pytest.mark.parametrize("variable", [True, False])
@pytest.mark.parametrize("total", [2, 3, 71, 72, 141, 1000, 12_345])
def test_every_token_but_the_first_is_a_target_exactly_once(variable, total):
    targets = [
        window.start + 1 + step
        for window in windows(total, WindowConfig(variable=variable), generator())
        for step in range(window.length)
    ]
    assert targets == list(range(1, total))


def test_the_rate_scale_is_the_drawn_length_over_the_base_even_where_the_text_ends():
    stream = generator(3)
    *inner, last = windows(1000, WindowConfig(), generator(3))
    drawn = [draw_length(WindowConfig(), stream) for _ in range(len(inner) + 1)]
    assert [window.length for window in inner] == drawn[:-1]
    assert [window.rate_scale for window in (*inner, last)] == [length / 70 for length in drawn]
    assert last.length < drawn[-1]


def test_a_fixed_length_is_always_seventy_unscaled_and_draws_nothing():
    stream = generator()
    before = stream.get_state()
    cut = list(windows(71 + 70 + 20, WindowConfig(variable=False), stream))
    assert [window.length for window in cut] == [70, 70, 20]
    assert [window.rate_scale for window in cut] == [1.0, 1.0, 1.0]
    assert torch.equal(stream.get_state(), before)


def test_the_same_stream_gives_the_same_windows():
    assert list(windows(5000, WindowConfig(), generator(1))) == list(windows(5000, WindowConfig(), generator(1)))
    assert list(windows(5000, WindowConfig(), generator(1))) != list(windows(5000, WindowConfig(), generator(2)))


@pytest.mark.parametrize("variable", [True, False])
def test_windows_cut_at_any_of_them_go_on_with_the_rest(variable):
    config, total = WindowConfig(variable=variable), 1000
    whole = list(windows(total, config, generator(4)))
    assert len(whole) > 10
    for count in range(1, len(whole) + 1):
        stream = generator(4)
        first = list(itertools.islice(windows(total, config, stream), count))
        position = stream.get_state()  # as it is saved, and found again by another process
        rest = windows(total, config, torch.Generator().set_state(position), first[-1].start + first[-1].length)
        assert first + list(rest) == whole


def test_nothing_is_left_and_nothing_drawn_at_the_last_row():
    stream = generator()
    before = stream.get_state()
    assert list(windows(1000, WindowConfig(), stream, 999)) == []
    assert torch.equal(stream.get_state(), before)
    (last,) = windows(1000, WindowConfig(), stream, 998)
    assert (last.start, last.length) == (998, 1)
