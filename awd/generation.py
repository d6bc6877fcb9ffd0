"""Text drawn from a trained network, one token at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from awd.checks import require_count, require_ids
from awd.model import AWDLSTM


def generate(
    model: AWDLSTM,
    prompt: Sequence[int],
    *,
    temperature: float = 1.0,
    seed: int = 1,
    without: Sequence[int] = (),
) -> Iterator[int]:
    """Token ids that go on from a prompt, without end; take as many as are wanted.

    Each is drawn from the softmax of the logits over the temperature.

    Args:
        model: in evaluation mode, so that nothing is dropped.
        prompt: ids of at least one token, such as that of ``<eos>``; they are read and not given back.
        temperature: 1 draws as the network predicts, less prefers the likelier tokens, 0 always takes the likeliest.
        seed: of the draws: the same one gives the same tokens on the same machine.
        without: ids that are never drawn, such as that of ``<unk>``.

    Raises:
        ValueError: an argument is not so; names it.

    Example::

        ids = itertools.islice(generate(model, [words.index("<eos>")], temperature=0.8), 100)
    """
    require_count("prompt's length", len(prompt))
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise ValueError(f"temperature: given {temperature}, expected 0 or more")
    if model.training:
        raise ValueError("model: given in training mode, where units are dropped; call model.eval() first")
    device = model.decoder.bias.device
    tokens = torch.tensor([*prompt], dtype=torch.int64, device=device)[:, None]  # (time, 1)
    barred = torch.tensor([*without], dtype=torch.int64, device=device)
    require_ids("prompt", tokens, model.vocabulary_size)
    if len(barred):
        require_ids("without", barred, model.vocabulary_size)
    if len(barred.unique()) == model.vocabulary_size:
        raise ValueError("without: given the whole vocabulary, expected to leave a word")
    return _draw(model, tokens, temperature, torch.Generator(device).manual_seed(seed), barred)


def _draw(
    model: AWDLSTM, tokens: torch.Tensor, temperature: float, generator: torch.Generator, barred: torch.Tensor
) -> Iterator[int]:
    state = model.initial_state(1)
    while True:
        with torch.inference_mode():
            output = model(tokens, state)
            state = output.state
            logits = model.decoder(output.dropped[-1, 0])  # (vocabulary,)
            logits[barred] = -math.inf
            if temperature:
                token = torch.multinomial((logits / temperature).softmax(0), 1, generator=generator)
            else:
                token = logits.argmax()[None]
            tokens = token[:, None]
        yield int(token)
