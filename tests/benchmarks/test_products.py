"""The floor that matrix products put under a step."""

from __future__ import annotations

from awd.config import ModelConfig
from benchmarks.products import step_products
from tests.benchmarks.conftest import Refused, run


def test_the_products_of_a_step_are_those_of_every_weight() -> None:
    """Each weight of the layers and of the softmax is multiplied with once a token."""
    weights = sum(
        rows * inner * out * times for _, rows, inner, out, times in step_products(ModelConfig(), 10_000, 70, 20)
    )
    sizes = ((400, 1150), (1150, 1150), (1150, 400))
    assert weights == 1400 * (sum(4 * width * (before + width) for before, width in sizes) + 400 * 10_000)


def test_it_names_a_floor_for_both_types() -> None:
    done = run("products", "--config", "tiny", "--rounds", "1")
    assert done.returncode == 0, done.stderr
    assert "Floor in float32" in done.stdout
    assert "Floor in bfloat16" in done.stdout


def test_an_unknown_configuration_is_refused(refused: Refused) -> None:
    assert "unknown configuration 'huge'" in refused("products", "--config", "huge")
