"""Resizing and normalisation: one size, exact constants, and nothing random."""

import numpy as np
import open_clip
import pytest
import torch
from torchvision.transforms.v2 import functional as theirs

from dfercli.config import CLIP_MEAN, CLIP_STD
from dfercli.data.transforms import fit_frame, normalise


@pytest.fixture
def image():
    """A picture of soft noise, (48, 48, 3) uint8."""
    small = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0)) * 255
    large = torch.nn.functional.interpolate(small, size=(48, 48), mode="bilinear")
    return large[0].permute(1, 2, 0).to(torch.uint8).numpy()


@pytest.mark.parametrize("size", [16, 48, 64])
@pytest.mark.parametrize("shape", [(48, 48, 3), (30, 60, 3), (1, 1, 3), (16, 90, 3)])
def test_frames_get_the_size_and_keep_their_type(shape, size):
    frame = fit_frame(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), size)
    assert (frame.shape, frame.dtype) == ((3, size, size), np.uint8)


def test_a_frame_of_the_right_size_stays_as_it_is(image):
    assert (fit_frame(image, 48) == image.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("shape", [(64, 64, 3), (64, 16, 3), (64, 8, 3)])
def test_shrinking_averages_instead_of_skipping(shape):
    """Also along one side only, whatever happens along the other."""
    stripes = np.zeros(shape, dtype=np.uint8)
    stripes[::2] = 200
    assert (fit_frame(stripes, 16) == 100).all()
    assert (fit_frame(stripes.transpose(1, 0, 2), 16) == 100).all()


def test_shrinking_averages_all_that_a_pixel_covers():
    image = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    means = image.reshape(20, 3, 20, 3, 3).mean(axis=(1, 3)).transpose(2, 0, 1)
    assert np.abs(fit_frame(image, 20) - means).max() <= 0.5


@pytest.mark.parametrize("size", [20, 40, 64, 100])
def test_resizing_is_close_to_torchvision_s_with_antialias(image, size):
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    expected = theirs.resize(pixels, [size, size], antialias=True).numpy()
    apart = np.abs(fit_frame(image, size).astype(int) - expected.astype(int))
    # Their filter is a triangle where ours is a box: smooth pictures hardly differ.
    assert apart.mean() < (1 if size >= 48 else 3)


def test_clips_constants_are_those_of_open_clip():
    assert tuple(open_clip.OPENAI_DATASET_MEAN) == CLIP_MEAN
    assert tuple(open_clip.OPENAI_DATASET_STD) == CLIP_STD


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_normalising_is_the_formula_for_each_channel(kind):
    clips = torch.randint(0, 256, (2, 8, 3, 12, 12), dtype=torch.uint8).to(kind)
    given = clips.clone()
    normal = normalise(clips)
    assert torch.equal(clips, given)
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
