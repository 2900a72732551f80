"""AEN: sizes, attention from the top down, both stages of training, and its losses."""

import math

import pytest
import torch
from torch.nn import functional as F

from dfercli.config import TrainConfig
from dfercli.config.presets import default_model
from dfercli.errors import ConfigError
from dfercli.models.base import Outputs, assemble
from dfercli.models.flops import measure_cost
from dfercli.models.networks.aen import (
    TopDown,
    emotion_intensity_loss,
    emotion_loss,
    find_sentiment,
    frame_loss,
    summary_loss,
)
from dfercli.models.networks.resnet import ResNet
from dfercli.training.loop import unite_stages
from dfercli.training.recipe import build_optimizer

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


@pytest.fixture
def build():
    """Build a small model that reads four frames of 32 pixels."""

    def make(class_names=SEVEN, size=32):
        torch.manual_seed(0)
        changes = {"num_frames": 4, "sampling": "2x2", "width": 0.125}
        return assemble(default_model("aen", image_size=size, **changes), class_names, None)

    return make


@pytest.fixture
def clips():
    """Return three clips."""
    return torch.randn(3, 4, 3, 32, 32)


def test_parameters_and_cost_are_those_of_the_released_code():
    cost = measure_cost(default_model("aen"), SEVEN)
    assert cost.total == 52_912_317
    assert cost.paper_macs == 7_376_651_888
    assert cost.true_macs == 7_380_544_624
    # The released code also runs what has no effect on the prediction: the convolutions of stage 2
    # and their transformer, the teacher, and the head of the sentiment.
    maps = 16 * 196 * (128 * 128 + 128 * 4)
    transformer = 17 * 3 * 784 * (4 * 512 + 2 * 1024)
    heads = 16 * 784 * 7 + 784 * 3
    assert cost.paper_macs + maps + transformer + heads == 7_593_502_368
    assert pytest.approx(7.594e9, rel=1e-4) == 7_593_502_368


def test_unused_parts_and_the_teacher_are_not_trained():
    cost = measure_cost(default_model("aen"), SEVEN)
    maps = 128 * 128 + 128 + 128 * 4 + 4
    unused = 9_665_088 + 2_117_888 + 3 * 615_440 + maps
    assert cost.total - cost.trainable == unused + (784 * 7 + 7)


def test_the_attention_weighs_the_values_of_the_lower_vector():
    attention = TopDown(1, 2)
    identity = torch.eye(2)
    parameters = {
        "query.weight": torch.tensor([[math.log(2)], [0.0]]),
        "output.weight": identity,
        "shortcut.weight": torch.tensor([[0.0], [5.0]]),
        **{f"{name}.bias": torch.zeros(2) for name in ("query", "output", "shortcut")},
    }
    attention.load_state_dict(parameters)
    # The query of 1 is (ln 2, 0). Products with (1, 3): (ln 2, 3 ln 2) and (0, 0), so the weights
    # are (2, 8) / 10 and (1, 1) / 2.
    joined = attention(torch.tensor([[1.0]]), torch.tensor([[1.0, 3.0]]))
    assert torch.allclose(joined, torch.tensor([[0.2 + 2.4, 2.0 + 5.0]]))


def test_frames_have_an_order(build, clips):
    model = build().eval()
    with torch.no_grad():
        assert not torch.allclose(model(clips.flip(1)), model(clips), atol=1e-4)


def test_evaluation_runs_neither_the_teacher_nor_unused_parts(build, clips):
    model = build().eval()
    superfluous = [model.teacher, model.sentiment_head, *model.backbone.unused]
    for module in superfluous:
        module.register_forward_hook(lambda *_: pytest.fail("a superfluous part ran"))
    assert model(clips).shape == (3, 7)


def test_the_logits_of_training_are_those_of_evaluation(build, clips):
    model = build().eval()
    assert torch.allclose(model.run(clips).logits, model(clips))


def test_the_first_stage_trains_the_teacher_and_what_it_reads(build, clips):
    model = build().train()
    model.set_stage(1)
    outputs, labels = model.run(clips), torch.tensor([0, 3, 6])
    ((loss, weight),) = model.auxiliary_losses()
    assert (loss, weight) == (frame_loss, 1.0)
    assert torch.allclose(outputs.logits, outputs.extras["frame_logits"].mean(dim=1))
    expected = F.cross_entropy(
        outputs.extras["frame_logits"].flatten(0, 1),
        labels.repeat(4, 1).T.flatten(),
        reduction="none",
    )
    assert torch.allclose(loss(outputs, labels), expected.unflatten(0, (3, 4)).mean(dim=1))
    loss(outputs, labels).mean().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert trained == {name for name, p in model.named_parameters() if p.requires_grad}
    parts = {".".join(name.split(".")[:3]) for name in trained if "trunk" in name}
    assert parts == {
        f"backbone.trunk.{part}" for part in ("conv1", "bn1", "layer1", "layer2", "layer3")
    }
    others = {".".join(name.split(".")[:2]) for name in trained if "trunk" not in name}
    assert others == {"backbone.high", "teacher.weight", "teacher.bias"}


def test_the_second_stage_trains_all_but_the_teacher_and_unused_parts(build):
    model = build()
    model.set_stage(1)
    model.set_stage(2)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {
        name
        for name, _ in model.named_parameters()
        if name.startswith(("teacher.", "backbone.unused."))
    }
    assert len(model.auxiliary_losses()) == 5
    assert [weight for _, weight in model.auxiliary_losses()] == [0.6, 1.4, 0.4, 0.7, 0.3]
    assert model.own_loss


def test_a_step_of_each_stage_changes_what_it_trains(build, clips):
    model, labels = build().train(), torch.arange(3)
    config = TrainConfig(optimizer="sgd", lr=1e-2, stage1_epochs=1)
    unite_stages(model)
    optimizer = build_optimizer(model, config)
    for stage in (1, 2):
        model.set_stage(stage)
        before = {name: p.clone() for name, p in model.named_parameters()}
        outputs = model.run(clips)
        sum(
            weight * loss(outputs, labels).mean() for loss, weight in model.auxiliary_losses()
        ).backward()
        optimizer.step()
        optimizer.zero_grad()
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


def test_classes_have_a_sentiment():
    assert [find_sentiment(name) for name in SEVEN] == [0, 2, 1, 2, 0, 2, 2]
    assert [find_sentiment(name) for name in ("Happy", "surprised", "contempt")] == [0, 0, 2]


def test_losses_of_sentiment_and_emotion_mix_two_heads(build):
    model = build()
    logits = torch.tensor([[0.1, 0.2, 0.1, 0.1, 0.3, 0.1, 0.1]]).log()
    extras = {
        "global_logits": logits,
        "emotion_logits": torch.tensor([[0.5, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05]]).log(),
        "sentiment_logits": torch.tensor([[0.25, 0.25, 0.5]]).log(),
    }
    outputs, happy = Outputs(logits, extras), torch.tensor([0])
    # Happiness and surprise together have 0.4 of the global probability.
    sentiment = -0.7 * math.log(0.25) - 0.3 * math.log(0.4)
    assert torch.allclose(model.sentiment_loss(outputs, happy), torch.tensor([sentiment]))
    emotion = -0.7 * math.log(0.5) - 0.3 * math.log(0.1)
    assert torch.allclose(emotion_loss(outputs, happy), torch.tensor([emotion]))


def test_summaries_weigh_frames_by_the_teacher():
    # Of two frames, the second has twice the weight for class 1.
    extras = {"frame_logits": torch.tensor([[[9.0, 0.0], [0.0, math.log(2)]]])}
    for level, value in enumerate((0.0, 1.0, 5.0)):
        extras[f"frames_{level}"] = torch.tensor([[[3.0, 0.0], [6.0, 0.0]]])  # mean: (5, 0)
        extras[f"clip_{level}"] = torch.full((1, 2), value)
    # Mean distances: (5 + 0) / 2, (4 + 1) / 2, (0 + 5) / 2.
    outputs = Outputs(torch.zeros(1, 2), extras)
    assert torch.allclose(summary_loss(outputs, torch.tensor([1])), torch.tensor([7.5]))


def test_intensities_are_the_mean_of_what_the_teacher_sees(build):
    model = build(("happiness", "neutral", "surprise", "fear"))
    seen = torch.tensor([[[0.4, 0.2, 0.2, 0.2], [0.2, 0.4, 0.2, 0.2]]])  # mean: 0.3, 0.3, 0.2, 0.2
    extras = {
        "frame_logits": seen.log(),
        "emotion_logits": torch.zeros(1, 4),  # sigmoid: 0.5
        "sentiment_logits": torch.zeros(1, 3),
    }
    outputs, labels = Outputs(torch.zeros(1, 4), extras), torch.tensor([0])
    assert torch.allclose(emotion_intensity_loss(outputs, labels), torch.tensor([0.25]))
    # Groups: 0.5, 0.3, 0.2.
    expected = torch.tensor([(0.0 + 0.2 + 0.3) / 3])
    assert torch.allclose(model.sentiment_intensity_loss(outputs, labels), expected)


def test_the_teacher_is_a_target(build, clips):
    extras = build().train().run(clips).extras
    assert [name for name, tensor in extras.items() if not tensor.requires_grad] == ["frame_logits"]


def test_weights_of_resnet18_fit_but_for_one_block():
    weights = ResNet().state_dict()
    config = default_model("aen", image_size=32, num_frames=2, sampling="1x2")
    trunk = assemble(config, SEVEN, weights).backbone.trunk.state_dict()
    assert weights.keys() - trunk.keys() == {n for n in weights if n.startswith("layer2.1.")}
    assert all(torch.equal(tensor, weights[name]) for name, tensor in trunk.items())


def test_sizes_are_multiples_of_16(build):
    with pytest.raises(ConfigError, match="image_size is 40; for --model aen it must be a multip"):
        build(size=40)
