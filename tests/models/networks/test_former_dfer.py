"""Former-DFER: its counts, with one spatial layer and with three."""

import pytest
import torch

from dfercli.config.presets import default_model
from dfercli.models.base import assemble
from dfercli.models.flops import measure_cost
from dfercli.models.networks.former_dfer import SpatialFormer

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
LAYER = 2 * 2 * 256 + 3 * 256 * 256 + 257 * 256 + 257 * 512 + 513 * 256


def test_counts_are_those_of_the_code():
    cost = measure_cost(default_model("former-dfer"), SEVEN)
    spatial = 11_176_512 + 49 * 256 + LAYER
    assert spatial == 11_715_392
    assert cost.total == cost.trainable == spatial + 6_312_960 + 3_591 == 18_031_943
    assert (cost.paper_macs, cost.true_macs) == (8_275_561_984, 8_296_118_784)


def test_three_spatial_layers_give_the_published_flops():
    cost = measure_cost(default_model("former-dfer", spatial_layers=3), SEVEN)
    assert cost.total == 18_031_943 + 2 * LAYER == 19_084_615
    assert cost.paper_macs == 9_097_645_568
    assert cost.paper_macs / 1e9 == pytest.approx(9.11, rel=0.005)


@pytest.mark.parametrize(("image_size", "positions"), [(112, 49), (64, 16), (48, 9), (50, 16)])
def test_positions_are_those_of_the_maps(image_size, positions):
    network = SpatialFormer(image_size, depth=1, width=0.125)
    assert len(network.positions) == positions
    assert network(torch.zeros(2, 3, image_size, image_size)).shape == (2, network.features)


def test_positions_within_frames_matter():
    torch.manual_seed(0)
    config = default_model("former-dfer", image_size=64, width=0.125)
    model = assemble(config, SEVEN, None).eval()
    clips = torch.randn(1, 16, 3, 64, 64)
    with torch.no_grad():
        before = model(clips)
        model.backbone.trunk.positions.copy_(model.backbone.trunk.positions.flip(0))
        assert not torch.allclose(model(clips), before, atol=1e-4)
