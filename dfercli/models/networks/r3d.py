"""The 3D ResNet18 of Hara et al. (2018), row "3D ResNet18" of Table 1 and backbone of EC-STFL.

Not torchvision's `r3d_18`, which has no max-pooling and costs five times as much.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.models.networks.base import (
    VideoNetwork,
    Weights,
    initialise_convolutions,
    scale_width,
)

Layer = Callable[[int, int, int], nn.Module]
"""Makes a layer from the channels that it reads and writes, and its stride in all three axes."""


class ResNet3d(nn.Module):
    """Stem, max-pooling, and four stages of two residual blocks; then the mean over all positions.

    Source: Hara et al., 2018. The published 8.32 G fit its shortcut of type A, without weights.

    Args:
        width: Factor of the channels, 64 in the stem.
        shortcut: Makes the shortcut of a block that changes the shape: `PaddedShortcut` (type A)
            or `projected_shortcut` (type B).
    """

    def __init__(self, width: float = 1.0, shortcut: Layer | None = None) -> None:
        super().__init__()
        channels = scale_width(64, width)
        self.stem = nn.Sequential(
            nn.Conv3d(3, channels, 7, stride=(1, 2, 2), padding=3, bias=False),
            nn.BatchNorm3d(channels),
            nn.ReLU(),
            nn.MaxPool3d(3, stride=2, padding=1),
        )
        self.stages = residual_stages(channels, cubic_convolution, shortcut or PaddedShortcut)
        self.features = 8 * channels
        initialise_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, 3, H, W) to (B, F)."""
        maps: Tensor = self.stages(self.stem(clips.transpose(1, 2)))
        return maps.mean(dim=(2, 3, 4))


def residual_stages(channels: int, convolution: Layer, shortcut: Layer) -> nn.Sequential:
    """Return four stages of two blocks; from the second on, each doubles channels and stride."""
    stages = [ResidualBlock(channels, channels, 1, convolution, shortcut)]
    stages.append(ResidualBlock(channels, channels, 1, convolution, shortcut))
    for _ in range(3):
        stages.append(ResidualBlock(channels, 2 * channels, 2, convolution, shortcut))
        channels *= 2
        stages.append(ResidualBlock(channels, channels, 1, convolution, shortcut))
    return nn.Sequential(*stages)


class ResidualBlock(nn.Module):
    """Two convolutions with batch normalisation, added to a shortcut around them."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, convolution: Layer, shortcut: Layer
    ) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            convolution(inputs, outputs, stride),
            nn.BatchNorm3d(outputs),
            nn.ReLU(),
            convolution(outputs, outputs, 1),
            nn.BatchNorm3d(outputs),
        )
        changes = inputs != outputs or stride != 1
        self.shortcut = shortcut(inputs, outputs, stride) if changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, inputs, T, H, W) to (B, outputs, T', H', W')."""
        return F.relu(self.layers(maps) + self.shortcut(maps))


def cubic_convolution(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return a convolution of 3x3x3 without bias."""
    return nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


class PaddedShortcut(nn.Module):
    """Keeps each `stride`-th position in every axis and appends channels of zeros (type A)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra = outputs - inputs

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, inputs, T, H, W) to (B, outputs, T', H', W')."""
        step = self.stride
        return F.pad(maps[:, :, ::step, ::step, ::step], (0, 0, 0, 0, 0, 0, 0, self.extra))


def projected_shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return a convolution of 1x1x1 with batch normalisation (type B)."""
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm3d(outputs)
    )


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> VideoNetwork:
    """Build the model for K classes; it has no initial weights."""
    return VideoNetwork(ResNet3d(config.width), config, class_names)
