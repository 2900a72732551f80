"""torchvision's video networks of 18 layers: R3D, MC3 and R(2+1)D, pretrained on Kinetics-400.

Source: Tran et al., 2018, as in torchvision, whose blocks these are. R3D is the backbone of M3DFEL.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.video.resnet import (
    BasicBlock,
    Conv2Plus1D,
    Conv3DNoTemporal,
    Conv3DSimple,
)

from dfercli.config import ModelConfig
from dfercli.models.networks.base import (
    VideoNetwork,
    Weights,
    initialise_convolutions,
    scale_width,
)

Convolution = type[Conv3DSimple] | type[Conv3DNoTemporal] | type[Conv2Plus1D]

CONVOLUTIONS: dict[str, tuple[Convolution, ...]] = {
    "r3d-18": (Conv3DSimple, Conv3DSimple, Conv3DSimple, Conv3DSimple),
    "mc3-18": (Conv3DSimple, Conv3DNoTemporal, Conv3DNoTemporal, Conv3DNoTemporal),
    "r2plus1d-18": (Conv2Plus1D, Conv2Plus1D, Conv2Plus1D, Conv2Plus1D),
}
"""Convolutions of the four stages, by method."""


class VideoResNet(nn.Module):
    """Stem and four stages of two blocks; then the mean over all positions.

    The parameters have the names of torchvision's, whose own class has a fixed width.

    Args:
        name: One of `CONVOLUTIONS`.
        width: Factor of the channels.
    """

    def __init__(self, name: str, width: float = 1.0) -> None:
        super().__init__()
        channels = scale_width(64, width)
        if name == "r2plus1d-18":
            between = scale_width(45, width)
            in_space = nn.Conv3d(3, between, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
            in_time = nn.Conv3d(between, channels, (3, 1, 1), 1, (1, 0, 0), bias=False)
            self.stem = nn.Sequential(
                *(in_space, nn.BatchNorm3d(between), nn.ReLU()),
                *(in_time, nn.BatchNorm3d(channels), nn.ReLU()),
            )
        else:
            convolution = nn.Conv3d(3, channels, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
            self.stem = nn.Sequential(convolution, nn.BatchNorm3d(channels), nn.ReLU())
        first, second, third, fourth = CONVOLUTIONS[name]
        self.layer1 = make_stage(first, channels, channels, stride=1)
        self.layer2 = make_stage(second, channels, 2 * channels, stride=2)
        self.layer3 = make_stage(third, 2 * channels, 4 * channels, stride=2)
        self.layer4 = make_stage(fourth, 4 * channels, 8 * channels, stride=2)
        self.features = 8 * channels
        initialise_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, 3, H, W) to (B, F)."""
        maps = self.stem(clips.transpose(1, 2))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps = stage(maps)
        videos: Tensor = maps.mean(dim=(2, 3, 4))
        return videos


def make_stage(convolution: Convolution, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Return two of torchvision's blocks; the first one changes the shape."""
    shortcut = None
    if inputs != outputs or stride != 1:
        strides = convolution.get_downsample_stride(stride)
        layer = nn.Conv3d(inputs, outputs, 1, strides, bias=False)
        shortcut = nn.Sequential(layer, nn.BatchNorm3d(outputs))
    first = BasicBlock(inputs, outputs, convolution, stride, shortcut)
    return nn.Sequential(first, BasicBlock(outputs, outputs, convolution))


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> VideoNetwork:
    """Build `r3d-18`, `mc3-18` or `r2plus1d-18` for K classes.

    `towers` are weights with torchvision's names, without its classifier, or None.
    """
    backbone = VideoResNet(config.method, config.width)
    if towers is not None:
        backbone.load_state_dict(towers)
    return VideoNetwork(backbone, config, class_names)
