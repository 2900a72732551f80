"""GCA + IAL: gates of channels that the frames agree on, changes between frames, and a margin loss.

Source: Li et al., 2023, Intensity-aware loss for dynamic facial expression recognition in the wild,
AAAI; widths, depths, loss weights and small constants are those of its code.

The published 9.63 G are not reached. The code takes 5.94 G, as it runs each transformer twice, to
the same effect; here each runs once, which takes 5.62 G.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.errors import require_at_least
from dfercli.models.base import AuxiliaryLoss, Outputs
from dfercli.models.networks.base import VideoNetwork, Weights, scale_width
from dfercli.models.networks.resnet import make_stage
from dfercli.models.networks.temporal import TransformerLayer

WIDTHS = (64, 128, 256)
"""Channels of the first three stages; the fourth, for changes, has those of the third."""

REDUCTION = 16
"""Factor by which the hidden layer of a gate is narrower than the maps."""

ROOT_SHIFT = 1e-5
"""Added to the square of a gate: the slope of the root is infinite at 0."""

LAYERS, HEADS, HEAD_WIDTH = 2, 4, 32
"""Of both transformers."""

SPATIAL_MLP, TEMPORAL_MLP = 256, 512

MARGIN_WEIGHT, AUXILIARY_WEIGHT = 0.1, 0.05
"""Weights of the losses in the code, where a comment says 0.5 for the first."""


class SharedGate(nn.Module):
    """Global convolution-attention: a factor for each channel, from one frame and from all.

    Args:
        channels: C.
        side: Height and width of the maps, H.
        num_frames: T.
    """

    def __init__(self, channels: int, side: int, num_frames: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.num_frames = num_frames
        self.squeeze = nn.Conv2d(channels, channels, side, groups=channels, bias=False)
        self.reduce = nn.Conv2d(channels, hidden, 1, bias=False)
        self.expand = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B * T, C, H, H) to factors (B * T, C, 1, 1), and to what they are computed from.

        The factors are geometric means of a frame's own value and of the mean over frames. The
        second result are the squeezed maps, as a mean over frames (B, C).
        """
        squeezed = self.squeeze(maps)
        values = 2 * self.expand(F.relu(self.reduce(squeezed))).sigmoid()
        values = values.flatten(1).unflatten(0, (-1, self.num_frames))  # (B, T, C)
        factors = (values * values.mean(dim=1, keepdim=True) + ROOT_SHIFT).sqrt()
        means = squeezed.flatten(1).unflatten(0, (-1, self.num_frames)).mean(dim=1)
        return factors.flatten(0, 1)[..., None, None], means


class GatedBlock(nn.Module):
    """A basic block of ResNet, with a `SharedGate` before the sum.

    Args:
        channels: Channels of the input.
        width: C, channels of the output.
        stride: 2 halves the size.
        side: Height and width of the output, H.
        num_frames: T.
    """

    def __init__(self, channels: int, width: int, stride: int, side: int, num_frames: int) -> None:
        super().__init__()
        self.block: Any = make_stage(channels, width, blocks=1, stride=stride)[0]
        self.gate = SharedGate(width, side, num_frames)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B * T, C', H', H') to (B * T, C, H, H); also return the gate's vector (B, C)."""
        block = self.block
        shortcut = maps if block.downsample is None else block.downsample(maps)
        maps = F.relu(block.bn1(block.conv1(maps)))
        maps = block.bn2(block.conv2(maps))
        factors, means = self.gate(maps)
        return F.relu(maps * factors + shortcut), means


class GatedStage(nn.ModuleList):
    """Gated blocks; the first one halves the size and changes the channels."""

    def __init__(self, channels: int, width: int, blocks: int, side: int, num_frames: int) -> None:
        super().__init__(
            GatedBlock(width if block else channels, width, 1 if block else 2, side, num_frames)
            for block in range(blocks)
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B * T, C', H', H') to (B * T, C, H, H), and to the last gate's vector (B, C)."""
        for block in self:
            maps, means = block(maps)
        return maps, means


class SpatialEncoder(nn.Module):
    """Halves the maps of single frames, then lets their positions attend to each other.

    Args:
        channels: C.
        side: Height and width of the result, H.
        width: Factor of the widths.
    """

    def __init__(self, channels: int, side: int, width: float) -> None:
        super().__init__()
        convolution = nn.Conv2d(channels, channels, 3, 2, 1, bias=False)
        self.embed = nn.Sequential(convolution, nn.BatchNorm2d(channels), nn.ReLU())
        self.positions = nn.Parameter(torch.randn(side * side, channels))
        self.layers = make_transformer(channels, scale_width(SPATIAL_MLP, width), width)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, C, 2 * H, 2 * H), or one less in height and width, to (N, C, H, H)."""
        maps = self.embed(maps)
        tokens = self.layers(maps.flatten(2).transpose(1, 2) + self.positions)
        return tokens.transpose(1, 2).unflatten(2, maps.shape[2:])


class DynamicStaticNet(nn.Module):
    """Embeds a clip by the changes between frames, and by the frames before each change.

    Args:
        num_frames: T, at least 2.
        image_size: Side of the frames in pixels.
        blocks: Residual blocks in each of the four stages.
        width: Factor of all widths.
    """

    def __init__(
        self, num_frames: int, image_size: int, blocks: Sequence[int], width: float = 1.0
    ) -> None:
        super().__init__()
        require_at_least("num_frames", num_frames, 2)
        widths = [scale_width(channels, width, 8) for channels in WIDTHS]
        sides = [-(-image_size // 2**halvings) for halvings in (3, 4, 5)]  # of stages 2, 3 and 4
        first, second, third = widths
        self.features = third * sides[2] ** 2
        self.stem = nn.Sequential(
            *(nn.Conv2d(3, first, 3, 2, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU()),
            *(nn.Conv2d(first, first, 3, 1, 1, bias=False), nn.BatchNorm2d(first), nn.ReLU()),
            nn.MaxPool2d(3, 2, 1),
        )
        self.stage1 = make_stage(first, first, blocks[0], stride=1)
        self.stage2 = GatedStage(first, second, blocks[1], sides[0], num_frames)
        self.stage3 = GatedStage(second, third, blocks[2], sides[1], num_frames)
        self.changes = make_stage(third, third, blocks[3], stride=2)
        self.frames = SpatialEncoder(third, sides[2], width)
        self.positions = nn.Parameter(torch.randn(num_frames, self.features))  # the last is unused
        self.layers = make_transformer(self.features, scale_width(TEMPORAL_MLP, width), width)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, 3, H, W) to embeddings (B, F)."""
        return self.embed(clips)[0]

    def embed(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, F) of clips, and the vector (B, C) of the second stage's gate."""
        maps = self.stage1(self.stem(clips.flatten(0, 1)))
        maps, means = self.stage2(maps)
        maps = self.stage3(maps)[0].unflatten(0, clips.shape[:2])  # (B, T, C, H', W')
        changes = self.changes((maps[:, 1:] - maps[:, :-1]).flatten(0, 1))
        frames = self.frames(maps[:, :-1].flatten(0, 1))
        steps = (changes + frames).flatten(1).unflatten(0, (len(clips), -1))  # (B, T - 1, F)
        steps = self.layers(steps + self.positions[: steps.shape[1]])
        return steps.mean(dim=1), means


def make_transformer(features: int, mlp_width: int, width: float) -> nn.Sequential:
    """Return pre-norm transformer layers."""
    heads = scale_width(HEADS, width)
    return nn.Sequential(
        *(TransformerLayer(features, heads, HEAD_WIDTH, mlp_width) for _ in range(LAYERS))
    )


class IALModel(VideoNetwork):
    """Adds a margin loss, and a classifier of the second stage's gate that only training uses.

    The code has parameters that affect nothing; they are built, so that the number is that of the
    code, but not trained: a classifier of the third stage, whose loss has weight 0; a gate and a
    classifier of the first stage; and a convolution and two biases in each of these stages.
    """

    backbone: DynamicStaticNet
    class_parameters = (
        *("head.weight", "head.bias", "auxiliary.1.weight"),
        *("unused.0.1.weight", "unused.1.1.weight"),
    )

    def __init__(
        self, backbone: DynamicStaticNet, config: ModelConfig, class_names: Sequence[str]
    ) -> None:
        super().__init__(backbone, config, class_names)
        first, second, third = (scale_width(channels, config.width, 8) for channels in WIDTHS)
        num_classes = len(class_names)
        self.auxiliary = make_auxiliary(second, num_classes)
        side = -(-config.image_size // 4)
        self.unused = nn.ModuleList(
            [
                make_auxiliary(first, num_classes),
                make_auxiliary(third, num_classes),
                SharedGate(first, side, config.num_frames),
                nn.Embedding(1, first),  # a bias
                # A convolution and two biases in each stage.
                *(nn.Embedding(channels + 2, channels) for channels in (first, second, third)),
            ]
        ).requires_grad_(False)

    def run(self, clips: Tensor) -> Outputs:
        """Return logits, and those of the auxiliary classifier as `auxiliary`, (B, K) each."""
        videos, means = self.backbone.embed(clips)
        return Outputs(
            self.classify(videos), {"videos": videos, "auxiliary": self.auxiliary(means)}
        )

    def auxiliary_losses(self) -> list[tuple[AuxiliaryLoss, float]]:
        """Return the margin loss, and the cross-entropy of the auxiliary classifier."""
        return [(margin_loss, MARGIN_WEIGHT), (auxiliary_cross_entropy, AUXILIARY_WEIGHT)]


def make_auxiliary(channels: int, num_classes: int) -> nn.Sequential:
    """Return a classifier of a gate's vector: two linear layers without biases."""
    return nn.Sequential(
        nn.Linear(channels, 2 * channels, bias=False),
        nn.Linear(2 * channels, num_classes, bias=False),
    )


def margin_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return -log p of each clip's label (B,), where p is among it and the likeliest other class.

    Source: Li et al., 2023, the intensity-aware loss. It stays large for faint expressions, which
    resemble another class.
    """
    logits = outputs.logits
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return F.softplus(others.amax(dim=1) - own[:, 0])


def auxiliary_cross_entropy(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of the auxiliary classifier's logits."""
    return F.cross_entropy(outputs.extras["auxiliary"], labels, reduction="none")


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> IALModel:
    """Build the model; it is trained from scratch, so `towers` are None."""
    blocks = [int(number) for number in config.stage_blocks.split(",")]
    backbone = DynamicStaticNet(config.num_frames, config.image_size, blocks, config.width)
    return IALModel(backbone, config, class_names)
