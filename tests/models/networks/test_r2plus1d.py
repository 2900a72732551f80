"""R(2+1)D-18: its counts, and its factorised convolutions."""

import pytest
import torch

from dfercli.config.presets import default_model
from dfercli.models.flops import measure_cost
from dfercli.models.networks.r2plus1d import R2Plus1d, factorised_convolution

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


def test_counts_are_those_published():
    cost = measure_cost(default_model("r2plus1d"), SEVEN)
    assert cost.total == cost.trainable == 33_182_188
    assert cost.paper_macs == cost.true_macs == 42_142_474_752
    assert cost.paper_macs == pytest.approx(42.36e9, rel=0.006)  # which has norms and ReLUs too


@pytest.mark.parametrize(
    ("inputs", "outputs", "side", "between"),
    [
        (3, 64, 7, 83),  # 3 * 49 * 3 * 64 / (49 * 3 + 3 * 64) = 83.26
        (64, 64, 3, 144),  # 3 * 9 * 64 * 64 / (9 * 64 + 3 * 64) = 144
        (64, 128, 3, 230),  # 3 * 9 * 64 * 128 / (9 * 64 + 3 * 128) = 230.4
    ],
)
def test_channels_between_keep_the_number_of_weights(inputs, outputs, side, between):
    over_space, _, _, over_time = factorised_convolution(inputs, outputs, side=side)
    assert over_space.out_channels == over_time.in_channels == between
    weights = over_space.weight.numel() + over_time.weight.numel()
    assert weights == pytest.approx(3 * side**2 * inputs * outputs, rel=0.005)
    assert weights <= 3 * side**2 * inputs * outputs


def test_one_convolution_sees_space_and_the_other_time():
    over_space, _, _, over_time = factorised_convolution(2, 4, 2, 2)
    assert over_space.kernel_size == (1, 3, 3)
    assert over_time.kernel_size == (3, 1, 1)
    assert over_time(over_space(torch.zeros(1, 2, 8, 6, 6))).shape == (1, 4, 4, 3, 3)


def test_the_order_of_frames_matters():
    torch.manual_seed(0)
    network = R2Plus1d(width=0.125).eval()
    clips = torch.randn(2, 8, 3, 48, 48)
    with torch.no_grad():
        assert not torch.allclose(network(clips), network(clips.flip(1)), rtol=1e-3)
