import pytest
import torch

from awd.penalties import activation_penalty, temporal_activation_penalty

# (time 3, batch 1, width 2)
OUTPUT = torch.tensor([[[1.0, 2.0]], [[3.0, 0.0]], [[3.0, -1.0]]], requires_grad=True)


def test_ar_is_alpha_times_the_mean_square():
    assert activation_penalty(OUTPUT, 2.0).item() == pytest.approx(2 * (1 + 4 + 9 + 0 + 9 + 1) / 6)


def test_tar_is_beta_times_the_mean_square_of_consecutive_differences():
    assert temporal_activation_penalty(OUTPUT, 3.0).item() == pytest.approx(3 * (4 + 4 + 0 + 1) / 4)


def test_tar_of_two_steps_is_that_of_their_one_difference():
    assert temporal_activation_penalty(OUTPUT[:2], 3.0).item() == pytest.approx(3 * (4 + 4) / 2)


def test_tar_of_a_single_step_is_zero():
    assert temporal_activation_penalty(OUTPUT[:1], 1.0).item() == 0


@pytest.mark.parametrize("penalty", [activation_penalty, temporal_activation_penalty])
def test_neither_depends_on_how_often_a_batch_repeats(penalty):
    assert penalty(OUTPUT.expand(3, 5, 2), 1.0).item() == pytest.approx(penalty(OUTPUT, 1.0).item())
