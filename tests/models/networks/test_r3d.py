"""Hara's 3D ResNet18: its counts, its shortcuts, and that the order of the frames matters."""

import pytest
import torch

from dfercli.config.presets import default_model
from dfercli.models.flops import measure_cost
from dfercli.models.networks.r3d import PaddedShortcut, ResNet3d, projected_shortcut

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


@pytest.mark.parametrize("name", ["r3d-hara", "ec-stfl"])
def test_counts_are_those_published(name):
    cost = measure_cost(default_model(name), SEVEN)
    assert cost.total == cost.trainable == 33_033_671
    assert cost.paper_macs == cost.true_macs == 8_296_074_752
    assert cost.paper_macs == pytest.approx(8.32e9, rel=0.005)


def test_the_projected_shortcut_costs_more():
    def count(network):
        return sum(parameter.numel() for parameter in network.parameters())

    with torch.device("meta"):
        padded, projected = ResNet3d(), ResNet3d(shortcut=projected_shortcut)
    # Three of 64 -> 128 -> 256 -> 512, each with scale and offset: 33.21 M in all.
    extra = 64 * 128 + 128 * 256 + 256 * 512 + 2 * (128 + 256 + 512)
    assert count(projected) - count(padded) == extra
    assert round((count(projected) + 512 * 7 + 7) / 1e6, 2) == 33.21


def test_the_padded_shortcut_keeps_every_second_position():
    maps = torch.arange(27.0).reshape(1, 1, 3, 3, 3)
    shortened = PaddedShortcut(1, 3, stride=2)(maps)
    assert shortened.shape == (1, 3, 2, 2, 2)
    assert shortened[0, 0].flatten().tolist() == [0, 2, 6, 8, 18, 20, 24, 26]
    assert shortened[0, 1:].count_nonzero() == 0


def test_the_order_of_frames_matters():
    torch.manual_seed(0)
    network = ResNet3d(width=0.125).eval()
    clips = torch.randn(2, 8, 3, 48, 48)
    with torch.no_grad():
        assert not torch.allclose(network(clips), network(clips.flip(1)), rtol=1e-3)
