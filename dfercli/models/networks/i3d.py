"""I3D (Carreira and Zisserman, 2017), RGB stream: Inception-v1 inflated to three dimensions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.models.networks.base import (
    VideoNetwork,
    Weights,
    initialise_convolutions,
    scale_width,
)

MODULES: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)
"""Channels of the inception modules between two poolings: of 1x1x1; of the reduction to and of the
first 3x3x3; of the same of the second; of 1x1x1 after the pooling. Source: Szegedy et al., 2015."""

DROPOUT = 0.5
"""Before the classifier, as in public code."""


class I3d(nn.Module):
    """Stem and nine inception modules; then the mean over all positions, and dropout.

    The original averages the logits over time, which the mean of the embeddings equals, and its
    pooling before that over 2 x 7 x 7 fits frames of 224 pixels only. Clips of 16 frames end in two
    steps, for which both are the same.

    Args:
        width: Factor of all layer widths.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        first, second = scale_width(64, width), scale_width(192, width)
        layers: list[Unit | Pooling | Inception] = [
            Unit(3, first, 7, stride=2),
            Pooling((1, 3, 3), (1, 2, 2)),
            Unit(first, first, 1),
            Unit(first, second, 3),
            Pooling((1, 3, 3), (1, 2, 2)),
        ]
        channels = second
        for stage, modules in enumerate(MODULES):
            if stage > 0:
                side = 3 if stage == 1 else 2
                layers.append(Pooling((side, side, side), (2, 2, 2)))
            for widths in modules:
                module = Inception(channels, [scale_width(outputs, width) for outputs in widths])
                layers.append(module)
                channels = module.channels
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(DROPOUT)
        self.features = channels
        initialise_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, 3, H, W) to (B, F)."""
        maps = self.layers(clips.transpose(1, 2))
        videos: Tensor = self.dropout(maps.mean(dim=(2, 3, 4)))
        return videos


class Unit(nn.Module):
    """A convolution without bias, batch normalisation and ReLU; maps shrink by the stride only."""

    def __init__(self, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        super().__init__()
        padding = side // 2 if stride == 1 else 0
        self.convolution = nn.Conv3d(inputs, outputs, side, stride, padding, bias=False)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, inputs, T, H, W) to (B, outputs, T', H', W')."""
        if self.convolution.stride != (1, 1, 1):
            maps = pad_same(maps, self.convolution.kernel_size, self.convolution.stride)
        return F.relu(self.norm(self.convolution(maps)))


class Pooling(nn.Module):
    """Max-pooling; maps shrink by the stride only."""

    def __init__(self, sides: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.sides, self.strides = tuple(sides), tuple(strides)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, T, H, W), not negative, to (B, C, T', H', W')."""
        return F.max_pool3d(pad_same(maps, self.sides, self.strides), self.sides, self.strides)


class Inception(nn.Module):
    """Four branches side by side: 1x1x1, two of 3x3x3 with reduced input, and pooling."""

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        alone, reduced, wide, reduced_again, narrow, pooled = widths
        self.branches = nn.ModuleList(
            [
                Unit(inputs, alone, 1),
                nn.Sequential(Unit(inputs, reduced, 1), Unit(reduced, wide, 3)),
                nn.Sequential(Unit(inputs, reduced_again, 1), Unit(reduced_again, narrow, 3)),
                nn.Sequential(Pooling((3, 3, 3), (1, 1, 1)), Unit(inputs, pooled, 1)),
            ]
        )
        self.channels = alone + wide + narrow + pooled

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, inputs, T, H, W) to (B, channels, T, H, W)."""
        return torch.cat([branch(maps) for branch in self.branches], dim=1)


def pad_same(maps: Tensor, sides: Sequence[int], strides: Sequence[int]) -> Tensor:
    """Pad maps with zeros as TensorFlow does, so that an axis of n ends as ceil(n / stride).

    An odd number of zeros has one more at the end.
    """
    margins: list[int] = []
    for size, side, stride in zip(maps.shape[2:], sides, strides, strict=True):
        outputs = -(-size // stride)
        zeros = max((outputs - 1) * stride + side - size, 0)
        margins = [zeros // 2, zeros - zeros // 2, *margins]  # `pad` begins with the last axis
    return F.pad(maps, margins)


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> VideoNetwork:
    """Build the model for K classes; it has no initial weights."""
    return VideoNetwork(I3d(config.width), config, class_names)
