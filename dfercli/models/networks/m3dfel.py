"""M3DFEL: a clip as a bag of short instances, whose embeddings are normalised dynamically.

Source: Wang et al., 2023, Rethinking the learning paradigm for dynamic facial expression
recognition, CVPR; widths and depths are those of its code. Our choice, where these leave it open:
variances divide by the count, not by one less, and the kernel of the last layer is padded by 1.

The published 1.65 G leave out most convolutions of torchvision's R3D-18, which the counting tool
did not recognise; its true cost is 43.19 G.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dfercli.config import ModelConfig
from dfercli.errors import ConfigError
from dfercli.models.layers import attention
from dfercli.models.networks.base import VideoNetwork, Weights
from dfercli.models.networks.torchvision_3d import VideoResNet

INSTANCE_FRAMES = 4
LSTM_LAYERS, HEADS = 2, 8

EPSILON = 1e-5
"""Added to variances, as in PyTorch's normalisations."""


class DynamicNorm(nn.Module):
    """Normalises a bag by a learnt mix of two means, and one of two variances.

    One mean and variance are of each channel over the instances, the other of the whole bag; the
    weights of each mix are a softmax.

    Args:
        features: F, width of the instances.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.mean_scores = nn.Parameter(torch.zeros(2))  # of channels, of the bag
        self.variance_scores = nn.Parameter(torch.zeros(2))
        self.scale = nn.Parameter(torch.ones(features))
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, bags: Tensor) -> Tensor:
        """Normalise bags (B, I, F) of I instances."""
        variance, mean = torch.var_mean(bags, dim=1, keepdim=True, correction=0)  # (B, 1, F)
        bag_variance, bag_mean = torch.var_mean(bags, dim=(1, 2), keepdim=True, correction=0)
        of_channels, of_bag = self.mean_scores.softmax(dim=0)
        mean = of_channels * mean + of_bag * bag_mean
        of_channels, of_bag = self.variance_scores.softmax(dim=0)
        variance = of_channels * variance + of_bag * bag_variance
        return (bags - mean) * (variance + EPSILON).rsqrt() * self.scale + self.shift


class InstanceAttention(nn.Module):
    """Self-attention of the instances of a bag, without biases or an output layer."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(features, 3 * features, bias=False)

    def forward(self, bags: Tensor) -> Tensor:
        """Map (B, I, F) to (B, I, F)."""
        parts = self.query_key_value(bags).chunk(3, dim=-1)
        heads = [part.unflatten(-1, (HEADS, -1)).transpose(1, 2) for part in parts]
        return attention(*heads).transpose(1, 2).flatten(2)


class InstanceNetwork(nn.Module):
    """R3D-18 over each instance of four frames, then what aggregates the bag.

    Args:
        num_frames: T, a multiple of 4.
        width: Factor of all widths.
    """

    def __init__(self, num_frames: int, width: float = 1.0) -> None:
        super().__init__()
        if num_frames % INSTANCE_FRAMES:
            raise ConfigError(
                f"num_frames is {num_frames}; m3dfel needs a multiple of {INSTANCE_FRAMES}"
            )
        self.trunk = VideoResNet("r3d-18", width)
        channels = self.trunk.features
        self.features = 2 * channels  # of both directions
        self.lstm = nn.LSTM(channels, channels, LSTM_LAYERS, batch_first=True, bidirectional=True)
        self.attention = InstanceAttention(self.features)
        self.norm = DynamicNorm(self.features)
        instances = num_frames // INSTANCE_FRAMES
        self.merge = nn.Conv1d(instances, 1, 3, padding=1)  # slides over features

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, 3, H, W) to (B, F)."""
        instances = clips.unflatten(1, (-1, INSTANCE_FRAMES)).flatten(0, 1)
        bags = self.trunk(instances).unflatten(0, (len(clips), -1))  # (B, I, F / 2)
        bags = self.lstm(bags)[0]  # (B, I, F)
        gates = self.norm(self.attention(bags)).sigmoid()
        videos: Tensor = self.merge(bags * gates)[:, 0]
        return videos


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> VideoNetwork:
    """Build the model; `towers` are weights of R3D-18 with torchvision's names, or None."""
    backbone = InstanceNetwork(config.num_frames, config.width)
    if towers is not None:
        backbone.trunk.load_state_dict(towers)
    return VideoNetwork(backbone, config, class_names)
