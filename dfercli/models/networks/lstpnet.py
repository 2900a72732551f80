"""LSTPNet: factors of channels from neighbouring frames, and convolutions within a transformer.

Source: Lu et al., 2024, LSTPNet: long short-term perception network for dynamic facial expression
recognition in the wild, Image and Vision Computing; widths and depths are those of its code. Our
choice, where these leave it open, such that the parameters come out: which layers have biases, and
a norm before each MLP. No recipe is published.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.models.networks.base import FrameNetwork, VideoNetwork, Weights, scale_width
from dfercli.models.networks.resnet import ResNet
from dfercli.models.networks.temporal import TransformerLayer

REDUCTION = 8
"""Channels of maps per sequence in an excitation."""

LAYERS, HEADS, HEAD_WIDTH, MLP_WIDTH = 2, 8, 64, 4096

KERNEL = 3
"""Frames that a convolution over time reads."""


class TemporalExcitation(nn.Module):
    """Temporal channel excitation: scales the channels of maps by factors between 0 and 2.

    The factors depend on the mean and the maximum of each channel in the frame and its neighbours.

    Args:
        channels: C.
        num_frames: T.
    """

    def __init__(self, channels: int, num_frames: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        sequences, kernel = channels // REDUCTION, choose_kernel(channels)
        self.over_channels = nn.Conv1d(1, sequences, kernel, padding=kernel // 2)
        self.over_time = nn.Conv1d(channels, channels, KERNEL, padding=KERNEL // 2, bias=False)
        self.merge = nn.Conv1d(sequences, 1, kernel, padding=kernel // 2)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B * T, C, H, W) to maps of the same shape."""
        scores = self.score(maps.mean(dim=(2, 3))) + self.score(maps.amax(dim=(2, 3)))
        return maps * (2 * scores.sigmoid())[..., None, None]

    def score(self, frames: Tensor) -> Tensor:
        """Map a value of each channel, (B * T, C), to scores of the same shape."""
        sequences = self.over_channels(frames[:, None])  # (B * T, C / 8, C)
        sequences = sequences.unflatten(0, (-1, self.num_frames)).permute(0, 2, 3, 1)
        changed = F.relu(self.over_time(sequences.flatten(0, 1)))  # (B * C / 8, C, T)
        changed = changed.unflatten(0, sequences.shape[:2]).permute(0, 3, 1, 2)
        scores: Tensor = self.merge(changed.flatten(0, 1))[:, 0]
        return scores


def choose_kernel(channels: int) -> int:
    """Return the size of a kernel over C channels: (log2 C + 1) / 2 rounded down, made odd.

    Source: Wang et al., 2020, ECA-Net, CVPR.
    """
    size = int((math.log2(channels) + 1) / 2)
    return size if size % 2 else size + 1


class TemporalConvolution(nn.Module):
    """Adds a convolution over time to a sequence.

    Args:
        features: F.
        groups: Groups of features; F if each is convolved by itself.
    """

    def __init__(self, features: int, groups: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(features, features, KERNEL, padding=KERNEL // 2, groups=groups)

    def forward(self, frames: Tensor) -> Tensor:
        """Map (B, T, F) to (B, T, F)."""
        return frames + self.convolution(frames.transpose(1, 2)).transpose(1, 2)


class LongShortTermTransformer(nn.Module):
    """Before each layer a convolution over time, the same in all; the mean over frames at the end.

    Args:
        features: F, width of the frame embeddings and of the result.
        width: Factor of the other widths.
    """

    def __init__(self, features: int, width: float = 1.0) -> None:
        super().__init__()
        self.features = features
        self.short_term = nn.Sequential(TemporalConvolution(features), nn.LayerNorm(features))
        self.layers = nn.ModuleList(make_layer(features, width) for _ in range(LAYERS))

    def forward(self, frames: Tensor) -> Tensor:
        """Map (B, T, F) to (B, F)."""
        for layer in self.layers:
            frames = layer(self.short_term(frames))
        return frames.mean(dim=1)


def make_layer(features: int, width: float) -> TransformerLayer:
    """Return a transformer layer whose MLP has a convolution over time of each hidden feature."""
    hidden = scale_width(MLP_WIDTH, width)
    layer = TransformerLayer(features, scale_width(HEADS, width), HEAD_WIDTH, hidden)
    layer.mlp = nn.Sequential(
        *(nn.Linear(features, hidden), nn.GELU(), nn.LayerNorm(hidden)),
        *(TemporalConvolution(hidden, groups=hidden), nn.GELU(), nn.LayerNorm(hidden)),
        *(nn.Linear(hidden, features), nn.LayerNorm(features)),
    )
    return layer


def make_trunk(num_frames: int, width: float, weights: Weights) -> ResNet:
    """Return ResNet18 with an excitation before each block of stages 2 to 4 and after the last.

    Its convolutions except the first have biases, as in the weights for faces that the authors use;
    those that `weights`, with torchvision's names, do not have are 0.
    """
    trunk = ResNet(width=width)
    state = {} if weights is None else dict(weights)
    for name, module in trunk.named_modules():
        if isinstance(module, nn.Conv2d) and name != "conv1":
            module.bias = nn.Parameter(torch.zeros(module.out_channels))
            state.setdefault(f"{name}.bias", module.bias)
    if weights is not None:
        trunk.load_state_dict(state)
    for name in ("layer2", "layer3", "layer4"):
        blocks = [
            nn.Sequential(TemporalExcitation(block.conv1.in_channels, num_frames), block)
            for block in getattr(trunk, name)
        ]
        setattr(trunk, name, nn.Sequential(*blocks))
    trunk.layer4.append(TemporalExcitation(trunk.features, num_frames))
    return trunk


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> VideoNetwork:
    """Build the model; `towers` are weights of ResNet18 with torchvision's names, or None."""
    trunk = make_trunk(config.num_frames, config.width, towers)
    temporal = LongShortTermTransformer(trunk.features, config.width)
    return VideoNetwork(FrameNetwork(trunk, temporal), config, class_names)
