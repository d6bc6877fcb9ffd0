"""Generated text against a network that reads everything anew for each token."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from awd.generation import generate
from tests.awd.test_evaluation import VOCABULARY, model, predicting


def anew(network, prompt, count, temperature, seed):
    """The same draws, with the whole text read again for each token."""
    text, generator = list(prompt), torch.Generator().manual_seed(seed)
    for _ in range(count):
        with torch.no_grad():
            logits = network.logits(network(torch.tensor(text)[:, None], network.initial_state(1)))[-1, 0]
        probabilities = (logits / temperature).softmax(0)
        text.append(int(torch.multinomial(probabilities, 1, generator=generator)))
    return text[len(prompt) :]


@pytest.mark.parametrize("prompt", [[3], [1, 4, 2, 2]], ids=["one token", "several"])
def test_the_state_is_carried_on(prompt):
    network = model().eval()
    network.decoder.weight.data *= 30  # so that what was read decides what is drawn
    assert list(islice(generate(network, prompt, temperature=0.7, seed=5), 30)) == anew(network, prompt, 30, 0.7, 5)


def test_tokens_come_as_often_as_the_network_and_the_temperature_say():
    frequencies = [0.5, 0.3, 0.15, 0.05]
    network = predicting(frequencies).eval()
    drawn = torch.tensor(list(islice(generate(network, [0], temperature=0.5), 4000))).bincount(minlength=4) / 4000
    squares = torch.tensor(frequencies) ** 2
    assert drawn.tolist() == pytest.approx((squares / squares.sum()).tolist(), abs=0.03)


def test_temperature_0_takes_the_likeliest():
    assert list(islice(generate(predicting([0.3, 0.4, 0.3]).eval(), [0], temperature=0), 5)) == [1] * 5


def test_a_seed_gives_the_same_text_and_leaves_the_global_generator():
    network, before = model().eval(), torch.get_rng_state()
    first, again, other = (list(islice(generate(network, [0], seed=seed), 20)) for seed in (1, 1, 2))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_words_left_out_are_never_drawn():
    network = predicting([0.9, 0.05, 0.05]).eval()
    assert set(islice(generate(network, [0], without=[0]), 50)) == {1, 2}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prompt": []}, "prompt's length: given 0"),
        ({"prompt": [VOCABULARY]}, f"prompt: .*{VOCABULARY}"),
        ({"temperature": -0.5}, "temperature: given -0.5"),
        ({"temperature": float("nan")}, "temperature: given nan"),
        ({"without": [-1]}, "without: .*-1"),
        ({"without": range(VOCABULARY)}, "without: given the whole vocabulary"),
    ],
)
def test_what_cannot_be_is_refused_before_a_token_is_asked_for(given, message):
    with pytest.raises(ValueError, match=message):
        generate(model().eval(), **({"prompt": [0]} | given))


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        generate(model().train(), [0])
