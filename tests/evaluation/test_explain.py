"""Attention maps from gradients, and the collected outputs of a model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dfercli.data.loaders import build_dataset, build_test_loader
from dfercli.data.manifest import read_manifest
from dfercli.data.transforms import normalise
from dfercli.evaluation.explain import attention_maps, collect, roll_out
from dfercli.models.layers import attention, keep_attention

SETTINGS = [
    {},
    {"interfit": False, "msta": False, "biehpro": False},
    {"text": False, "biehpro": False},
    {"interfit": False},
]


def test_one_block_gives_the_class_tokens_row():
    relevance = torch.tensor([[[0.5, 0.1, 0.3], [9.0, 9, 9], [9, 9, 9]]])
    assert roll_out([relevance])[0].tolist() == pytest.approx([0.25, 0.75, 0.0])


def test_two_blocks_are_multiplied_through():
    first = torch.tensor([[[0.0, 1, 0], [0, 0, 2], [0, 0, 0]]])  # class <- a, a <- b
    second = torch.tensor([[[0.0, 3, 0], [0, 0, 0], [0, 0, 0]]])  # class <- a
    # (I + second)(I + first): class <- a is 1 + 3, class <- b is 3 * 2.
    assert roll_out([first, second])[0].tolist() == pytest.approx([0.4, 0.6, 0.0])


def test_what_reaches_an_interaction_token_stays_with_it():
    first = torch.tensor([[[0.0, 0, 0, 1], [0, 0, 0, 2], [0, 0, 0, 0]]])  # class, a <- token
    second = torch.tensor([[[0.0, 3, 0, 4], [0, 0, 0, 0], [0, 0, 0, 0]]])  # class <- a, token
    # a: 3. token: 1 of the first block, 3 * 2 through a, 4 of the second block's own.
    assert roll_out([first, second])[0].tolist() == pytest.approx([3 / 14, 0.0, 11 / 14])


def test_where_nothing_speaks_for_the_class_the_shares_are_equal():
    assert roll_out([torch.zeros(2, 5, 6)]).tolist() == [[0.25] * 4 + [0.0]] * 2


class _OneBlock(nn.Module):
    """Sums what the class token attends to; the value of a patch is the mean of its red channel."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.num_layers = 1
        self.position_layers = None
        self.sign = nn.Parameter(torch.tensor([1.0, -1.0]), requires_grad=False)

    def forward(self, clips):
        red = nn.functional.avg_pool2d(clips[:, :, 0].flatten(0, 1).unsqueeze(1), 16)
        values = red.flatten(1)[:, None, :, None]  # (B * T, 1, 4, 1), a patch a pixel
        values = nn.functional.pad(values, (0, 0, 1, 0))  # the class token's value is 0
        seen = attention(0 * values, 0 * values, values)  # to each patch alike
        return seen[:, 0, 0].unflatten(0, clips.shape[:2]).mean(dim=1) * self.sign


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_one_patch_that_matters_has_all_of_the_map(place):
    clips = torch.zeros(2, 3, 3, 32, 32)
    row, column = place
    clips[:, :, 0, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 1.0
    maps = attention_maps(_OneBlock(), clips, [0, 0])
    expected = np.zeros((2, 2))
    expected[place] = 1.0
    assert maps.patches.shape == (2, 3, 2, 2)
    assert (maps.patches == expected).all()
    assert (maps.interaction == 0).all()
    against = attention_maps(_OneBlock(), clips, [1, 1])  # it only speaks against this class
    assert (against.patches == 0.25).all()


class _OneLayer(nn.Module):
    """Lets every position read a single one, and sums a gated mean of what it has read."""

    def __init__(self, source):
        super().__init__()
        self.source = source
        self.position_layers = nn.Sequential(_ReadOne(source))

    def forward(self, clips):
        red = nn.functional.avg_pool2d(clips[:, :, 0].flatten(0, 1).unsqueeze(1), 16)
        tokens = red.flatten(2).transpose(1, 2)  # (B * T, 4, 1)
        means = self.position_layers(tokens).mean(dim=(1, 2))
        means = means.unflatten(0, clips.shape[:2]).mean(dim=1)
        return torch.stack([means, -means], dim=1)


class _ReadOne(nn.Module):
    def __init__(self, source):
        super().__init__()
        self.source = source

    def forward(self, tokens):
        keys = nn.functional.one_hot(torch.tensor(self.source), 4).float() * 100
        keys = keys[None, None, :, None].expand(len(tokens), 1, 4, 1)
        values = tokens.unsqueeze(1)
        return attention(1 + 0 * values, keys, values).squeeze(1)


def test_without_a_class_token_the_map_follows_the_attention():
    clips = torch.zeros(1, 2, 3, 32, 32)
    clips[:, :, 0, :16, 16:] = 1.0  # position 1 of 4
    maps = attention_maps(_OneLayer(1), clips, [0])
    # Each position's result is 1 and its gradient 1 / 8, of the mean over 4 positions and 2 frames.
    # Attention adds 4 * 1 / 8 * 1 / 8 to position 1: 1/8, 1/8 + 1/16, 1/8, 1/8, over their sum.
    expected = np.array([[2, 3], [2, 2]]) / 9
    assert maps.patches.shape == (1, 2, 2, 2)
    np.testing.assert_allclose(maps.patches[0, 0], expected, rtol=1e-4)
    assert (maps.interaction == 0).all()
    against = attention_maps(_OneLayer(1), clips, [1])
    assert (against.patches == 0.25).all()


@pytest.mark.parametrize("settings", SETTINGS)
def test_shares_of_a_frame_sum_to_one(settings, make_model, make_clips):
    model = make_model(**settings).eval()
    maps = attention_maps(model, make_clips(), [0, 1, 2])
    assert maps.patches.shape == (3, 8, 2, 2)
    assert maps.patches.min() >= 0
    sums = maps.patches.sum(axis=(2, 3)) + maps.interaction
    assert sums == pytest.approx(np.ones((3, 8)), abs=1e-5)
    assert bool(maps.interaction.max() > 0) is (model.interfit is not None)


def test_permuting_the_batch_permutes_the_maps(make_model, make_clips):
    model, clips, targets = make_model().eval(), make_clips(), torch.tensor([3, 0, 1])
    maps = attention_maps(model, clips, targets)
    order = torch.tensor([2, 0, 1])
    moved = attention_maps(model, clips[order], targets[order])
    assert moved.patches == pytest.approx(maps.patches[order.numpy()], abs=1e-5)
    assert moved.interaction == pytest.approx(maps.interaction[order.numpy()], abs=1e-5)


def test_maps_of_another_class_are_other_maps(make_model, make_clips):
    model, clips = make_model().eval(), make_clips()
    one, other = (attention_maps(model, clips, [target] * 3).patches for target in (0, 1))
    assert np.abs(one - other).max() > 1e-3


def test_maps_leave_no_gradient_and_need_none(make_model, make_clips):
    model = make_model().eval().requires_grad_(False)
    with torch.no_grad():
        maps = attention_maps(model, make_clips(), [0, 1, 2])
    assert np.ptp(maps.patches) > 0
    trained = make_model().eval()
    attention_maps(trained, make_clips(), [0, 1, 2])
    assert all(parameter.grad is None for parameter in trained.parameters())


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_model_whose_weights_are_kept_gives_the_same_logits(settings, make_model, make_clips):
    model, clips = make_model(**settings).eval(), make_clips()
    with torch.no_grad():
        expected = model(clips)
        with keep_attention() as kept:
            ours = model(clips)
    assert (ours - expected).abs().max() < 1e-4  # of logits up to 100
    width = 5 + (model.interfit is not None)
    assert [tuple(weights.shape) for weights in kept] == [(24, 2, 5, width)] * 2


@pytest.mark.parametrize("text", [True, False])
def test_what_is_collected_is_what_the_model_computes(text, make_run, make_config):
    from dfercli.models.base import build_model

    run = make_run(fold=2, model={} if text else {"text": False, "biehpro": False})
    manifest = read_manifest(Path(run.data.manifest))
    model = build_model(run.model, manifest.class_names).eval()
    dataset = build_dataset(manifest, "test", run, size=32)
    runs = []
    model.backbone.register_forward_hook(lambda *_: runs.append(1))
    loader = build_test_loader(dataset, 4, workers=0)
    found = collect(model, loader)
    assert len(runs) == len(loader) > 1  # once a batch, for features and logits
    clips = normalise(torch.stack([dataset[index][0] for index in range(len(dataset))]))
    with torch.no_grad():
        logits, features = model(clips), model.encode_video(clips)
    assert found.class_names == manifest.class_names
    assert list(found.clip_ids) == dataset.clip_ids
    assert found.labels.tolist() == dataset.labels
    assert found.probs == pytest.approx(logits.softmax(dim=-1).numpy(), abs=1e-5)
    assert found.features == pytest.approx(features.numpy(), abs=1e-5)
    assert (found.predicted == logits.argmax(dim=1).numpy()).all()
    if not text:
        assert found.similarities is None
        return
    assert np.abs(found.similarities).max() <= 1
    scaled = found.similarities * model.logit_scale.exp().item()
    assert scaled == pytest.approx(logits.numpy(), abs=1e-4)
