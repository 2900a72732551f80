"""Former-DFER: a transformer over the positions of each frame, and one over frames.

Source: Zhao and Liu, 2021, Former-DFER: dynamic facial expression recognition transformer, ACM MM;
its code for depths and widths. The 9.11 G that are published belong to three spatial layers; the
code has one, and so has this by default (`spatial_layers`).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dfercli.config import ModelConfig
from dfercli.models.networks.base import FrameNetwork, VideoNetwork, Weights, scale_width
from dfercli.models.networks.resnet import ResNet
from dfercli.models.networks.temporal import TemporalTransformer, TransformerLayer

HEADS = 8
SPATIAL_HEAD, SPATIAL_MLP = 32, 512
TEMPORAL_MLP = 1024

REDUCTION = 16
"""Pixels of a frame per position of the maps after the third stage."""


class SpatialFormer(nn.Module):
    """ResNet18 with a transformer over the positions of the maps between its last two stages.

    Args:
        image_size: Side of the frames in pixels.
        depth: Number of transformer layers.
        width: Factor of all widths.
    """

    def __init__(self, image_size: int, depth: int, width: float) -> None:
        super().__init__()
        self.trunk = ResNet(width=width)
        self.features = self.trunk.features
        channels, side = self.trunk.widths[2], -(-image_size // REDUCTION)
        self.positions = nn.Parameter(torch.randn(side * side, channels))
        heads, mlp_width = scale_width(HEADS, width), scale_width(SPATIAL_MLP, width)
        self.layers = nn.Sequential(
            *(TransformerLayer(channels, heads, SPATIAL_HEAD, mlp_width) for _ in range(depth))
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames (N, 3, H, W) to their embeddings (N, F)."""
        *early, last = self.trunk.stages()
        maps = self.trunk.stem(frames)
        for stage in early:
            maps = stage(maps)
        tokens = maps.flatten(2).transpose(1, 2)  # (N, P, C)
        tokens = self.layers(tokens + self.positions)
        maps = tokens.transpose(1, 2).unflatten(2, maps.shape[2:])
        embedded: Tensor = last(maps).mean(dim=(2, 3))
        return embedded


class FormerDFER(VideoNetwork):
    """Former-DFER, of whose attention within frames heat maps can be drawn."""

    backbone: FrameNetwork

    @property
    def position_layers(self) -> nn.Module:
        """The layers over the positions of each frame."""
        spatial: SpatialFormer = self.backbone.trunk  # type: ignore[assignment]
        return spatial.layers


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> FormerDFER:
    """Build the model; it is trained from scratch, so `towers` are None."""
    spatial = SpatialFormer(config.image_size, config.spatial_layers, config.width)
    temporal = TemporalTransformer(
        spatial.features,
        config.num_frames,
        num_heads=scale_width(HEADS, config.width),
        mlp_width=scale_width(TEMPORAL_MLP, config.width),
    )
    return FormerDFER(FrameNetwork(spatial, temporal), config, class_names)
