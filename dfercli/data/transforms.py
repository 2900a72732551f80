"""What happens to the pixels of every clip, in training, in tests and in prediction alike."""

from functools import cache

import cv2
import numpy as np
import torch
from torch import Tensor

from dfercli.config import CLIP_MEAN, CLIP_STD


def fit_frame(image_rgb: np.ndarray, size: int) -> np.ndarray:
    """Resize a frame to the square that the model reads, and nothing else.

    Shrinking averages over all pixels that a new one covers; enlarging is bilinear. A frame of the
    right size stays as it is.

    Args:
        image_rgb: (H, W, 3) uint8.
        size: Side of the square, in pixels.

    Returns:
        (3, size, size) uint8.
    """
    height, width = image_rgb.shape[:2]
    for sides, way in (
        ((min(width, size), min(height, size)), cv2.INTER_AREA),
        ((size, size), cv2.INTER_LINEAR),
    ):
        if image_rgb.shape[1::-1] != sides:
            image_rgb = cv2.resize(image_rgb, sides, interpolation=way)
    return np.stack(cv2.split(image_rgb))


def pixel_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the pixels that CLIP was trained on, (3, 1, 1) each.

    They are sent to a GPU once: each transfer would wait for all that the GPU has to do.
    """
    return _send_once(device) if device.type == "cuda" else _make_statistics(device)


def _make_statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, std = torch.tensor([CLIP_MEAN, CLIP_STD], device=device)[:, :, None, None]
    return mean, std


@cache
def _send_once(device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # whoever asks first, training may use them too
        return _make_statistics(device)


def normalise(
    clips: Tensor, statistics: tuple[Tensor, Tensor] | None = None, out: Tensor | None = None
) -> Tensor:
    """Bring pixels (..., 3, H, W) in [0, 255] to the range that CLIP was trained on, as float32.

    Args:
        clips: Of any type.
        statistics: Of `pixel_statistics`, where they are at hand on the clips' device.
        out: Where to write; the clips themselves where they may be lost.
    """
    mean, std = statistics or pixel_statistics(clips.device)
    return torch.div(clips, 255, out=out).sub_(mean).div_(std)
