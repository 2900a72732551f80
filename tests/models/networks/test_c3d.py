"""C3D: its counts, and the maps that its linear layers read."""

import pytest
import torch
from torch import nn

from dfercli.config.presets import default_model
from dfercli.models.base import assemble
from dfercli.models.flops import measure_cost
from dfercli.models.networks.c3d import C3d

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
OUTPUTS = (64, 128, 256, 256, 512, 512, 512, 512)


def test_counts_are_those_published():
    cost = measure_cost(default_model("c3d"), SEVEN)
    inputs = (3, *OUTPUTS[:-1])
    convolutions = sum((27 * n + 1) * m for n, m in zip(inputs, OUTPUTS, strict=True))
    norms = 2 * sum(OUTPUTS)
    linear = 8193 * 4096 + 4097 * 4096 + 4097 * 7
    assert norms == 5504
    assert cost.total == cost.trainable == convolutions + norms + linear == 78_029_959
    assert cost.paper_macs == cost.true_macs == 38_546_993_152


def test_one_addition_per_output_gives_the_published_flops():
    with torch.device("meta"):
        model = assemble(default_model("c3d"), SEVEN, None).eval()
        outputs = []
        for module in model.modules():
            if isinstance(module, (nn.Conv3d, nn.Linear)):
                module.register_forward_hook(lambda _m, _i, output: outputs.append(output.numel()))
        model(torch.zeros(1, 16, 3, 112, 112))
    assert f"{(38_546_993_152 + sum(outputs)) / 1e9:.2f}" == "38.57"


@pytest.mark.parametrize(
    ("num_frames", "image_size", "maps"),
    [
        (16, 112, (1, 4, 4)),  # 112 -> 56 -> 28 -> 14 -> 7 -> (7 + 2) / 2
        (16, 48, (1, 2, 2)),  # 48 -> 24 -> 12 -> 6 -> 3 -> (3 + 2) / 2
        (32, 64, (2, 3, 3)),
        (4, 64, (1, 3, 3)),  # 4 -> 4 -> 2 -> 1, and no further
    ],
)
def test_the_linear_layers_fit_the_maps(num_frames, image_size, maps):
    network = C3d(num_frames, image_size, width=1 / 64).eval()
    clips = torch.zeros(2, num_frames, 3, image_size, image_size)
    with torch.no_grad():
        assert network.convolutions(clips.transpose(1, 2)).shape == (2, 8, *maps)
        assert network(clips).shape == (2, network.features)


def test_the_order_of_frames_matters():
    torch.manual_seed(0)
    network = C3d(8, 48, width=0.125).eval()
    clips = torch.randn(2, 8, 3, 48, 48)
    with torch.no_grad():
        assert not torch.allclose(network(clips), network(clips.flip(1)), rtol=1e-3)
