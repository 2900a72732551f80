"""ResNet18 over single frames, then an LSTM or a transformer over time.

The paper's Table 1 has both rows, but no source of either defines them. Source of ResNet18: He et
al., 2016, as in torchvision. An LSTM of two layers of 256 fits the 7.78 G that are published for
ResNet18-LSTM; the transformer is that of Former-DFER (our choice).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from dfercli.config import ModelConfig
from dfercli.models.networks.base import FrameNetwork, VideoNetwork, Weights, scale_width
from dfercli.models.networks.temporal import TemporalTransformer

WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages."""

LSTM_WIDTH, LSTM_LAYERS = 256, 2
"""Our choice; see the module's docstring."""


class ResNet(nn.Module):
    """A ResNet of basic blocks, whose parameters have the names of torchvision's.

    Args:
        blocks: Number of blocks in each stage; ResNet18 has two in each.
        width: Factor of the channels.
    """

    def __init__(self, blocks: Sequence[int] = (2, 2, 2, 2), width: float = 1.0) -> None:
        super().__init__()
        self.widths = [scale_width(channels, width, 8) for channels in WIDTHS]
        self.features = self.widths[-1]
        self.conv1 = nn.Conv2d(3, self.widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(self.widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        first, second, third, fourth = self.widths
        self.layer1 = make_stage(first, first, blocks[0], stride=1)
        self.layer2 = make_stage(first, second, blocks[1], stride=2)
        self.layer3 = make_stage(second, third, blocks[2], stride=2)
        self.layer4 = make_stage(third, fourth, blocks[3], stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, frames: Tensor) -> Tensor:
        """Map frames (N, 3, H, W) to the maps (N, C, H / 4, W / 4) that the first stage reads."""
        maps: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(frames))))
        return maps

    def stages(self) -> list[nn.Sequential]:
        """Return the four stages."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames (N, 3, H, W) to their embeddings (N, F)."""
        maps = self.stem(frames)
        for stage in self.stages():
            maps = stage(maps)
        return maps.mean(dim=(2, 3))


def make_stage(channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """Return basic blocks; the first one may halve the size or change the channels."""
    shortcut = None
    if stride > 1 or channels != width:
        convolution = nn.Conv2d(channels, width, 1, stride, bias=False)
        shortcut = nn.Sequential(convolution, nn.BatchNorm2d(width))
    first = BasicBlock(channels, width, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1)))


class LastState(nn.Module):
    """An LSTM over the frames of a clip; returns its output at the last frame.

    Args:
        features: Width of the frame embeddings.
        width: F, of the hidden state.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.features = width
        self.lstm = nn.LSTM(features, width, LSTM_LAYERS, batch_first=True)

    def forward(self, frames: Tensor) -> Tensor:
        """Map (B, T, F') to (B, F)."""
        outputs: Tensor = self.lstm(frames)[0]
        return outputs[:, -1]


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> VideoNetwork:
    """Build `resnet18-lstm`, `resnet18-vit`, or `freq-hd`, which is the former with its sampling.

    `towers` are weights of ResNet18 with torchvision's names, or None.
    """
    trunk = ResNet(width=config.width)
    if towers is not None:
        trunk.load_state_dict(towers)
    temporal: nn.Module
    if config.method == "resnet18-vit":
        heads = scale_width(8, config.width)
        mlp_width = scale_width(1024, config.width)
        temporal = TemporalTransformer(
            trunk.features, config.num_frames, num_heads=heads, mlp_width=mlp_width
        )
    else:
        temporal = LastState(trunk.features, scale_width(LSTM_WIDTH, config.width))
    return VideoNetwork(FrameNetwork(trunk, temporal), config, class_names)
