"""ResNet18 over frames: equal to torchvision's, and the counts of what follows it."""

import pytest
import torch
from torchvision.models import resnet18

from dfercli.config.presets import default_model
from dfercli.models.base import assemble
from dfercli.models.flops import measure_cost
from dfercli.models.networks.resnet import LastState, ResNet

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
TRUNK = 11_176_512
"""Parameters of ResNet18 without its classifier."""


@pytest.mark.parametrize("name", ["resnet18-lstm", "freq-hd"])
def test_counts_with_an_lstm_are_those_published(name):
    cost = measure_cost(default_model(name), SEVEN)
    first, second = (4 * 256 * (width + 256 + 2) for width in (512, 256))
    assert cost.total == cost.trainable == TRUNK + first + second + 257 * 7 == 12_493_127
    assert cost.paper_macs == cost.true_macs == 7_778_535_168
    assert round(cost.paper_macs / 1e9, 2) == 7.78


def test_counts_with_a_transformer():
    cost = measure_cost(default_model("resnet18-vit"), SEVEN)
    assert cost.total == TRUNK + 6_312_960 + 513 * 7 == 17_493_063
    assert cost.paper_macs == 7_864_520_192
    products = 2 * 3 * 8 * 17 * 17 * 64  # two of them, in three layers of eight heads
    assert cost.true_macs == cost.paper_macs + products


def test_the_trunk_is_torchvisions():
    torch.manual_seed(0)
    theirs = resnet18().eval()
    ours = ResNet().eval()
    ours.load_state_dict({n: t for n, t in theirs.state_dict().items() if not n.startswith("fc.")})
    theirs.fc = torch.nn.Identity()
    frames = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(frames), theirs(frames), rtol=1e-5, atol=1e-5)


def test_initial_weights_reach_the_trunk():
    towers = {name: torch.full_like(t, 2.0) for name, t in ResNet().state_dict().items()}
    model = assemble(default_model("resnet18-lstm"), SEVEN, towers)
    for name, tensor in model.backbone.trunk.state_dict().items():
        assert (tensor == 2).all(), name


def test_the_lstm_returns_its_output_at_the_last_frame():
    torch.manual_seed(0)
    head, frames = LastState(4, 3), torch.randn(2, 5, 4)
    outputs, _ = head.lstm(frames)
    assert torch.equal(head(frames), outputs[:, 4])
