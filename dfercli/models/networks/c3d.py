"""C3D (Tran et al., 2015): eight 3D convolutions and two hidden linear layers."""

from collections.abc import Sequence

from torch import Tensor, nn

from dfercli.config import ModelConfig
from dfercli.models.networks.base import (
    VideoNetwork,
    Weights,
    initialise_convolutions,
    scale_width,
)

STAGES = ((64,), (128,), (256, 256), (512, 512), (512, 512))
"""Channels of the convolutions between two max-poolings."""

HIDDEN_WIDTH = 4096
"""Width of the two hidden layers."""

DROPOUT = 0.5
"""After each hidden layer. Source: Tran et al., 2015."""


class C3d(nn.Module):
    """Convolutions of 3x3x3, each with batch normalisation, then two hidden layers.

    The original has no batch normalisation. We have it (our choice), as does the public code of the
    DFEW paper, whose results Table 1 quotes.

    Args:
        num_frames: T. Clips of other lengths do not fit the linear layers.
        image_size: Side of a frame in pixels.
        width: Factor of all layer widths.
    """

    def __init__(self, num_frames: int = 16, image_size: int = 112, width: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, frames, side = 3, num_frames, image_size
        for index, stage in enumerate(STAGES):
            for outputs in (scale_width(outputs, width) for outputs in stage):
                layers.append(nn.Conv3d(channels, outputs, 3, padding=1))
                layers += [nn.BatchNorm3d(outputs), nn.ReLU()]
                channels = outputs
            # The first pooling is over space only, and so are those that find a single map left.
            steps = 2 if index > 0 and frames > 1 else 1
            margin = 1 if index == len(STAGES) - 1 else 0
            layers.append(nn.MaxPool3d((steps, 2, 2), padding=(0, margin, margin)))
            frames, side = frames // steps, (side + 2 * margin) // 2
        self.convolutions = nn.Sequential(*layers)
        self.features = scale_width(HIDDEN_WIDTH, width)
        self.hidden_layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * frames * side**2, self.features),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(self.features, self.features),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
        )
        initialise_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, 3, H, W) to (B, F)."""
        videos: Tensor = self.hidden_layers(self.convolutions(clips.transpose(1, 2)))
        return videos


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> VideoNetwork:
    """Build the model for K classes; it has no initial weights."""
    backbone = C3d(config.num_frames, config.image_size, config.width)
    return VideoNetwork(backbone, config, class_names)
