"""IAL: counts of its code, and its gates and losses by hand."""

import math

import pytest
import torch

from dfercli.config.presets import default_model
from dfercli.errors import ConfigError
from dfercli.models.base import Outputs
from dfercli.models.flops import measure_cost
from dfercli.models.networks.ial import SharedGate, assemble, auxiliary_cross_entropy, margin_loss

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
TRANSFORMERS = 15 * (16 * 2 * (256 * 512 + 2 * 256 * 256) + 2 * (4096 * 512 + 2 * 4096 * 512))
"""Linear layers of both transformers at 15 steps: 2 layers, 4 heads of 32."""


def _build(**changes):
    torch.manual_seed(0)
    sizes = {"image_size": 48, "width": 0.125, "num_frames": 4, **changes}
    return assemble(default_model("ial", **sizes), SEVEN, None)


def test_counts_are_those_of_the_code():
    cost = measure_cost(default_model("ial"), SEVEN)
    third_classifier = 256 * 512 + 512 * 7  # at weight 0
    never_used = (64 * 128 + 128 * 7) + (64 * 28**2 + 2 * 64 * 4)  # first stage's classifier, gate
    never_used += 64 + sum(n * n + 2 * n for n in (64, 128, 256))
    assert never_used == 146_752
    assert cost.total == 19_083_527
    assert cost.trainable == 19_083_527 - third_classifier - never_used
    assert cost.paper_macs == 5_621_882_880
    products = 15 * (2 * 4 * 2 * 16 * 16 * 32) + 2 * 4 * 2 * 15 * 15 * 32
    assert cost.true_macs == 5_621_882_880 + products


@pytest.mark.parametrize(("stage_blocks", "counted"), [("1,1,1,3", 5.937), ("2,2,2,2", 8.43)])
def test_macs_are_those_of_the_code_which_runs_its_transformers_twice(stage_blocks, counted):
    cost = measure_cost(default_model("ial", stage_blocks=stage_blocks), SEVEN)
    assert (cost.paper_macs + TRANSFORMERS) / 1e9 == pytest.approx(counted, rel=5e-4)


def test_factors_are_geometric_means_of_a_frame_and_of_all_frames():
    gate = SharedGate(channels=1, side=2, num_frames=2)
    for layer in (gate.squeeze, gate.reduce, gate.expand):
        torch.nn.init.ones_(layer.weight)
    maps = torch.zeros(2, 1, 2, 2)
    maps[1] = math.log(3) / 4  # the sum is log 3, whose sigmoid is 3/4
    factors, means = gate(maps)
    assert torch.allclose(means, torch.tensor([[math.log(3) / 2]]))  # of the sums
    expected = [math.sqrt(1 * 1.25 + 1e-5), math.sqrt(1.5 * 1.25 + 1e-5)]  # of 2 * 1/2 and 2 * 3/4
    assert torch.allclose(factors.flatten(), torch.tensor(expected))


def test_closed_gates_have_finite_gradients():
    gate = SharedGate(channels=1, side=2, num_frames=2)
    for layer in (gate.squeeze, gate.reduce, gate.expand):
        torch.nn.init.ones_(layer.weight)
    torch.nn.init.constant_(gate.expand.weight, -1.0)
    factors, _ = gate(torch.full((2, 1, 2, 2), 1e3))
    factors.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in gate.parameters())


def test_the_margin_loss_compares_a_class_with_the_strongest_other_one():
    outputs = Outputs(torch.tensor([[2.0, 0.0, 1.0], [2.0, 0.0, 1.0]]), {})
    losses = margin_loss(outputs, torch.tensor([0, 1]))
    expected = [math.log(1 + math.exp(1 - 2)), math.log(1 + math.exp(2 - 0))]
    assert torch.allclose(losses, torch.tensor(expected))


def test_the_auxiliary_loss_is_the_cross_entropy_of_the_second_stages_classifier():
    logits = torch.tensor([[math.log(3), 0.0]])
    outputs = Outputs(torch.zeros(1, 2), {"auxiliary": logits})
    expected = torch.tensor([math.log(4)])
    assert torch.allclose(auxiliary_cross_entropy(outputs, torch.tensor([1])), expected)


def test_the_losses_have_the_weights_of_the_code():
    model = _build()
    assert [weight for _, weight in model.auxiliary_losses()] == [0.1, 0.05]
    outputs = model.run(torch.rand(2, 4, 3, 48, 48))
    assert outputs.logits.shape == outputs.extras["auxiliary"].shape == (2, 7)


@torch.no_grad()
def test_the_order_of_frames_matters():
    model = _build().eval()
    clips = torch.rand(1, 4, 3, 48, 48)
    assert not torch.allclose(model(clips), model(clips.flip(1)), atol=1e-4)


@torch.no_grad()
def test_changes_are_of_neighbouring_frames():
    model = _build().eval()
    seen = []
    model.backbone.changes.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    clips = torch.rand(1, 4, 3, 48, 48)
    clips[:, 2] = clips[:, 1]  # a picture that stays
    gate = torch.ones(())
    for stage in (model.backbone.stage2, model.backbone.stage3):
        for block in stage:  # the same factor for all frames
            block.gate.forward = lambda maps: (gate, maps.new_zeros(1, 1))
    model(clips)
    assert [bool(change.any()) for change in seen[0]] == [True, False, True]


def test_one_frame_has_no_changes():
    with pytest.raises(ConfigError, match="num_frames"):
        _build(num_frames=1)


def test_more_blocks_in_a_stage_are_gated_too():
    model = _build(stage_blocks="2,3,1,1")
    backbone = model.backbone
    stages = (backbone.stage1, backbone.stage2, backbone.stage3, backbone.changes)
    assert [len(stage) for stage in stages] == [2, 3, 1, 1]
    assert all(hasattr(block, "gate") for block in backbone.stage2)


@torch.no_grad()
def test_other_sizes_and_constant_clips_give_finite_logits():
    model = _build(image_size=64).eval()
    for clips in (torch.zeros(1, 4, 3, 64, 64), torch.ones(1, 4, 3, 64, 64)):
        assert model(clips).isfinite().all()
