"""LSTPNet: counts of its code, and its excitation by hand."""

import pytest
import torch

from dfercli.config.presets import default_model
from dfercli.models.flops import measure_cost
from dfercli.models.networks.lstpnet import (
    LongShortTermTransformer,
    TemporalConvolution,
    TemporalExcitation,
    assemble,
    choose_kernel,
    make_trunk,
)
from dfercli.models.networks.resnet import ResNet

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


def _build(**changes):
    torch.manual_seed(0)
    sizes = {"image_size": 48, "width": 0.125, "num_frames": 4, "sampling": "2x2", **changes}
    return assemble(default_model("lstpnet", **sizes), SEVEN, None)


def _count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_counts_are_those_of_the_code():
    cost = measure_cost(default_model("lstpnet"), SEVEN)
    assert cost.total == cost.trainable == 24_619_686
    assert cost.paper_macs == 32_915_295_744
    assert cost.paper_macs / 1e9 == pytest.approx(32.915, rel=5e-5)
    assert cost.true_macs == cost.paper_macs + 2 * 2 * 8 * 16 * 16 * 64  # two layers of 8 heads


def test_trunk_and_transformer_have_their_shares_of_the_parameters():
    with torch.device("meta"):
        trunk, temporal = make_trunk(16, 1.0, None), LongShortTermTransformer(512)
    assert _count(trunk) == 13_260_447
    assert _count(temporal) + 512 * 7 + 7 == 11_359_239


@pytest.mark.parametrize(("channels", "size"), [(8, 3), (64, 3), (128, 5), (256, 5), (512, 5)])
def test_kernels_over_channels_are_odd_and_grow_with_the_channels(channels, size):
    assert choose_kernel(channels) == size


@torch.no_grad()
def test_factors_depend_on_the_frame_before():
    excitation = TemporalExcitation(channels=8, num_frames=2)
    for parameter in excitation.parameters():
        parameter.zero_()
    excitation.over_channels.weight[0, 0, 1] = 1  # each channel by itself
    excitation.over_time.weight[:, :, 1] = torch.eye(8)  # a frame, less the one before
    excitation.over_time.weight[:, :, 0] = -torch.eye(8)
    excitation.merge.weight[0, 0, 1] = 1
    maps = torch.zeros(2, 8, 1, 2)
    maps[0, 0] = torch.tensor([1.0, 3.0])  # mean 2, maximum 3
    maps[1, 0] = torch.tensor([2.0, 8.0])  # mean 5, maximum 8
    maps[0, 1] = 1.0
    maps[1, 1] = 0.5  # less than before
    # Scores of channel 0: 2 + 3, then (5 - 2) + (8 - 3). Of channel 1: 1 + 1, then ReLU makes 0.
    scores = torch.tensor([[5.0, 2.0], [8.0, 0.0]])
    expected = maps[:, :2] * (2 * scores.sigmoid())[..., None, None]
    assert torch.allclose(excitation(maps)[:, :2], expected)


@torch.no_grad()
def test_a_convolution_over_time_adds_to_the_sequence():
    layer = TemporalConvolution(features=1)
    layer.convolution.weight.copy_(torch.tensor([[[1.0, 0.0, 10.0]]]))
    layer.convolution.bias.fill_(100.0)
    frames = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1)
    assert layer(frames).flatten().tolist() == [1 + 20 + 100, 2 + 1 + 30 + 100, 3 + 2 + 100]


def test_both_layers_share_the_convolution_before_them():
    temporal = LongShortTermTransformer(8, width=0.125)
    calls = []
    temporal.short_term.register_forward_hook(lambda *_: calls.append(1))
    temporal(torch.randn(1, 4, 8))
    assert len(calls) == len(temporal.layers) == 2


def test_excitations_stand_before_the_blocks_of_stages_2_to_4_and_at_the_end():
    trunk = _build().backbone.trunk
    stages = [trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4]
    numbers = [sum(isinstance(m, TemporalExcitation) for m in stage.modules()) for stage in stages]
    assert numbers == [0, 2, 2, 3]
    assert isinstance(trunk.layer4[-1], TemporalExcitation)


@torch.no_grad()
def test_the_order_of_frames_matters():
    model = _build().eval()
    clips = torch.rand(1, 4, 3, 48, 48)
    assert not torch.allclose(model(clips), model(clips.flip(1)), atol=1e-5)


@torch.no_grad()
def test_weights_without_biases_start_as_the_same_resnet18():
    torch.manual_seed(0)
    resnet = ResNet(width=0.125).eval()
    trunk = make_trunk(4, 0.125, resnet.state_dict()).eval()
    frames = torch.rand(4, 3, 48, 48)
    assert torch.equal(trunk.layer1(trunk.stem(frames)), resnet.layer1(resnet.stem(frames)))
    block = trunk.layer4[0][1]
    assert torch.equal(block.conv2.weight, resnet.layer4[0].conv2.weight)
    assert not block.conv2.bias.any()


@torch.no_grad()
def test_weights_with_biases_keep_them():
    weights = ResNet(width=0.125).state_dict()
    weights["layer2.0.conv1.bias"] = torch.arange(16.0)
    trunk = make_trunk(4, 0.125, weights)
    assert torch.equal(trunk.layer2[0][1].conv1.bias, torch.arange(16.0))


def test_weights_of_another_network_are_refused():
    weights = ResNet(width=0.125).state_dict()
    del weights["layer3.0.bn1.bias"]
    with pytest.raises(RuntimeError, match=r"layer3\.0\.bn1\.bias"):
        make_trunk(4, 0.125, weights)


@torch.no_grad()
def test_factors_are_at_most_2_and_black_frames_stay_black():
    excitation = TemporalExcitation(channels=8, num_frames=2)
    maps = 100 * torch.rand(4, 8, 3, 3)
    assert (excitation(maps) <= 2 * maps).all()
    assert not excitation(torch.zeros_like(maps)).any()
