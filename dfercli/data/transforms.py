"""Sampling, resizing and normalisation of frames, the same in training, tests and prediction."""

from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

from dfercli.config import CLIP_MEAN, CLIP_STD


def fit_frame(image_rgb: np.ndarray, size: int) -> np.ndarray:
    """Resize a (H, W, 3) uint8 frame to the (3, size, size) square that the model reads.

    Sides that shrink are averaged over all pixels that a new pixel covers; sides that grow are
    interpolated bilinearly. A frame of the right size is not changed.
    """
    height, width = image_rgb.shape[:2]
    for sides, interpolation in (
        ((min(width, size), min(height, size)), cv2.INTER_AREA),
        ((size, size), cv2.INTER_LINEAR),
    ):
        if image_rgb.shape[1::-1] != sides:
            image_rgb = cv2.resize(image_rgb, sides, interpolation=interpolation)
    return np.stack(cv2.split(image_rgb))


def pixel_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of CLIP's training pixels, (3, 1, 1) each.

    They are sent to a GPU only once, since each transfer would wait for the GPU's pending work.
    """
    return _cached_statistics(device) if device.type == "cuda" else _make_statistics(device)


def _make_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor([CLIP_MEAN, CLIP_STD], device=device)[:, :, None, None]
    return mean, std


@cache
def _cached_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # training may use them after inference asked first
        return _make_statistics(device)


def normalise(
    clips: Tensor, statistics: tuple[Tensor, Tensor] | None = None, out: Tensor | None = None
) -> Tensor:
    """Normalise pixels (..., 3, H, W) of any type from [0, 255] as CLIP was trained, in float32.

    `statistics` is the result of `pixel_statistics`, if available; `out` may be the clips
    themselves.
    """
    mean, std = statistics or pixel_statistics(clips.device)
    return torch.div(clips, 255, out=out).sub_(mean).div_(std)


MIDDLE = 0.5
"""Position in a segment of the frame that a single test view takes."""


def view_positions(num_views: int) -> list[float]:
    """Return the positions in [0, 1) in each segment of the frames of several test views.

    They are evenly spaced, so that the frames of all views together are as well, and begin with the
    middle, which is the single view (our choice).
    """
    return [(num_views + 2 * v) % (2 * num_views) / (2 * num_views) for v in range(num_views)]


def sample_test(num_available: int, num_frames: int, position: float = MIDDLE) -> np.ndarray:
    """Return the (T,) ascending indices of one frame from each of T equal segments of a video.

    `position` in [0, 1) decides which: by default the middle one.
    A video with fewer than T frames, at least one, gives all of them, then repeats the last one.

    Source: temporal segment networks (Wang et al., 2016), as the field does at test time; the
        padding follows DFER-CLIP (Zhao and Patras, 2023).
    """
    if num_available < num_frames:
        return np.minimum(np.arange(num_frames), num_available - 1)
    places = (np.arange(num_frames) + position) * num_available / num_frames
    return np.minimum(places.astype(np.int64), num_available - 1)


def sample_train(num_available: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """Return the (T,) ascending indices of a random frame from each of T equal segments.

    The result for a video with fewer than T frames is that of `sample_test`.
    """
    if num_available < num_frames:
        return sample_test(num_available, num_frames)
    offsets = np.arange(num_frames) + rng.random(num_frames)
    indices = (offsets * num_available / num_frames).astype(np.int64)
    return np.minimum(indices, num_available - 1)  # the last product may be rounded up
