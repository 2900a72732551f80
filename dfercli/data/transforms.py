"""Resizing and normalisation of frames, the same in training, tests and prediction."""

from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

from dfercli.config import PIXELS


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


def pixel_statistics(device: torch.device, pixels: str = "clip") -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of training pixels, (3, 1, 1) each.

    `pixels` is a name in `PIXELS`. The statistics are sent to a GPU only once, since each transfer
    would wait for the GPU's pending work.
    """
    make = _cached_statistics if device.type == "cuda" else _make_statistics
    return make(device, pixels)


def _make_statistics(device: torch.device, pixels: str) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor(PIXELS[pixels], device=device)[:, :, None, None]
    return mean, std


@cache
def _cached_statistics(device: torch.device, pixels: str) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # training may use them after inference asked first
        return _make_statistics(device, pixels)


def normalise(
    clips: Tensor,
    pixels: str = "clip",
    statistics: tuple[Tensor, Tensor] | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """Normalise pixels (..., 3, H, W) of any type from [0, 255], in float32.

    `pixels` names the statistics; `statistics` are the result of `pixel_statistics`, if available;
    `out` may be the clips themselves.
    """
    mean, std = statistics or pixel_statistics(clips.device, pixels)
    return torch.div(clips, 255, out=out).sub_(mean).div_(std)
