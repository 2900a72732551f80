"""What happens to a clip's pixels. One draw a clip: all its frames are changed alike."""

import torch
from torch import Tensor
from torchvision.transforms import v2

from dfercli.config import CLIP_MEAN, CLIP_STD, AugmentConfig

CROP_RATIO = (0.9, 1.1)
"""Width over height of a random crop (our choice: more would change the face's proportions)."""


def build_train_transform(config: AugmentConfig, size: int) -> v2.Transform:
    """Random crop, colour jitter and flip (section 4.1) for (T, 3, H, W) uint8 clips.

    Args:
        config: The strengths.
        size: Side of the frames that come out, in pixels.
    """
    return v2.Compose(
        [
            v2.RandomResizedCrop(size, (config.crop_scale, 1.0), CROP_RATIO, antialias=True),
            v2.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue),
            v2.RandomHorizontalFlip(config.flip),
        ]
    )


def build_test_transform(size: int) -> v2.Transform:
    """Resize (T, 3, H, W) uint8 clips to squares, and nothing else."""
    return v2.Resize((size, size), antialias=True)


def normalise(clips: Tensor) -> Tensor:
    """Bring uint8 pixels (..., 3, H, W) to the range that CLIP was trained on, as float32."""
    mean = torch.tensor(CLIP_MEAN, device=clips.device).view(3, 1, 1)
    std = torch.tensor(CLIP_STD, device=clips.device).view(3, 1, 1)
    return (clips.float() / 255 - mean) / std
