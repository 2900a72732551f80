"""A reading of LOGO-Former: attention within windows, then to one feature per window.

frames                                                   (B, T, 3, H, W)
│ the first three stages of ResNet18
maps, with positions and a class token                   (B, 1 + T * H / 16 * W / 16, C)
│ blocks of local attention, MLP, global attention, MLP
class token                                              (B, C)

Source: Ma et al., 2023, Logo-Former: local-global spatio-temporal transformer for dynamic facial
expression recognition (arXiv 2305.03343). Only its abstract was read, and no code of the authors is
known. A port by others has ResNet18 without its last stage, a class token, positions in
space and time, four blocks and eight heads. All the rest is our choice: the width of the maps, 256,
windows of two frames by 4 x 4 positions, their mean as their feature, and the compact loss. With
these, all matrix products are 10.27 G, the number that is published.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.models.base import AuxiliaryLoss, Outputs
from dfercli.models.networks.base import FrameNetwork, VideoNetwork, Weights
from dfercli.models.networks.resnet import ResNet

WINDOW = (2, 4, 4)
"""Frames, rows and columns of a window. Our choice; two frames are a segment of the sampling."""

DEPTH, HEADS = 4, 8

MLP_FACTOR = 4
"""Hidden width of an MLP, in widths of a token."""

COMPACT_WEIGHT = 0.1
"""Our choice."""

REDUCTION = 16
"""Pixels of a frame per position of the maps after the third stage."""


def cut_windows(maps: Tensor) -> Tensor:
    """Cut maps (B, T, H, W, C) into N windows of L tokens, (B, N, L, C), with zeros at the ends."""
    frames, rows, columns = (
        -size % window for size, window in zip(maps.shape[1:4], WINDOW, strict=True)
    )
    maps = F.pad(maps, (0, 0, 0, columns, 0, rows, 0, frames))
    for axis in (3, 2, 1):
        maps = maps.unflatten(axis, (-1, WINDOW[axis - 1]))
    return maps.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(1, 3)


def join_windows(windows: Tensor, sizes: Sequence[int]) -> Tensor:
    """Undo `cut_windows`: join (B, N, L, C) to maps of T, H, W = sizes, (B, T, H, W, C)."""
    counts = [-(-size // window) for size, window in zip(sizes, WINDOW, strict=True)]
    parts = windows.unflatten(2, WINDOW).unflatten(1, counts)
    maps = parts.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)
    return maps[:, : sizes[0], : sizes[1], : sizes[2]]


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return attention of eight heads: queries (N, Q, C) to keys and values (N, P, C).

    Keys where the mask (N, P) is False have no weight.
    """
    q, k, v = (
        tensor.unflatten(-1, (HEADS, -1)).transpose(1, 2) for tensor in (queries, keys, values)
    )
    mask = None if mask is None else mask[:, None, None]
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)


class LocalAttention(nn.Module):
    """Attention among the tokens of each window."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(features, 3 * features, bias=False)
        self.output = nn.Linear(features, features)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, T, H, W, C) to (B, T, H, W, C)."""
        windows = cut_windows(self.query_key_value(maps)).flatten(0, 1)  # (B * N, L, 3C)
        is_token = cut_windows(torch.ones_like(maps[..., :1], dtype=torch.bool)).flatten(0, 1)
        queries, keys, values = windows.chunk(3, dim=-1)
        mixed = attend(queries, keys, values, is_token.squeeze(-1))
        mixed = join_windows(mixed.unflatten(0, (len(maps), -1)), maps.shape[1:4])
        output: Tensor = self.output(mixed)
        return output


class GlobalAttention(nn.Module):
    """Attention of all tokens to one feature per window, the mean of its tokens."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.query = nn.Linear(features, features, bias=False)
        self.key_value = nn.Linear(features, 2 * features, bias=False)
        self.output = nn.Linear(features, features)

    def forward(self, tokens: Tensor, maps: Tensor) -> Tensor:
        """Map (B, P, C), and the maps (B, T, H, W, C) among them, to (B, P, C)."""
        windows = average_windows(maps)
        mixed = attend(self.query(tokens), *self.key_value(windows).chunk(2, dim=-1))
        output: Tensor = self.output(mixed)
        return output


def average_windows(maps: Tensor) -> Tensor:
    """Return the mean token of each window, (B, N, C), of maps (B, T, H, W, C)."""
    num_tokens = cut_windows(torch.ones_like(maps[:1, ..., :1])).sum(dim=2)
    return cut_windows(maps).sum(dim=2) / num_tokens


class Block(nn.Module):
    """Local attention, then global attention, each followed by an MLP; norms come first."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm_local = nn.LayerNorm(features)
        self.local = LocalAttention(features)
        self.mlp_local = make_mlp(features)
        self.norm_global = nn.LayerNorm(features)
        self.to_windows = GlobalAttention(features)
        self.mlp_global = make_mlp(features)

    def forward(self, class_tokens: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Map class tokens (B, 1, C) and maps (B, T, H, W, C) to the same."""
        maps = maps + self.local(self.norm_local(maps))
        maps = maps + self.mlp_local(maps)
        tokens = torch.cat([class_tokens, maps.flatten(1, 3)], dim=1)
        normed = self.norm_global(tokens)
        tokens = tokens + self.to_windows(normed, normed[:, 1:].unflatten(1, maps.shape[1:4]))
        tokens = tokens + self.mlp_global(tokens)
        return tokens[:, :1], tokens[:, 1:].unflatten(1, maps.shape[1:4])


def make_mlp(features: int) -> nn.Sequential:
    """Return the MLP of a transformer layer, with the norm before it."""
    hidden = MLP_FACTOR * features
    return nn.Sequential(
        nn.LayerNorm(features), nn.Linear(features, hidden), nn.GELU(), nn.Linear(hidden, features)
    )


class EarlyStages(nn.Module):
    """ResNet18 without its last stage."""

    def __init__(self, width: float) -> None:
        super().__init__()
        self.trunk = ResNet(width=width)
        self.trunk.layer4 = nn.Sequential()
        self.features = self.trunk.widths[2]

    def forward(self, frames: Tensor) -> Tensor:
        """Map frames (N, 3, H, W) to maps (N, C, H / 16, W / 16)."""
        maps = self.trunk.stem(frames)
        for stage in self.trunk.stages()[:3]:
            maps = stage(maps)
        return maps


class LocalGlobalTransformer(nn.Module):
    """Blocks over the maps of all frames and a class token, which they return.

    Args:
        features: C.
        num_frames: T.
        side: Rows and columns of a map.
    """

    def __init__(self, features: int, num_frames: int, side: int) -> None:
        super().__init__()
        self.features = features
        self.class_token = nn.Parameter(0.02 * torch.randn(features))
        self.frame_positions = nn.Parameter(0.02 * torch.randn(num_frames, 1, 1, features))
        self.map_positions = nn.Parameter(0.02 * torch.randn(side, side, features))
        self.blocks = nn.ModuleList(Block(features) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(features)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, T, C, H, W) to (B, C)."""
        maps = maps.movedim(2, -1) + self.frame_positions + self.map_positions
        class_tokens = self.class_token.repeat(len(maps), 1, 1)
        for block in self.blocks:
            class_tokens, maps = block(class_tokens, maps)
        videos: Tensor = self.norm(class_tokens).squeeze(1)
        return videos


class LogoFormer(VideoNetwork):
    """Classifies clips; in training, embeddings of a class are drawn together."""

    def auxiliary_losses(self) -> list[tuple[AuxiliaryLoss, float]]:
        """Return the compact loss and its weight."""
        return [(compact_loss, COMPACT_WEIGHT)]


def compact_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return how far a clip is from those of its class, and how near to the others, (B,).

    The sum of the mean cosine distance to the other clips of its class in the batch, and the mean
    cosine similarity, if positive, with the clips of other classes; each is 0 without such clips.
    """
    videos = F.normalize(outputs.extras["videos"], dim=-1)
    similarities = videos @ videos.T  # (B, B)
    same = labels.unsqueeze(1) == labels
    others = ~same
    same = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return _mean_where(same, 1 - similarities) + _mean_where(others, similarities.relu())


def _mean_where(mask: Tensor, values: Tensor) -> Tensor:
    """Return the mean of each row where the mask is True; 0 if it is nowhere."""
    return (mask * values).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> LogoFormer:
    """Build the model; `towers` are weights of ResNet18 with torchvision's names, or None."""
    stages = EarlyStages(config.width)
    if towers is not None:
        names = stages.trunk.state_dict().keys()
        stages.trunk.load_state_dict({name: towers[name] for name in names})
    side = -(-config.image_size // REDUCTION)
    temporal = LocalGlobalTransformer(stages.features, config.num_frames, side)
    return LogoFormer(FrameNetwork(stages, temporal), config, class_names)
