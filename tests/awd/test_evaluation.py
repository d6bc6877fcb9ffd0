import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from awd import evaluation
from awd.config import ModelConfig
from awd.evaluation import evaluate, perplexity
from awd.model import AWDLSTM
from awd.streams import Streams

VOCABULARY = 7


def model(vocabulary: int = VOCABULARY) -> AWDLSTM:
    return AWDLSTM(vocabulary, ModelConfig(embedding_size=4, hidden_size=5, num_layers=2), streams=Streams(0)).double()


def predicting(frequencies: list[float]) -> AWDLSTM:
    """A model that gives every token the same probability, whatever was read."""
    network = model(len(frequencies))
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    network.decoder.bias.data = torch.tensor(frequencies).double().log()
    return network


def batches(rows: int = 40, columns: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, (rows, columns), generator=torch.Generator().manual_seed(seed))


def test_perplexity_by_hand():
    # the first token is not predicted: 1/2 * 1/2 * 1/4
    column = torch.tensor([[2], [0], [0], [1]])
    assert perplexity(evaluate(predicting([0.5, 0.25, 0.25]), column)) == pytest.approx(16 ** (1 / 3), rel=1e-12)


def test_a_uniform_model_is_as_perplexed_as_its_vocabulary_is_large():
    assert perplexity(evaluate(predicting([1 / VOCABULARY] * VOCABULARY), batches())) == pytest.approx(VOCABULARY)


def test_a_unigram_model_reaches_the_exponential_of_the_entropy():
    text = batches(rows=200, columns=2)
    counts = torch.bincount(text[1:].flatten(), minlength=VOCABULARY)
    frequencies = (counts / counts.sum()).double()
    entropy = -(frequencies * frequencies.log()).sum()
    assert evaluate(predicting(frequencies.tolist()), text) == pytest.approx(entropy.item(), rel=1e-6)


@pytest.mark.parametrize("logits_at_once", [1, 70, 333, 10**9])
def test_the_size_of_a_chunk_does_not_matter(monkeypatch, logits_at_once):
    network, text = model(), batches()
    network.eval()
    output = network(text[:-1], network.initial_state(3))
    in_one_go = F.cross_entropy(network.logits(output).flatten(0, 1), text[1:].flatten()).item()
    monkeypatch.setattr(evaluation, "_LOGITS_AT_ONCE", logits_at_once)
    assert evaluate(network, text) == pytest.approx(in_one_go, rel=1e-12)


@pytest.mark.parametrize(("rows", "columns"), [(9000, 1), (900, 10)])
def test_state_and_targets_go_on_from_chunk_to_chunk(rows, columns):
    """Three chunks of at most 4,096 tokens; the last is the shortest."""
    network, text = model().eval(), batches(rows, columns)
    assert (rows - 1) * columns > 2 * evaluation._TOKENS_AT_ONCE
    with torch.no_grad():
        output = network(text[:-1], network.initial_state(columns))
        in_one_go = F.cross_entropy(network.logits(output).flatten(0, 1), text[1:].flatten()).item()
    # zeros in place of the state carried on change this loss by more than 1e-6 of itself
    assert evaluate(network, text) == pytest.approx(in_one_go, rel=1e-12)


def test_columns_are_evaluated_each_for_itself():
    network, text = model(), batches()
    alone = [evaluate(network, text[:, [column]]) for column in range(3)]
    assert evaluate(network, text) == pytest.approx(sum(alone) / 3, rel=1e-12)


@pytest.mark.parametrize("rows", [2, 3, 40])
def test_the_loss_is_a_mean_over_predicted_tokens_however_short_the_text(rows):
    """The published code divides by the length of the data, one more a column than was predicted."""
    uniform = predicting([1 / VOCABULARY] * VOCABULARY)
    assert evaluate(uniform, batches(rows)) == pytest.approx(math.log(VOCABULARY), rel=1e-6)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_repeats_to_the_bit_and_leaves_mode_weights_and_generator_alone(training):
    network, text = model().train(training), batches()
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    generator = torch.get_rng_state()
    assert evaluate(network, text) == evaluate(network, text)
    assert all(module.training == training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), generator)
    torch.testing.assert_close(network.state_dict(), weights, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_an_evaluation_that_fails_leaves_the_mode_too(training):
    network = model().train(training)

    def fails(*_):
        assert not network.training
        raise RuntimeError("out of memory")

    network.layers[1].register_forward_hook(fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        evaluate(network, batches())
    assert all(module.training == training for module in network.modules())


def test_a_loss_too_large_for_an_exponential_is_an_infinite_perplexity():
    assert perplexity(1000.0) == math.inf
    assert math.isnan(perplexity(math.nan))
