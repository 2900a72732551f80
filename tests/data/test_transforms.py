"""What happens to the pixels: one draw a clip, exact constants, and nothing random in tests."""

import numpy as np
import open_clip
import pytest
import torch

from dfercli.config import AugmentConfig
from dfercli.data.transforms import (
    CLIP_MEAN,
    CLIP_STD,
    build_test_transform,
    build_train_transform,
    normalise,
)

OFF = AugmentConfig(crop_scale=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, flip=0.0)
"""Strengths that leave the frame as it is."""


@pytest.fixture
def clip():
    """Eight frames of different soft noise, (8, 3, 48, 48) uint8."""
    small = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 255
    large = torch.nn.functional.interpolate(small, size=(48, 48), mode="bilinear")
    return large.to(torch.uint8)


def _draw(transform, clip, seed):
    torch.manual_seed(seed)
    return transform(clip)


@pytest.mark.parametrize("size", [16, 48, 64])
@pytest.mark.parametrize("shape", [(8, 3, 48, 48), (1, 3, 48, 48), (5, 3, 30, 60)])
def test_clips_keep_their_frames_and_type_and_get_the_size(shape, size):
    clip = torch.randint(0, 256, shape, dtype=torch.uint8)
    for transform in (build_train_transform(AugmentConfig(), size), build_test_transform(size)):
        changed = transform(clip)
        assert changed.shape == (shape[0], 3, size, size)
        assert changed.dtype == torch.uint8


@pytest.mark.parametrize("seed", range(20))
def test_all_frames_of_a_clip_are_changed_alike(clip, seed):
    same = clip[:1].expand(8, -1, -1, -1)
    changed = _draw(build_train_transform(AugmentConfig(), 32), same, seed)
    assert (changed == changed[:1]).all()
    assert (changed[0] != build_test_transform(32)(same)[0]).any()


def test_every_frame_keeps_its_own_picture(clip):
    changed = _draw(build_train_transform(AugmentConfig(), 32), clip, 0)
    assert all((changed[i] != changed[i - 1]).any() for i in range(8))


def test_draws_differ_from_clip_to_clip_and_repeat_with_the_seed(clip):
    transform = build_train_transform(AugmentConfig(), 32)
    assert (_draw(transform, clip, 1) == _draw(transform, clip, 1)).all()
    assert (_draw(transform, clip, 1) != _draw(transform, clip, 2)).any()


@pytest.mark.parametrize("size", [24, 48])
@pytest.mark.parametrize("seed", range(10))
def test_without_strength_only_the_size_changes(clip, size, seed):
    plain = build_test_transform(size)(clip)
    assert (_draw(build_train_transform(OFF, size), clip, seed) == plain).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_scale": 0.5},
        {"brightness": 0.4},
        {"contrast": 0.4},
        {"saturation": 0.4},
        {"hue": 0.1},
        {"flip": 1.0},
    ],
)
def test_every_strength_has_its_own_effect(clip, settings):
    strengths = vars(OFF) | settings
    changed = _draw(build_train_transform(AugmentConfig(**strengths), 48), clip, 0)
    assert (changed != clip).any()


def test_a_flip_is_sure_at_one_and_mirrors_left_and_right(clip):
    flipped = build_train_transform(AugmentConfig(**vars(OFF) | {"flip": 1.0}), 48)(clip)
    assert (flipped == clip.flip(dims=[3])).all()


def test_the_test_transform_has_nothing_random(clip):
    transform = build_test_transform(32)
    before = torch.get_rng_state()
    first = _draw(transform, clip, 1)
    torch.set_rng_state(before)
    assert (transform(clip) == first).all()
    assert (torch.get_rng_state() == before).all()


def test_shrinking_averages_instead_of_skipping():
    stripes = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 200
    shrunk = build_test_transform(16)(stripes)
    assert (shrunk[..., 1:-1] == 100).all()  # but for the edges each covers as much of both


def test_clips_constants_are_those_of_open_clip():
    assert tuple(open_clip.OPENAI_DATASET_MEAN) == CLIP_MEAN
    assert tuple(open_clip.OPENAI_DATASET_STD) == CLIP_STD


def test_normalising_is_the_formula_for_each_channel(clip):
    clips = torch.stack([clip, 255 - clip])
    normal = normalise(clips)
    assert normal.dtype == torch.float32
    assert normal.shape == clips.shape
    mean, std = np.array(CLIP_MEAN), np.array(CLIP_STD)
    pixels = np.moveaxis(clips.numpy().astype(np.float64), 2, -1)
    expected = np.moveaxis((pixels / 255 - mean) / std, -1, 2)
    np.testing.assert_allclose(normal.numpy(), expected, rtol=0, atol=1e-6)


def test_normalising_by_hand():
    # Channel 0: (51 / 255 - 0.48145466) / 0.26862954 = -0.28145466 / 0.26862954 = -1.0477428
    pixel = torch.tensor([51, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert normalise(pixel).flatten().tolist() == pytest.approx(
        [-1.0477428, (0.2 - 0.4578275) / 0.26130258, (1 - 0.40821073) / 0.27577711], abs=1e-6
    )
