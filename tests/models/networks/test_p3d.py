"""P3D-63: its counts, and the three ways to combine space and time."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dfercli.config.presets import default_model
from dfercli.errors import ConfigError
from dfercli.models.base import build_model
from dfercli.models.flops import measure_cost
from dfercli.models.networks import p3d
from dfercli.models.networks.p3d import Bottleneck, P3d

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


@pytest.mark.parametrize(
    ("blocks", "parameters", "macs", "millions", "giga"),
    [
        ((3, 4, 6, 3), 24_939_975, 8_441_051_136, 24.94, 8.44),
        ((3, 4, 23, 3), 47_283_143, 12_897_499_136, 47.28, 12.90),  # P3D-131
        ((3, 8, 36, 3), 65_686_983, 18_402_523_136, 65.69, 18.40),  # P3D-199
    ],
)
def test_counts_are_those_of_public_code(monkeypatch, blocks, parameters, macs, millions, giga):
    monkeypatch.setattr(p3d, "BLOCKS", blocks)
    cost = measure_cost(default_model("p3d"), SEVEN)
    assert cost.total == cost.trainable == parameters
    assert cost.paper_macs == cost.true_macs == macs
    assert (round(parameters / 1e6, 2), round(macs / 1e9, 2)) == (millions, giga)


def test_a_single_frame_is_too_few():
    with pytest.raises(ConfigError, match="num_frames is 1; it must be at least 2"):
        build_model(default_model("p3d", weights="random", num_frames=1), SEVEN)


def test_three_stages_cycle_through_the_kinds_and_the_last_is_flat():
    with torch.device("meta"):
        network = P3d(width=0.125)
    kinds = [module.kind for module in network.modules() if isinstance(module, Bottleneck)]
    assert kinds == [*"ABCABCABCABCA", "flat", "flat", "flat"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    # Over space each value is doubled, over time tripled.
    [("A", 6.0), ("B", 2.0 + 3.0), ("C", 2.0 + 6.0), ("flat", 2.0)],
)
def test_how_space_and_time_are_combined(kind, expected):
    block = Bottleneck(4, 1, 1, kind).eval()
    block.space = _Times(2)
    block.time = _Times(3)
    assert block.mix(torch.ones(1, 1, 1, 1, 1)).item() == expected


class _Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, maps):
        return self.factor * maps


def test_a_block_that_adds_nothing_keeps_what_is_positive():
    block = Bottleneck(8, 2, 1, "A").eval()
    nn.init.zeros_(block.restore[1].weight)
    maps = torch.randn(1, 8, 2, 3, 3)
    assert torch.equal(block(maps), F.relu(maps))


@pytest.mark.parametrize("num_frames", [2, 8, 16, 24])
def test_clips_of_other_lengths(num_frames):
    network = P3d(width=0.125).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, num_frames, 3, 48, 48)).shape == (1, network.features)


def test_the_order_of_frames_matters():
    torch.manual_seed(0)
    network = P3d(width=0.125).eval()
    clips = torch.randn(2, 8, 3, 48, 48)
    with torch.no_grad():
        assert not torch.allclose(network(clips), network(clips.flip(1)), rtol=1e-3)
