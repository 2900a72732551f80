"""Augmentation: each kind of change by itself, one draw per clip, independent of the batch."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as theirs

from dfercli.config import AugmentConfig
from dfercli.data.augment import (
    CROP_RATIO,
    Augmenter,
    Changes,
    change_batch,
    change_clips,
    colour_matrix,
    crop_bounds,
    draw_changes,
    plan_changes,
    rotate,
)
from dfercli.data.transforms import normalise, pixel_statistics

OFF = AugmentConfig(crop_scale=1.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, flip=0.0)
"""Strengths that leave the clip as it is."""
STRONG = AugmentConfig(
    crop_scale=0.3, brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5, flip=0.5, rotation=30.0
)
NUM_DRAWS = 400


@pytest.fixture
def clips():
    """Four clips of three frames of soft noise, (4, 3, 3, 45, 45) uint8: no round side."""
    small = torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 255
    large = torch.nn.functional.interpolate(small, size=(45, 45), mode="bilinear")
    return large.to(torch.uint8).view(4, 3, 3, 45, 45)


def _keys(view, indices):
    """Keys of training views, all of one number."""
    return torch.full_like(indices, view), indices


def _draws(config, count=NUM_DRAWS):
    return [draw_changes(config, np.random.default_rng(seed)) for seed in range(count)]


def _change(clips, **changes):
    """Return changed clips before normalisation, to about 1e-5 of a grey level."""
    mean, std = pixel_statistics(clips.device)
    return (_change_by_clip(clips, [Changes(**changes)] * len(clips)) * std + mean) * 255


def _change_by_clip(clips, draws):
    plan = plan_changes(draws, *clips.shape[-2:], clips.device)
    statistics = pixel_statistics(clips.device)
    return change_clips(clips, plan, torch.empty(3, *clips.shape[1:]), statistics)


def _assert_close(ours, expected, atol=1e-4):
    torch.testing.assert_close(ours, expected, rtol=0, atol=atol)


@pytest.mark.parametrize("shape", [(2, 8, 3, 32, 32), (1, 1, 3, 30, 30), (3, 5, 3, 16, 20)])
def test_shape_stays_and_the_type_is_the_model_s(shape):
    clips = torch.randint(0, 256, shape, dtype=torch.uint8)
    changed = Augmenter(AugmentConfig(), seed=0)(clips, *_keys(0, torch.arange(shape[0])))
    assert (changed.shape, changed.dtype) == (shape, torch.float32)
    ends = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert (changed >= normalise(ends)[0]).all()
    assert (changed <= normalise(ends)[1]).all()


@pytest.mark.parametrize("seed", range(5))
def test_without_strength_a_clip_is_as_in_tests(clips, seed):
    assert torch.equal(Augmenter(OFF, seed)(clips, *_keys(seed, torch.arange(4))), normalise(clips))


def test_a_flip_is_sure_at_one_and_mirrors_left_and_right(clips):
    flips = AugmentConfig(**vars(OFF) | {"flip": 1.0})
    mirrored = Augmenter(flips, 0)(clips, *_keys(0, torch.arange(4)))
    assert torch.equal(mirrored, normalise(clips.flip(-1)))


@pytest.mark.parametrize("angle", [4.0, -30.0, 90.0, 180.0])
@pytest.mark.parametrize("shape", [(45, 45), (32, 40)])
def test_a_rotation_is_that_of_torchvision(clips, angle, shape):
    clips = clips[..., : shape[0], : shape[1]] if shape[1] <= 45 else clips
    turned = rotate(clips, [angle, 0.0, -angle, 0.0])
    bilinear = theirs.InterpolationMode.BILINEAR
    for place, degrees in ((0, angle), (2, -angle)):
        expected = theirs.rotate(clips[place], degrees, interpolation=bilinear).int()
        assert (turned[place].int() - expected).abs().max() <= 1  # they round otherwise
    assert torch.equal(turned[1::2], clips[1::2])
    assert torch.equal(rotate(clips[2:3], [-angle])[0], turned[2])


def test_a_clip_is_rotated_as_a_whole_before_it_is_cropped(clips):
    config = AugmentConfig(**vars(OFF) | {"rotation": 20.0})
    draws = [draw_changes(config, np.random.default_rng([3, 5, index, 1])) for index in range(4)]
    angles = [drawn.angle for drawn in draws]
    assert 10 < max(map(abs, angles)) <= 20
    changed = Augmenter(config, 3)(clips, *_keys(5, torch.arange(4)))
    assert torch.equal(changed, normalise(rotate(clips, angles)))


@pytest.mark.parametrize("config", [AugmentConfig(), STRONG])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_clip_comes_out_the_same_whatever_batch_it_is_in(clips, config, threads):
    augmenter, before = Augmenter(config, 3), torch.get_num_threads()
    together = augmenter(clips, *_keys(5, torch.tensor([9, 2, 70, 0])))
    torch.set_num_threads(threads)
    try:
        for place, index in ((2, 70), (0, 9), (3, 0)):
            alone = augmenter(clips[place : place + 1], *_keys(5, torch.tensor([index])))
            assert torch.equal(alone[0], together[place])
        turned = augmenter(clips.flip(0), *_keys(5, torch.tensor([0, 70, 2, 9])))
        assert torch.equal(turned.flip(0), together)
    finally:
        torch.set_num_threads(before)


def test_one_augmenter_takes_batches_of_any_shape(clips):
    augmenter, small = Augmenter(AugmentConfig(), 0), clips[:, :2, :, :30, :30]
    first = augmenter(clips, *_keys(0, torch.arange(4)))
    kept = first.clone()
    assert augmenter(small, *_keys(0, torch.arange(4))).shape == small.shape
    assert torch.equal(augmenter(clips, *_keys(0, torch.arange(4))), kept)
    assert torch.equal(first, kept)  # what was given out is not written over


def _change_at_once(clips, draws):
    """Run what a GPU would run."""
    plan = plan_changes(draws, *clips.shape[-2:], clips.device)
    return change_batch(clips, plan, pixel_statistics(clips.device))


@pytest.mark.parametrize("config", [AugmentConfig(), STRONG, OFF])
def test_a_batch_at_once_equals_its_clips_one_by_one(clips, config):
    draws = _draws(config, len(clips))
    one_by_one = _change_by_clip(clips, draws)
    together = _change_at_once(clips, draws)
    assert torch.equal(together, one_by_one)
    for place in range(len(clips)):
        part = slice(place, place + 1)
        assert torch.equal(_change_at_once(clips[part], draws[part])[0], together[place])


def test_a_batch_at_once_takes_the_operations_of_one_clip(clips, count_ops):
    counts, statistics = [], pixel_statistics(clips.device)
    for batch in (1, 4):
        draws = _draws(AugmentConfig(), batch)
        plan = plan_changes(draws, *clips.shape[-2:], clips.device)
        with count_ops() as ops:
            change_batch(clips[:batch], plan, statistics)
        counts.append(ops.count)
    assert counts[0] == counts[1]
    # Measured: 49, most of them views. They become a few kernels where they are compiled.
    assert counts[0] <= 55


def test_changes_follow_from_seed_epoch_and_index_alone(clips):
    def change(seed, epoch, index):
        return Augmenter(AugmentConfig(), seed)(clips[:1], *_keys(epoch, torch.tensor([index])))

    first = change(0, 0, 2)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - what must not matter
    before = torch.get_rng_state()
    assert torch.equal(change(0, 0, 2), first)
    assert torch.equal(torch.get_rng_state(), before)
    for other in (change(1, 0, 2), change(0, 1, 2), change(0, 0, 3), change(0, 2, 0)):
        assert not torch.equal(other, first)


def test_all_frames_of_a_clip_are_changed_alike_and_keep_their_picture(clips):
    same = clips[:, :1].expand(-1, 3, -1, -1, -1)
    changed = Augmenter(STRONG, 0)(same, *_keys(0, torch.arange(4)))
    assert (changed == changed[:, :1]).all()
    assert (changed[1:] != changed[:-1]).flatten(1).any(dim=1).all()
    own = Augmenter(AugmentConfig(), 0)(clips, *_keys(0, torch.arange(4)))
    assert all((own[:, i] != own[:, i - 1]).any() for i in range(3))


def test_draws_keep_to_their_strengths_and_reach_them():
    config = AugmentConfig(
        crop_scale=0.8, brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1, flip=0.5
    )
    draws = _draws(config)
    for name in ("brightness", "contrast", "saturation"):
        strength = getattr(config, name)
        values = np.array([getattr(drawn, name) for drawn in draws])
        assert np.abs(values - 1).max() <= strength
        assert values.min() < 1 - 0.95 * strength
        assert values.max() > 1 + 0.95 * strength
    hues = np.array([drawn.hue for drawn in draws])
    assert -0.1 <= hues.min() < -0.095
    assert 0.095 < hues.max() <= 0.1
    # 200 of 400 expected, with a standard deviation of 10.
    assert abs(sum(drawn.flipped for drawn in draws) - 200) < 40


def test_each_strength_is_drawn_whatever_the_others_are():
    plain, strong = _draws(OFF, 20), _draws(AugmentConfig(**vars(OFF) | {"hue": 0.5}), 20)
    only = _draws(AugmentConfig(**vars(STRONG) | {"hue": 0.5}), 20)
    assert all(drawn == Changes(place=drawn.place) for drawn in plain)
    assert [drawn.hue for drawn in strong] == [drawn.hue for drawn in only]


@pytest.mark.parametrize("scale", [0.08, 0.8, 0.99])
def test_crops_keep_their_share_and_shape_and_reach_every_edge(scale):
    side = 200
    draws = _draws(AugmentConfig(crop_scale=scale))
    bounds = np.array([crop_bounds(drawn, side, side) for drawn in draws])
    heights, widths = bounds[:, 1] - bounds[:, 0], bounds[:, 3] - bounds[:, 2]
    assert bounds.min() == 0
    assert (bounds.min(axis=0)[[0, 2]] == 0).all()
    assert (bounds.max(axis=0)[[1, 3]] == side).all()
    areas, ratios = heights * widths / side**2, widths / heights
    assert scale - 0.02 < areas.min() < scale + 0.02
    assert 0.96 < areas.max() <= 1
    most = min(CROP_RATIO, 1 / scale)
    assert np.abs(np.log(ratios)).max() == pytest.approx(math.log(most), abs=0.04)
    assert abs(np.log(ratios).mean()) < 0.02  # neither tall nor wide


def test_a_crop_is_enlarged_to_the_whole_frame():
    ramp = torch.arange(40, dtype=torch.uint8).expand(1, 1, 3, 40, 40)
    changed = _change(ramp, area=0.25, place=(0.0, 0.999))
    # Half the width, at the right: new pixel i lies at 20 + (i + 0.5) / 2 - 0.5, within 20 to 39.
    expected = (20 + (torch.arange(40) + 0.5) / 2 - 0.5).clamp(20, 39)
    _assert_close(changed, expected.expand(1, 1, 3, 40, 40))
    below = _change(ramp.transpose(-1, -2), area=0.25, place=(0.999, 0.0), flipped=True)
    _assert_close(below, expected[:, None].expand(1, 1, 3, 40, 40))


def test_a_crop_is_torchvision_s(clips):
    drawn = Changes(area=0.5, ratio=1.05, place=(0.3, 0.6))
    top, bottom, left, right = crop_bounds(drawn, 45, 45)
    part = clips.float().flatten(0, 1)
    expected = theirs.resized_crop(part, top, left, bottom - top, right - left, [45, 45])
    _assert_close(_change(clips, **vars(drawn)).flatten(0, 1), expected, atol=0.01)


@pytest.mark.parametrize(
    ("name", "adjust"),
    [
        ("brightness", theirs.adjust_brightness),
        ("contrast", theirs.adjust_contrast),
        ("saturation", theirs.adjust_saturation),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
def test_colours_change_as_torchvision_s_do(clips, name, adjust, factor):
    single = clips[:, :1]
    expected = 255 * adjust(single.float() / 255, factor)
    # Their weight of red is 0.2989.
    _assert_close(_change(single, **{name: factor}), expected, atol=0.2)


def test_contrast_is_around_the_mean_grey_of_all_frames():
    # Greys 50 and 150: the mean is 100. Half the contrast: 75 and 125.
    clip = torch.tensor([50, 150], dtype=torch.uint8).view(1, 2, 1, 1, 1).expand(1, 2, 3, 8, 8)
    expected = torch.tensor([75.0, 125.0]).view(1, 2, 1, 1, 1).expand(1, 2, 3, 8, 8)
    _assert_close(_change(clip, contrast=0.5), expected)


def test_hue_turns_through_the_colours_and_keeps_grey_and_luma():
    luma = np.array([0.299, 0.587, 0.114])
    for hue in (-0.4, 0.1, 0.25):
        matrix = colour_matrix(Changes(hue=hue))[:, :3]
        np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-12)
        np.testing.assert_allclose(luma @ matrix, luma, atol=1e-12)
    quarter = colour_matrix(Changes(hue=0.25))[:, :3]
    np.testing.assert_allclose(np.linalg.matrix_power(quarter, 4), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(colour_matrix(Changes(hue=1.0))[:, :3], np.eye(3), atol=1e-12)
    # A third of a turn takes the most of red to another channel, the next third to the last.
    third = colour_matrix(Changes(hue=1 / 3))[:, :3]
    most = [int((np.linalg.matrix_power(third, n) @ [1, 0, 0]).argmax()) for n in range(4)]
    assert sorted(most[:3]) == [0, 1, 2]
    assert most[3] == 0


def test_the_range_of_pixels_is_kept(clips):
    changed = _change(clips, brightness=2.0, contrast=1.9)
    assert changed.min().item() == pytest.approx(0, abs=1e-4)
    assert changed.max().item() == pytest.approx(255, abs=1e-4)
