"""The continuous cache against its equations, written out with loops."""

from __future__ import annotations

import math

import pytest
import torch

from awd import cache as caches_module
from awd.cache import Cache, evaluate_with_caches, mix, tune_cache
from awd.evaluation import evaluate
from awd.model import AWDLSTM
from tests.awd.test_evaluation import VOCABULARY, batches, model


def by_hand(network: AWDLSTM, column: list[int], cache: Cache) -> tuple[list[float], list[list[float]]]:
    """Probability of each predicted token, and the cache's distribution there: p(w) ~ sum of exp(theta h . h_i)."""
    network.eval()
    with torch.no_grad():
        output = network(torch.tensor(column)[:, None], network.initial_state(1))
        states, of_model = output.dropped[:, 0], network.logits(output)[:, 0].softmax(-1)
    probabilities, distributions = [], []
    for now in range(len(column) - 1):
        pairs = range(max(0, now - cache.window), now)
        weights = [math.exp(cache.theta * float(states[now] @ states[i])) for i in pairs]
        found = [0.0] * VOCABULARY
        for i, weight in zip(pairs, weights, strict=True):
            found[column[i + 1]] += weight / sum(weights)
        share = cache.lambda_ if weights else 0.0
        word = column[now + 1]
        probabilities.append((1 - share) * float(of_model[now, word]) + share * found[word])
        distributions.append(found)
    return probabilities, distributions


@pytest.mark.parametrize(
    "cache", [Cache(5, 0.7, 0.3), Cache(1, 0.0, 0.05), Cache(1000, 20.0, 0.9), Cache(8, 1.5, 0.0)], ids=str
)
def test_the_loss_is_that_of_the_equations(cache, monkeypatch):
    monkeypatch.setattr(caches_module, "_ROWS_AT_ONCE", 7)  # so that parts look back into each other
    network, text = model(), batches(rows=40, columns=1)
    expected, distributions = by_hand(network, text[:, 0].tolist(), cache)
    assert [sum(words) for words in distributions[1:]] == pytest.approx([1.0] * 38)
    loss = -sum(map(math.log, expected)) / len(expected)
    assert evaluate_with_caches(network, text, [cache]) == pytest.approx([loss], rel=1e-12)


def test_every_column_has_a_cache_of_its_own():
    network, text, cache = model(), batches(), Cache(9, 2.0, 0.4)
    alone = [evaluate_with_caches(network, text[:, [column]], [cache])[0] for column in range(3)]
    assert evaluate_with_caches(network, text, [cache])[0] == pytest.approx(sum(alone) / 3, rel=1e-12)


def test_lambda_0_is_the_network_alone():
    network, text = model(), batches()
    assert evaluate_with_caches(network, text, [Cache(lambda_=0)])[0] == pytest.approx(
        evaluate(network, text), rel=1e-12
    )


def test_the_cache_alone_cannot_give_a_word_that_it_has_not_seen():
    network = model()
    assert evaluate_with_caches(network, torch.tensor([[0], [1], [1], [1]]), [Cache(lambda_=1)])[0] < math.inf
    assert evaluate_with_caches(network, torch.tensor([[0], [1], [2]]), [Cache(lambda_=1)]) == [math.inf]


def test_probabilities_of_all_words_sum_to_one():
    of_model = torch.rand(VOCABULARY).double().softmax(0)
    of_cache = torch.tensor([0.5, 0.5, 0, 0, 0, 0, 0]).double()
    assert float(mix(of_model.log(), of_cache.log(), 0.3).exp().sum()) == pytest.approx(1)


def test_words_said_again_become_probable():
    column = torch.tensor([3] * 60)[:, None]
    with_cache = evaluate_with_caches(model(), column, [Cache(20, 0.6, 0.5)])[0]
    assert with_cache == pytest.approx(-math.log(0.5), abs=0.2)
    assert evaluate(model(), column) > 1


def test_the_grid_is_searched_with_the_losses_of_single_caches():
    network, text = model(), batches(rows=60)
    grid = {"windows": (2, 30), "thetas": (0.1, 3.0), "lambdas": (0.1, 0.6)}
    best = tune_cache(network, text, **grid)
    single = {
        cache: evaluate_with_caches(network, text, [cache])[0]
        for cache in (
            Cache(window, theta, lambda_) for window in (2, 30) for theta in (0.1, 3.0) for lambda_ in (0.1, 0.6)
        )
    }
    assert best == min(single, key=lambda cache: single[cache])


@pytest.mark.parametrize("fault", [{"window": 0}, {"theta": -1.0}, {"theta": math.nan}, {"lambda_": 1.5}])
def test_a_cache_that_cannot_be_is_refused(fault):
    ((name, value),) = fault.items()
    with pytest.raises(ValueError, match=f"{name}: given {value}"):
        Cache(**fault)
