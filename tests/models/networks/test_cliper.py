"""CLIPER: its losses by hand, its prompts, and its two stages."""

import math

import pytest
import torch
from torch.nn import functional as F

from dfercli.config.presets import default_model
from dfercli.models.base import Outputs, build_model
from dfercli.models.flops import measure_cost
from dfercli.models.networks.cliper import CLIPER, fine_grained_loss, margin_loss

SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


def _build() -> CLIPER:
    torch.manual_seed(0)
    config = default_model("cliper", weights="random", backbone="demo-ViT-tiny")
    model = build_model(config, SEVEN[:3])
    assert isinstance(model, CLIPER)
    return model


def _outputs(logits):
    return Outputs(torch.zeros(len(logits), 2), {"prompt_logits": torch.tensor(logits)})


def test_counts_are_those_of_clip_and_the_prompts():
    cost = measure_cost(default_model("cliper"), SEVEN)
    vectors = 7 * 5 * 4 * 512
    assert vectors == 71_680
    assert cost.total == 149_620_737 + vectors  # CLIP ViT-B/16 and the prompts
    assert cost.trainable == 86_192_640  # the image tower, in stage 2
    texts = 35 * (12 * 12 * 512**2 * 10 + 2 * 12 * 10 * 10 * 512 + 512 * 512)
    frame = (cost.true_macs - texts) / 16
    assert frame / 1e9 == pytest.approx(17.56, rel=0.005)
    assert (cost.paper_macs, cost.true_macs) == (180_332_003_328, 294_279_495_680)


def test_the_margin_loss_takes_the_lowest_prompt_of_the_right_class_and_the_highest_of_others():
    outputs = _outputs([[[3.0, 1.0], [0.0, 2.0]]])
    expected = -math.log(math.exp(1) / (math.exp(1) + math.exp(2)))
    assert margin_loss(outputs, torch.tensor([0])).tolist() == pytest.approx([expected])
    expected = -math.log(math.exp(0) / (math.exp(0) + math.exp(3)))
    assert margin_loss(outputs, torch.tensor([1])).tolist() == pytest.approx([expected])


def test_the_fine_grained_loss_weighs_clips_by_the_use_of_their_best_prompt():
    logits = [[[3.0, 1.0], [0.0, 2.0]], [[4.0, 1.0], [0.0, 2.0]], [[1.0, 2.0], [0.0, 1.0]]]
    losses = fine_grained_loss(_outputs(logits), torch.tensor([0, 0, 0]))
    own = [
        math.log(1 + (math.exp(first) + math.exp(second)) / math.exp(best))
        for best, first, second in ((3, 0, 2), (4, 0, 2), (2, 0, 1))
    ]
    # The first two have the same best prompt: their weights are a half, that of the third is 1.
    expected = (own[0] / 2 + own[1] / 2 + own[2]) / 2
    assert losses.mean().item() == pytest.approx(expected)


def test_each_stage_trains_its_part():
    model = _build()
    model.set_stage(1)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == ["vectors"]
    model.set_stage(2)
    learnt = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learnt == {"backbone"}


def test_a_class_has_the_mean_logit_of_its_prompts():
    model = _build().eval()
    clips = torch.randn(2, 16, 3, 48, 48)
    with torch.no_grad():
        videos = model.encode_video(clips)
        by_prompt = model.classify_prompts(videos)
        assert by_prompt.shape == (2, 3, 5)
        torch.testing.assert_close(model(clips), by_prompt.mean(dim=2))
        contexts = torch.cat([model.beginning, model.vectors[1, 2]])  # of class 1, prompt 2
        text = model.prompts(contexts)[1]
        expected = 100 * F.cosine_similarity(videos, text, dim=-1)
        torch.testing.assert_close(by_prompt[:, 1, 2], expected, rtol=1e-4, atol=1e-3)
