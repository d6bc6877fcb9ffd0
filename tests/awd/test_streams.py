import torch

from awd.streams import Streams


def draw(streams: Streams, name: str) -> list[float]:
    return torch.rand(5, generator=streams[name]).tolist()


def test_a_name_gives_the_same_stream_whatever_else_was_drawn():
    alone, busy = Streams(0), Streams(0)
    for other in ("input mask", "window lengths", "init decoder.weight"):
        draw(busy, other)
    assert draw(busy, "weight mask 0") == draw(alone, "weight mask 0")


def test_a_stream_goes_on_where_it_stopped():
    streams, whole = Streams(0), Streams(0)
    first, second = draw(streams, "a"), draw(streams, "a")
    assert first != second
    assert torch.rand(5, generator=whole["a"]).tolist() + torch.rand(5, generator=whole["a"]).tolist() == first + second


def test_names_and_seeds_give_different_streams():
    drawn = [draw(Streams(seed), name) for seed in (0, 1, 10**12) for name in ("a", "b", "weight mask 0")]
    assert len({tuple(values) for values in drawn}) == len(drawn)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    draw(Streams(0), "a")
    assert torch.equal(torch.get_rng_state(), before)
