"""Costs against arithmetic by hand and against the paper's "FLOPs(G)" column."""

from functools import cache

import open_clip
import pytest
import torch

from dfercli.config import METHODS, WITHOUT_CLIP, ModelConfig
from dfercli.errors import UnknownNameError
from dfercli.models.base import build_model
from dfercli.models.flops import measure_cost

OF_CLIP = [method for method in METHODS if method not in WITHOUT_CLIP]
CLASSES = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
OFF = {"interfit": False, "msta": False, "biehpro": False}

# ViT-B/32 on 8 frames at 224 px: 49 patches, 12 blocks, D = 768, E = 512.
PATCHES = 8 * 49 * 768 * (3 * 32 * 32)
MLPS = 8 * 12 * 50 * 2 * 768 * 3072
PROJECTION = 8 * 768 * 512
BASELINE = PATCHES + MLPS + PROJECTION
TOKEN = 8 * 12 * 768 * 768
LSTM = 8 * 12 * 2 * 4 * (768 + 768) * 768
REDUCE = 8 * 12 * 1536 * 768
INTERFIT = BASELINE + TOKEN + LSTM + REDUCE
MSTA = INTERFIT + 3 * 512 * 2 * 2 + 1024 * 512  # three FC over 2 positions, then FC_V
BLOCK = (7 + 7) * 2 * 512 * 2048


@cache
def _measure(config):
    return measure_cost(config, CLASSES)


@pytest.mark.parametrize(
    ("settings", "macs", "printed"),
    [
        (OFF, BASELINE, 23.58),
        ({**OFF, "interfit": True}, INTERFIT, 24.65),
        ({"biehpro": False}, MSTA, 24.65),
        ({"biehpro": False, "text": False}, MSTA + 512 * 7, 24.65),
        ({}, MSTA + 2 * BLOCK, 24.71),
        ({"num_blocks": 1}, MSTA + BLOCK, 24.68),
        ({"num_blocks": 2}, MSTA + 2 * BLOCK, 24.71),
        ({"num_blocks": 3}, MSTA + 3 * BLOCK, 24.74),
        ({"num_blocks": 4}, MSTA + 4 * BLOCK, 24.77),
        ({"num_blocks": 5}, MSTA + 5 * BLOCK, 24.80),
    ],
)
def test_the_papers_column_at_both_decimals(settings, macs, printed):
    cost = _measure(ModelConfig(**settings))
    assert cost.paper_macs == macs
    assert f"{cost.paper_macs / 1e9:.2f}" == f"{printed:.2f}"


@pytest.mark.parametrize(
    ("settings", "printed"),
    [({"biehpro": False}, 24.65), ({"biehpro": False, "text": False}, 24.65)],
)
def test_over_channels_two_cells_would_not_be_the_papers(settings, printed):
    cost = _measure(ModelConfig(msta_fc="channels", **settings))
    head = 0 if settings.get("text", True) else 512 * 7
    assert cost.paper_macs == INTERFIT + 3 * 2 * 512 * 512 + 1024 * 512 + head  # 24.6552 G
    assert f"{cost.paper_macs / 1e9:.2f}" != f"{printed:.2f}"


def _weights_of_bi_lstm(hidden, layers):
    with torch.device("meta"):
        lstm = torch.nn.LSTM(768, hidden, layers, bidirectional=True)
    return sum(w.numel() for name, w in lstm.named_parameters() if "weight" in name)


def test_the_flops_leave_two_bi_lstms_open():
    # docs/method.md says so: three layers of D/2 each way, and no linear layer after them.
    assert TOKEN + LSTM + REDUCE == 8 * 12 * 19 * 768**2
    assert 768**2 + _weights_of_bi_lstm(384, 3) == 19 * 768**2
    assert 768**2 + _weights_of_bi_lstm(384, 1) == 7 * 768**2  # 24.03 G: not the paper's 24.65


ATTENTION = 8 * 12 * 50 * 4 * 768 * 768 + 8 * 12 * 2 * 50 * 50 * 768
"""Of the backbone's blocks: input and output projections, then QK and AV."""


def test_true_cost_of_the_baseline_has_the_attention_too():
    cost = _measure(ModelConfig(**OFF))
    assert cost.true_macs == BASELINE + ATTENTION
    assert f"{cost.true_macs / 1e9:.1f}" == "35.3"


def test_true_cost_of_interfit_has_its_own_attention_and_the_token_in_clips():
    cost = _measure(ModelConfig(interfit=True, msta=False, biehpro=False))
    between_frames = 12 * (8 * 4 * 768 * 768 + 2 * 8 * 8 * 768)
    one_more_key = 8 * 12 * (2 * 768 * 768 + 2 * 50 * 768)
    assert cost.true_macs == INTERFIT + ATTENTION + between_frames + one_more_key


@pytest.mark.parametrize("cross_attention", ["paired", "all"])
def test_true_cost_of_prompts_has_their_cross_attention(cross_attention):
    def true_macs(**settings):
        config = ModelConfig(interfit=False, msta=False, num_blocks=1, **settings)
        return _measure(config).true_macs

    projections = 14 * 2 * 512 * 512
    if cross_attention == "all":  # queries and keys, then QK and AV over 7 rows
        projections = 14 * 4 * 512 * 512 + 2 * 2 * 7 * 7 * 512
    prompts = true_macs(cross_attention=cross_attention) - true_macs(biehpro=False)
    assert prompts == BLOCK + projections


def test_parameters_of_the_baseline_are_clips():
    cost = _measure(ModelConfig(**OFF))
    assert cost.trainable == 87_849_216 + 1  # the visual tower of ViT-B/32 and the temperature
    assert cost.total == 151_277_313  # all of CLIP ViT-B/32
    without_text = _measure(ModelConfig(**OFF, text=False))
    assert without_text.trainable == without_text.total == 87_849_216 + 7 * 513


@pytest.mark.parametrize("method", OF_CLIP)
def test_parameters_are_those_of_the_model_that_is_built(method, make_config, tiny_name):
    config = make_config(method=method)
    model, clip = build_model(config, CLASSES), open_clip.create_model(tiny_name)
    cost = _measure(config)
    assert cost.trainable == sum(p.numel() for p in model.parameters() if p.requires_grad)
    clips = {"backbone", "prompts", "logit_scale"}  # of its parameters, the others are new
    new = [p for name, p in model.named_parameters() if name.partition(".")[0] not in clips]
    assert cost.total == sum(p.numel() for p in [*clip.parameters(), *new])


CLIP = 151_277_313
"""Parameters of CLIP ViT-B/32; 87,849,216 of them are the visual tower's."""

# Class token, 9 positions, two norms, attention (no bias but the output's), MLP of 1024; E = 512.
ATTEND = 3 * 512 * 512 + 512 * 513
TEMPORAL = 512 + 9 * 512 + 2 * 1024 + ATTEND + 1024 * 513 + 512 * 1025


@pytest.mark.parametrize(
    ("method", "trainable", "by_hand"),
    [
        ("zero-shot", 0, 0),
        ("coop", 8_192, 16 * 512),
        # 4 contexts, and the Meta-Net 512 -> 32 -> 512: 34,816 without its biases, as they count.
        ("cocoop", 35_360, 34_816 + 32 + 512),
        ("dfer-clip-no-tm", 87_877_888, 87_849_216 + 7 * 8 * 512),
        ("dfer-clip", 89_984_256, 87_849_216 + 7 * 8 * 512 + TEMPORAL),
    ],
)
def test_parameters_of_the_methods_that_ours_is_compared_with(method, trainable, by_hand):
    cost = _measure(ModelConfig(method=method))
    assert cost.trainable == trainable == by_hand
    new = trainable - 87_849_216 * method.startswith("dfer-clip")
    assert cost.total == CLIP + new


def test_costs_of_the_methods_that_ours_is_compared_with():
    costs = {method: _measure(ModelConfig(method=method)) for method in OF_CLIP}
    meta_net = 2 * 512 * 32
    temporal_mlp = 9 * 2 * 512 * 1024
    by_hand = {"cocoop": meta_net, "dfer-clip": temporal_mlp}
    for method in OF_CLIP[1:]:
        assert costs[method].paper_macs == BASELINE + by_hand.get(method, 0)
    assert costs["zero-shot"].true_macs == BASELINE + ATTENTION
    # The text tower, 12 blocks of width 512, over 7 prompts of 20 tokens (16 contexts, a name of
    # two, two ends) or of 8: its four products of 512 and of 2048, QK and AV, the projection.
    for method, length in (("coop", 20), ("cocoop", 8)):
        tokens = 7 * length
        blocks = 12 * (tokens * 12 * 512 * 512 + tokens * 2 * length * 512)
        text = blocks + 7 * 512 * 512
        visual = costs[method].paper_macs + ATTENTION
        assert costs[method].true_macs == visual + text
    attend = 9 * 4 * 512 * 512 + 2 * 9 * 9 * 512
    joined = costs["dfer-clip"].true_macs - costs["dfer-clip-no-tm"].true_macs
    assert joined == temporal_mlp + attend


def test_twice_the_frames_cost_twice_in_the_backbone():
    cost = _measure(ModelConfig(**OFF, num_frames=16))
    assert cost.paper_macs == 2 * BASELINE


def test_nothing_random_is_drawn():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    measure_cost(ModelConfig(), CLASSES)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_unknown_backbone_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"no backbone 'ViT-B-33'; known: .*ViT-B-32"):
        _measure(ModelConfig(backbone="ViT-B-33"))
