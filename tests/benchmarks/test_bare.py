"""The program that engines are timed against computes the function of the model that they compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from awd import AWDLSTM, ModelConfig, OptimizerConfig, RegularizationConfig, Stepper, Streams, detach
from benchmarks.bare import BareLSTM, BareTraining, EmbeddingDropout, LockedDropout, training_loss

WORDS, BATCH, LENGTH = 30, 3, 6
SIZES = ModelConfig(embedding_size=7, hidden_size=11)
NOTHING_DROPPED = {f"{kind}_dropout": 0.0 for kind in ("embedding", "input", "hidden", "output", "weight")}
ALPHA, BETA, WEIGHT_DECAY, RATE, CLIP = 2.0, 1.5, 1e-2, 5.0, 0.25


@pytest.fixture
def model() -> AWDLSTM:
    strengths = RegularizationConfig(
        **NOTHING_DROPPED, activation_penalty=ALPHA, temporal_activation_penalty=BETA, weight_decay=WEIGHT_DECAY
    )
    return AWDLSTM(WORDS, SIZES, strengths, streams=Streams(3)).double()


def as_bare(model: AWDLSTM, **dropout: float) -> BareLSTM:
    """The bare model with a model's weights."""
    bare = BareLSTM(WORDS, [7, 11, 11, 7], **{**NOTHING_DROPPED, **dropout}).double()
    own = parameters(bare)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            own[name].copy_(parameter)
    return bare


def parameters(bare: BareLSTM) -> dict[str, Tensor]:
    """Its parameters under the model's names."""
    found = {"embedding.weight": bare.embedding.weight, "decoder.bias": bare.decoder.bias}
    for number, layer in enumerate(bare.layers):
        found |= {
            f"layers.{number}.weight_ih": layer.lstm.weight_ih_l0,
            f"layers.{number}.weight_hh": layer.raw,
            f"layers.{number}.bias_ih": layer.lstm.bias_ih_l0,
            f"layers.{number}.bias_hh": layer.lstm.bias_hh_l0,
        }
    return found


def text(windows: int = 1) -> Tensor:
    return torch.randint(WORDS, (windows * LENGTH + 1, BATCH), generator=torch.Generator().manual_seed(4))


def test_loss_and_gradients_are_the_models(model: AWDLSTM) -> None:
    bare, words = as_bare(model), text()
    logits, dropped, raw, _ = bare(words[:-1], bare.initial_state(BATCH))
    own = training_loss(logits, dropped, raw, words[1:], ALPHA, BETA)
    expected = model.loss(model(words[:-1], model.initial_state(BATCH)), words[1:]).total
    torch.testing.assert_close(own, expected)
    own.backward()
    expected.backward()
    assert len(list(bare.parameters())) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameters(bare)[name].grad, parameter.grad, msg=name)


def test_three_steps_of_training_end_in_the_models_weights(model: AWDLSTM) -> None:
    bare, words = as_bare(model), text(windows=3)
    training = BareTraining(
        bare, BATCH, learning_rate=RATE, weight_decay=WEIGHT_DECAY, clip_norm=CLIP, alpha=ALPHA, beta=BETA
    )
    stepper = Stepper(model, OptimizerConfig(clip_norm=CLIP), RATE, WEIGHT_DECAY)
    state = model.initial_state(BATCH)
    for start in range(0, len(words) - 1, LENGTH):
        tokens, targets = words[start : start + LENGTH], words[start + 1 : start + LENGTH + 1]
        output = model(tokens, state)
        state = detach(output.state)
        loss = model.loss(output, targets).total
        torch.testing.assert_close(training.step(tokens, targets), loss.detach())
        stepper.step(loss)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameters(bare)[name], parameter, msg=name)


def test_dropped_recurrent_weights_are_the_ones_used_and_get_no_gradient(model: AWDLSTM) -> None:
    bare, words = as_bare(model, weight_dropout=0.5), text()
    logits, *_ = bare(words[:-1], bare.initial_state(BATCH))
    logits.sum().backward()
    for layer in bare.layers:
        gradient = layer.raw.grad
        torch.testing.assert_close(gradient.eq(0), layer.lstm.weight_hh_l0.eq(0))
        assert 0.3 < gradient.eq(0).double().mean() < 0.7
    bare.eval()
    kept, *_ = bare(words[:-1], bare.initial_state(BATCH))
    expected = model.logits(model(words[:-1], model.initial_state(BATCH)))
    torch.testing.assert_close(kept, expected)


def test_whole_words_are_dropped_and_locked_masks_hold_for_all_steps() -> None:
    torch.manual_seed(1)
    embedding = torch.nn.Embedding(200, 4)
    embedded = EmbeddingDropout(embedding, 0.4)(torch.arange(200))
    dropped = embedded.eq(0).all(dim=1)
    assert 0.2 < dropped.double().mean() < 0.6
    torch.testing.assert_close(embedded[~dropped], embedding.weight[~dropped] / 0.6)
    locked = LockedDropout(0.4)(torch.ones(5, 20, 30))
    assert locked.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert torch.equal(locked, locked[:1].expand_as(locked))
