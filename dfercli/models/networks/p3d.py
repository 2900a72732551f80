"""P3D-63 (Qiu et al., 2017): a ResNet whose 3x3x3 convolutions are split into space and time."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.errors import require_at_least
from dfercli.models.networks.base import (
    VideoNetwork,
    Weights,
    initialise_convolutions,
    scale_width,
)

BLOCKS = (3, 4, 6, 3)
"""Blocks of the four stages, as in the baseline of the DFEW paper; the paper's own P3D-199 has
(3, 8, 36, 3)."""

EXPANSION = 4
"""Channels that a block writes, by those of its convolutions over space and time."""

DROPOUT = 0.5
"""Before the classifier (our choice)."""


class P3d(nn.Module):
    """Stem, three stages of P3D blocks, one of flat blocks; then the mean, and dropout.

    The blocks of the first three stages are of types A, B and C in turn. Time is halved after the
    stem and after each of these stages, so that 16 frames are one step in the last. The mean over
    all positions fits every size of frames; the average over 5 x 5 in public code fits 160 pixels.

    Args:
        width: Factor of the channels, 64 in the stem.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        channels = scale_width(64, width)
        layers: list[nn.Module] = [
            make_unit(3, channels, side=7, stride=2),
            nn.ReLU(),
            nn.MaxPool3d((2, 3, 3), stride=2, padding=(0, 1, 1)),
        ]
        inputs, number = channels, 0
        for stage, blocks in enumerate(BLOCKS):
            for index in range(blocks):
                kind = "flat" if stage == len(BLOCKS) - 1 else "ABC"[number % 3]
                stride = 2 if stage > 0 and index == 0 else 1
                layers.append(Bottleneck(inputs, channels, stride, kind))
                inputs, number = EXPANSION * channels, number + 1
            if stage < len(BLOCKS) - 1:
                layers.append(nn.MaxPool3d((2, 1, 1), ceil_mode=True))  # keeps a single step
                channels *= 2
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(DROPOUT)
        self.features = inputs
        initialise_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, 3, H, W) to (B, F)."""
        maps = self.layers(clips.transpose(1, 2))
        videos: Tensor = self.dropout(maps.mean(dim=(2, 3, 4)))
        return videos


class Bottleneck(nn.Module):
    """Reduces the channels, mixes space and time, restores the channels; with a shortcut around.

    Args:
        inputs: Channels that it reads.
        channels: Channels in between; it writes four times as many.
        stride: Stride over space.
        kind: How the convolutions over space S and over time U are combined: "A" is U(S(x)), "B"
            S(x) + U(x), "C" S(x) + U(S(x)), and "flat" S(x).
    """

    def __init__(self, inputs: int, channels: int, stride: int, kind: str) -> None:
        super().__init__()
        outputs = EXPANSION * channels
        self.kind = kind
        self.reduce = make_unit(inputs, channels, stride=stride)
        self.space = make_unit(channels, channels, side=3)
        if kind != "flat":
            self.time = make_unit(channels, channels, frames=3)
        self.restore = make_unit(channels, outputs)
        changes = inputs != outputs or stride != 1
        self.shortcut = make_unit(inputs, outputs, stride=stride) if changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, inputs, T, H, W) to (B, 4 * channels, T, H', W')."""
        mixed = self.mix(F.relu(self.reduce(maps)))
        return F.relu(self.restore(mixed) + self.shortcut(maps))

    def mix(self, maps: Tensor) -> Tensor:
        """Mix space and time in maps (B, channels, T, H, W); the shape stays."""
        space = F.relu(self.space(maps))
        if self.kind == "flat":
            return space
        time = F.relu(self.time(maps if self.kind == "B" else space))
        return time if self.kind == "A" else space + time


def make_unit(
    inputs: int, outputs: int, frames: int = 1, side: int = 1, stride: int = 1
) -> nn.Sequential:
    """Return a convolution of frames x side x side without bias, and a batch normalisation."""
    sides, strides = (frames, side, side), (1, stride, stride)
    padding = (frames // 2, side // 2, side // 2)
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, sides, strides, padding, bias=False), nn.BatchNorm3d(outputs)
    )


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> VideoNetwork:
    """Build the model for K classes; it has no initial weights."""
    require_at_least("num_frames", config.num_frames, 2)
    return VideoNetwork(P3d(config.width), config, class_names)
