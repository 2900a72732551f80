"""R(2+1)D-18 (Tran et al., 2018): a 3D ResNet18 whose convolutions are factorised.

Not torchvision's `r2plus1d_18`, whose intermediate channels are fewer: 45 in the stem, and one
number per block.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from dfercli.config import ModelConfig
from dfercli.models.networks.base import (
    VideoNetwork,
    Weights,
    initialise_convolutions,
    scale_width,
)
from dfercli.models.networks.r3d import projected_shortcut, residual_stages


class R2Plus1d(nn.Module):
    """Stem and four stages of two residual blocks; then the mean over all positions.

    Source: Tran et al., 2018. The published 42.36 G and 33 M fit intermediate channels computed for
    every convolution, with 83 in the stem, and projected shortcuts.

    Args:
        width: Factor of the channels, 64 in the stem.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = scale_width(64, width)
        self.stem = nn.Sequential(
            factorised_convolution(3, channels, spatial_stride=2, side=7),
            nn.BatchNorm3d(channels),
            nn.ReLU(),
        )
        self.stages = residual_stages(channels, factorised_block_convolution, projected_shortcut)
        self.features = 8 * channels
        initialise_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, 3, H, W) to (B, F)."""
        maps: Tensor = self.stages(self.stem(clips.transpose(1, 2)))
        return maps.mean(dim=(2, 3, 4))


def factorised_convolution(
    inputs: int, outputs: int, spatial_stride: int = 1, temporal_stride: int = 1, side: int = 3
) -> nn.Sequential:
    """Return a convolution over space, then one over three frames, without biases.

    The channels between them give both together as many weights as the convolution of 3 x side x
    side that they replace.
    """
    per_frame = side * side
    between = 3 * per_frame * inputs * outputs // (per_frame * inputs + 3 * outputs)
    return nn.Sequential(
        nn.Conv3d(
            inputs,
            between,
            (1, side, side),
            stride=(1, spatial_stride, spatial_stride),
            padding=(0, side // 2, side // 2),
            bias=False,
        ),
        nn.BatchNorm3d(between),
        nn.ReLU(),
        nn.Conv3d(
            between,
            outputs,
            (3, 1, 1),
            stride=(temporal_stride, 1, 1),
            padding=(1, 0, 0),
            bias=False,
        ),
    )


def factorised_block_convolution(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return the convolution of a residual block, with the same stride in all three axes."""
    return factorised_convolution(inputs, outputs, stride, stride)


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> VideoNetwork:
    """Build the model for K classes; it has no initial weights."""
    return VideoNetwork(R2Plus1d(config.width), config, class_names)
