import math
from dataclasses import replace

import pytest
import torch

from awd.config import ModelConfig, RegularizationConfig
from awd.dropout import no_masks
from awd.model import AWDLSTM, count_parameters, detach
from awd.streams import Streams

VOCABULARY, TIME, BATCH = 50, 6, 3
SIZES = ModelConfig(embedding_size=20, hidden_size=36, num_layers=3)


def make(sizes: ModelConfig = SIZES, regularization: RegularizationConfig | None = None, seed: int = 0) -> AWDLSTM:
    return AWDLSTM(VOCABULARY, sizes, regularization, streams=Streams(seed))


def tokens() -> torch.Tensor:
    return torch.randint(VOCABULARY, (TIME, BATCH), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("tied", [True, False])
def test_initial_weights_are_uniform_in_the_papers_ranges_and_the_decoders_bias_is_zero(tied):
    model = make(replace(SIZES, tie_weights=tied))
    for name, parameter in model.named_parameters():
        if name == "decoder.bias":
            assert not parameter.any()
            continue
        layer = int(name.split(".")[1]) if name.startswith("layers") else 2
        bound = 0.1 if name == "embedding.weight" else 1 / math.sqrt(model.model_config.layer_sizes[layer][1])
        assert parameter.abs().max() <= bound, name
        # a uniform variable's largest of n lies bound / n below the bound, its standard deviation is bound / sqrt(3)
        assert parameter.abs().max().item() > bound * (1 - 20 / parameter.numel()), name
        assert abs(parameter.mean().item()) < 4 * bound / math.sqrt(3 * parameter.numel()), name
        assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.25), name


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = make().state_dict()
    torch.manual_seed(2)
    torch.testing.assert_close(make().state_dict(), first, rtol=0, atol=0)
    assert not torch.equal(make(seed=1).embedding.weight, first["embedding.weight"])


def test_a_layer_more_leaves_the_initial_weights_of_the_first_as_they_were():
    assert torch.equal(make(replace(SIZES, num_layers=2)).layers[0].weight_hh, make().layers[0].weight_hh)


def test_tying_shares_one_matrix_and_counts_it_once():
    tied, untied = make(), make(replace(SIZES, tie_weights=False))
    assert tied.decoder.weight is tied.embedding.weight
    assert untied.decoder.weight.shape == (VOCABULARY, 36)
    for model in (tied, untied):
        assert count_parameters(VOCABULARY, model.model_config) == sum(p.numel() for p in model.parameters())


def test_shapes_of_what_a_window_gives():
    model = make()
    output = model(tokens(), model.initial_state(BATCH))
    assert output.raw.shape == output.dropped.shape == (TIME, BATCH, 20)
    assert [hidden.shape for hidden, _ in output.state] == [(BATCH, 36), (BATCH, 36), (BATCH, 20)]
    assert model.logits(output).shape == (TIME, BATCH, VOCABULARY)


def test_the_initial_state_is_zero_and_has_the_models_precision():
    state = make().double().initial_state(BATCH)
    assert all(not part.any() and part.dtype == torch.float64 for pair in state for part in pair)


def test_evaluation_drops_nothing():
    model = make()
    state = model.initial_state(BATCH)
    plain = model(tokens(), state, no_masks(3))
    evaluated = model.eval()(tokens(), state)
    assert torch.equal(evaluated.raw, plain.raw)
    assert evaluated.dropped is evaluated.raw


@pytest.mark.parametrize("choice", [{"mask_per": "step"}, {"embedding_drops": "units"}, {"recurrent_drops": "units"}])
def test_whatever_its_masks_cover_evaluation_drops_nothing_and_training_draws_them(choice):
    model, plain = make(regularization=RegularizationConfig(**choice)), make()
    state = model.initial_state(BATCH)
    torch.manual_seed(0)
    trained = model(tokens(), state)
    torch.manual_seed(0)
    assert torch.equal(model(tokens(), state, model.draw_masks(BATCH, steps=TIME)).dropped, trained.dropped)
    assert torch.equal(model.eval()(tokens(), state).dropped, plain.eval()(tokens(), state).dropped)


def test_dropping_recurrent_units_is_dropping_them_from_the_state_that_the_gates_read():
    """From the state before the window on; what the layer hands on, and the cell state, keep them."""
    torch.manual_seed(0)
    layer = make(regularization=RegularizationConfig(recurrent_drops="units")).layers[0]
    kept = torch.ones(36).index_fill(0, torch.arange(0, 36, 2), 0) * 2
    inputs, state = torch.randn(1, BATCH, 20), (torch.randn(BATCH, 36), torch.randn(BATCH, 36))
    found, after = layer(inputs, state, kept.expand(4 * 36, 36))
    expected, after_expected = layer(inputs, (state[0] * kept, state[1]))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(after, after_expected)
    assert (found != 0).all()


def test_masks_in_evaluation_mode_are_refused():
    model = make().eval()
    with pytest.raises(ValueError, match="evaluation mode"):
        model(tokens(), model.initial_state(BATCH), model.draw_masks(BATCH))


def test_training_without_given_masks_draws_them_from_the_global_generator():
    model = make()
    state = model.initial_state(BATCH)
    torch.manual_seed(0)
    drawn = model(tokens(), state)
    torch.manual_seed(0)
    assert torch.equal(model(tokens(), state, model.draw_masks(BATCH)).dropped, drawn.dropped)


def test_a_dropped_word_is_dropped_wherever_it_occurs():
    model = make()
    embedding = torch.ones(VOCABULARY, 1)
    embedding[7] = 0
    text = torch.full((TIME, BATCH), 7)
    seen = []
    model.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    text[2, 1] = 8
    model(text, model.initial_state(BATCH), replace(no_masks(3), embedding=embedding))
    assert (seen[0].abs().sum(-1) != 0).nonzero().tolist() == [[2, 1]]


def test_the_last_word_of_the_vocabulary_learns_from_its_look_up_too():
    model = make()
    text = torch.full((TIME, BATCH), VOCABULARY - 1)
    output = model(text, model.initial_state(BATCH), no_masks(3))
    output.raw.sum().backward()  # not through the softmax, which reaches every word
    assert model.embedding.weight.grad[-1].abs().min() > 0
    assert not model.embedding.weight.grad[:-1].any()


def test_ar_reads_the_output_after_dropout_and_tar_before_it():
    model = make(regularization=RegularizationConfig(activation_penalty=2.0, temporal_activation_penalty=1.0))
    output = model(tokens(), model.initial_state(BATCH), model.draw_masks(BATCH, Streams(1)))
    loss = model.loss(output, tokens())
    assert loss.activation.item() == pytest.approx(2 * (output.dropped**2).mean().item())
    assert loss.temporal.item() == pytest.approx(((output.raw[1:] - output.raw[:-1]) ** 2).mean().item())
    assert loss.activation.item() != pytest.approx(2 * (output.raw**2).mean().item(), rel=1e-2)
    assert loss.total.item() == pytest.approx((loss.cross_entropy + loss.activation + loss.temporal).item())


def test_a_state_carried_on_has_no_graph():
    model = make()
    output = model(tokens(), model.initial_state(BATCH))
    assert all(part.requires_grad for pair in output.state for part in pair)
    for before, after in zip(output.state, detach(output.state), strict=True):
        assert not any(part.requires_grad for part in after)
        torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_two_windows_with_the_state_carried_are_one_long_one():
    model = make().eval()
    whole = model(tokens(), model.initial_state(BATCH))
    first = model(tokens()[:2], model.initial_state(BATCH))
    second = model(tokens()[2:], first.state)
    torch.testing.assert_close(torch.cat([first.raw, second.raw]), whole.raw)


def test_the_papers_sizes_are_the_default():
    assert AWDLSTM(3).model_config == ModelConfig()
    assert AWDLSTM(3).regularization == RegularizationConfig()
