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


def test_restored_streams_go_on_where_they_were_found():
    streams = Streams(0)
    for name in ("a", "a", "b"):
        draw(streams, name)
    state = streams.state_dict()
    following = {name: draw(streams, name) for name in ("a", "b", "never drawn from")}
    for other in (Streams(0), streams):  # a new one, and one that has gone on since
        other.load_state_dict(state)
        assert {name: draw(other, name) for name in following} == following


def test_a_state_has_the_streams_drawn_from_and_stays_as_it_is():
    streams = Streams(0)
    assert streams.state_dict() == {}
    draw(streams, "a")
    state = streams.state_dict()
    kept = {name: position.clone() for name, position in state.items()}
    draw(streams, "a")
    streams.load_state_dict(state)
    draw(streams, "a")
    assert list(state) == ["a"]
    assert torch.equal(state["a"], kept["a"])


def test_a_stream_that_is_not_in_a_state_begins_anew():
    streams = Streams(0)
    state = streams.state_dict()
    first = draw(streams, "a")
    assert draw(streams, "a") != first
    streams.load_state_dict(state)
    assert draw(streams, "a") == first
