"""M3DFEL: counts of its code, and its normalisation by hand."""

import pytest
import torch
from torch import nn

from dfercli.config.presets import default_model
from dfercli.errors import ConfigError
from dfercli.models.flops import measure_cost
from dfercli.models.networks.m3dfel import DynamicNorm, InstanceNetwork, assemble
from dfercli.models.networks.torchvision_3d import VideoResNet

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


def _build(**changes):
    torch.manual_seed(0)
    sizes = {"image_size": 48, "width": 0.125, "num_frames": 8, **changes}
    return assemble(default_model("m3dfel", **sizes), SEVEN, None)


def test_counts_are_those_of_the_code():
    cost = measure_cost(default_model("m3dfel"), SEVEN)
    assert cost.total == cost.trainable == 46_823_384
    assert cost.paper_macs == 43_191_454_720
    assert cost.paper_macs / 1e9 == pytest.approx(43.19, rel=5e-4)
    assert cost.true_macs == cost.paper_macs + 2 * 8 * 4 * 4 * 128  # 8 heads over 4 instances


def test_the_published_flops_leave_out_torchvisions_subclass_of_convolutions():
    macs, normalised = 0, 0

    def count(module, inputs, output):
        nonlocal macs, normalised
        if type(module) in (nn.Conv3d, nn.Conv1d, nn.Linear):  # exact types: the stem, shortcuts
            macs += output.numel() * module.weight[0].numel()
        elif type(module) is nn.LSTM:
            gates = sum(w.numel() for name, w in module.named_parameters() if "weight" in name)
            macs += inputs[0][..., 0].numel() * gates
        elif type(module) is nn.BatchNorm3d:
            normalised += output.numel()

    with torch.device("meta"), torch.no_grad():
        network = InstanceNetwork(num_frames=16).eval()
        for module in network.modules():
            module.register_forward_hook(count)
        network(torch.zeros(1, 16, 3, 112, 112))
    assert macs == 1_573_466_112
    # The tool, thop, adds four operations for each value of a batch normalisation.
    assert (macs + 4 * normalised) / 1e9 == pytest.approx(1.660, rel=5e-4)


def test_normalisation_mixes_statistics_of_channels_and_of_the_bag():
    norm = DynamicNorm(2)
    bag = torch.tensor([[[1.0, 3.0], [3.0, 9.0]]])  # two instances of two channels
    # Channels: means 2 and 6, variances 1 and 9. Bag: mean 4, variance (9 + 1 + 1 + 25) / 4 = 9.
    # Half of each: means 3 and 5, variances 5 and 9.
    expected = torch.tensor([[[-2 / 5**0.5, -2 / 3], [0.0, 4 / 3]]])
    assert torch.allclose(norm(bag), expected, atol=1e-5)


@torch.no_grad()
def test_weights_of_the_mix_are_a_softmax_and_the_result_is_scaled_and_shifted():
    norm = DynamicNorm(2)
    norm.mean_scores.copy_(torch.tensor([3.0, 1.0]).log())  # 3/4 of the channels' means
    norm.variance_scores.copy_(torch.tensor([0.0, 100.0]))  # the bag's variance
    norm.scale.copy_(torch.tensor([1.0, 2.0]))
    norm.shift.copy_(torch.tensor([0.0, 1.0]))
    bag = torch.tensor([[[1.0, 3.0], [3.0, 9.0]]])
    # Means 2.5 and 5.5, standard deviation 3.
    expected = torch.tensor([[[-1.5 / 3, 2 * -2.5 / 3 + 1], [0.5 / 3, 2 * 3.5 / 3 + 1]]])
    assert torch.allclose(norm(bag), expected, atol=1e-5)


@torch.no_grad()
def test_bags_do_not_share_statistics():
    norm = DynamicNorm(3)
    bags = torch.randn(2, 4, 3)
    assert torch.allclose(norm(bags)[:1], norm(bags[:1]))
    assert norm(torch.zeros(1, 4, 3)).isfinite().all()


@torch.no_grad()
def test_instances_are_four_consecutive_frames():
    model = _build(num_frames=16).eval()
    seen = []
    model.backbone.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    clips = torch.arange(16.0).view(1, 16, 1, 1, 1).expand(1, 16, 3, 48, 48)
    model(clips)
    assert seen[0][:, :, 0, 0, 0].tolist() == [[4 * i + j for j in range(4)] for i in range(4)]


@torch.no_grad()
def test_the_order_of_instances_matters():
    model = _build().eval()
    clips = torch.rand(1, 8, 3, 48, 48)
    swapped = torch.cat([clips[:, 4:], clips[:, :4]], dim=1)
    assert not torch.allclose(model(clips), model(swapped), atol=1e-5)


def test_frames_must_fill_the_instances():
    with pytest.raises(ConfigError, match="num_frames is 6; m3dfel needs a multiple of 4"):
        _build(num_frames=6)


def test_the_trunk_takes_weights_with_torchvisions_names():
    weights = VideoResNet("r3d-18", 0.125).state_dict()
    config = default_model("m3dfel", image_size=48, width=0.125)
    model = assemble(config, SEVEN, weights)
    assert torch.equal(model.backbone.trunk.stem[0].weight, weights["stem.0.weight"])
