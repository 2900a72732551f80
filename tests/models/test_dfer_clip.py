"""DFER-CLIP: its temporal model against plain arithmetic, its prompts, and its descriptions."""

import math

import pytest
import torch
from torch.nn import functional as F

from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.data.sources.mafw import CLASS_NAMES
from dfercli.models.dfer_clip import DESCRIPTORS, TemporalModel, describe_classes
from dfercli.models.pretrained import tokenize

WIDTH = 128


def _norm(row):
    return (row - row.mean()) / (row.var(unbiased=False) + 1e-5).sqrt()


def _gelu(x):
    """GELU by the approximation of their code."""
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def _reference(model, frames):
    """A pre-norm block over the class token and the frames (T, E) of one clip; two heads of 64."""
    rows = torch.cat([model.class_token[None], frames]) + model.positions
    normed = torch.stack([_norm(row) for row in rows])
    queries, keys, values = (normed @ model.attention.query_key_value.weight.T).split(WIDTH, dim=1)
    heads = []
    for head in (slice(0, 64), slice(64, 128)):
        scores = queries[0, head] @ keys[:, head].T / 8  # of the class token
        heads.append(scores.softmax(dim=0) @ values[:, head])
    output, (first, _, second) = model.attention.output, model.mlp
    token = rows[0] + output.weight @ torch.cat(heads) + output.bias
    hidden = _gelu(first.weight @ _norm(token) + first.bias)
    return token + second.weight @ hidden + second.bias


@torch.no_grad()
@pytest.mark.parametrize("num_frames", [1, 8, 16])
def test_the_temporal_model_by_hand(num_frames):
    torch.manual_seed(0)
    model = TemporalModel(WIDTH, num_frames)
    frames = torch.randn(3, num_frames, WIDTH)
    for ours, clip in zip(model(frames), frames, strict=True):
        assert torch.allclose(ours, _reference(model, clip), atol=1e-4)


def test_the_temporal_model_has_the_sizes_of_the_code():
    with torch.device("meta"):
        model = TemporalModel(512, num_frames=16)
    assert model.attention.num_heads == 8
    assert model.attention.query_key_value.weight.shape == (3 * 8 * 64, 512)
    assert model.mlp[0].out_features == 1024
    assert model.positions.shape == (17, 512)


@torch.no_grad()
def test_without_temporal_model_frames_are_averaged(make_model, make_clips):
    model, clips = make_model(method="dfer-clip-no-tm").eval(), make_clips()
    frames = model.backbone(clips)
    assert torch.allclose(model.encode_video(clips), frames.mean(dim=1), atol=1e-6)
    texts = model.prompts(model.contexts)
    expected = 100 * F.normalize(frames.mean(dim=1), dim=-1) @ texts.T  # a temperature of 0.01
    assert torch.allclose(model(clips), expected, atol=1e-3)


@torch.no_grad()
def test_each_class_has_contexts_of_its_own(make_model, make_clips):
    model, clips = make_model(method="dfer-clip").eval(), make_clips()
    assert model.contexts.shape == (5, 8, 32)
    assert model.settings["num_contexts"] == 8
    assert 0.017 < model.contexts.std() < 0.023
    before = model(clips)
    model.contexts[2] += torch.randn(8, 32)
    moved = (model(clips) - before).abs().amax(dim=0) > 1e-3
    assert moved.tolist() == [False, False, True, False, False]


def test_every_class_of_the_datasets_has_a_descriptor():
    assert {*BASIC_EXPRESSIONS, *CLASS_NAMES} == set(DESCRIPTORS)
    assert describe_classes(["Fear", "boredom"]) == [DESCRIPTORS["fear"], "boredom"]
    for name, descriptor in DESCRIPTORS.items():
        assert name not in descriptor


def test_descriptors_fit_clip_and_differ_from_their_first_word_on():
    tokens = tokenize("ViT-B-32-quickgelu", list(DESCRIPTORS.values()))
    assert int(tokens.argmax(dim=-1).max()) < 77 - 8 - 1
    assert len({tuple(row.tolist()) for row in tokens[:, 1:3]}) == len(DESCRIPTORS)


@torch.no_grad()
def test_the_template_holds_the_descriptor(make_model, tiny_name):
    plain = make_model(method="dfer-clip").prompts.words
    framed = make_model(method="dfer-clip", prompt_template="so {}").prompts.words
    assert not torch.equal(plain[:, 0], framed[:, 0])
    assert torch.allclose(plain[:, 0], framed[:, 1])
