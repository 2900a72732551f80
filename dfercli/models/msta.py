"""MSTA: aggregates frames into a video embedding over several temporal scales. Section 3.2."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PAPER_FRAMES = 8
"""T for which the paper gives its kernels. Source: section 4.1."""


class MSTA(nn.Module):
    """Multi-scale temporal aggregation, Eq. (4) to (8).

    Every branch yields T // 3 positions, as the paper states; at T = 8 its kernels and strides do.
    At another T, a branch that does not, even with padding 1, uses windows that cover the same
    share of the clip, evenly spaced (our choice).

    Args:
        width: E, width of the frame embeddings.
        num_frames: T.
        pools: Kernel and stride of each branch. Source: section 3.2.
        near_clip: Initialise FC_V as the mean over positions, so that the video embedding starts
            in CLIP's joint space (our choice).
        fc: What the FC layers of Eq. (5) mix: `positions`, the last dimension of an (E, T // 3)
            tensor, which reproduces the FLOPs of Tables 2 to 4 to both decimals; or `channels`,
            at each position (our choice, as an option).
    """

    def __init__(
        self,
        width: int,
        num_frames: int,
        pools: Sequence[tuple[int, int]] = ((5, 3), (5, 3), (7, 1)),
        near_clip: bool = True,
        fc: str = "positions",
    ) -> None:
        super().__init__()
        self.length = max(1, num_frames // 3)
        self.pools = [(kernel, stride) for kernel, stride in pools]
        self.over_positions = fc == "positions"
        mixed = self.length if self.over_positions else width
        self.fc_scale = nn.ModuleList(nn.Linear(mixed, mixed) for _ in pools)
        self.fc_video = nn.Linear(self.length * width, width)
        if near_clip:
            mean_over_positions = torch.eye(width).repeat(1, self.length) / self.length
            self.fc_video.weight.data.copy_(mean_over_positions)
            nn.init.zeros_(self.fc_video.bias)

    def pool(self, frames: Tensor, kernel: int, stride: int) -> Tensor:
        """Max-pool frames (B, E, T) over time to (B, E, T // 3), Eq. (4)."""
        num_frames = frames.shape[-1]
        for padding in (0, 1):
            if (num_frames + 2 * padding - kernel) // stride + 1 == self.length:
                return F.max_pool1d(frames, kernel, stride, padding)
        window = math.ceil(num_frames * kernel / PAPER_FRAMES)
        starts = torch.linspace(0, num_frames - window, self.length, device=frames.device)
        return frames.unfold(-1, window, 1).amax(dim=-1)[..., starts.round().long()]

    def forward(self, frame_embeds: Tensor) -> Tensor:
        """Aggregate the frames of each clip, (B, T, E), to (B, E)."""
        frames = frame_embeds.transpose(1, 2)  # Z^Tr, (B, E, T)
        scales = [self.pool(frames, *pool).transpose(1, 2) for pool in self.pools]  # (B, T/3, E)
        pooled = torch.stack(scales)  # Z_i, (3, B, T/3, E)
        fused = pooled.sum(dim=0)  # Eq. (4)
        scores = torch.stack([self._score(fc, fused) for fc in self.fc_scale])  # U_i, Eq. (5)
        weights = scores.softmax(dim=0)  # Eq. (6)
        weighted = (weights * pooled).sum(dim=0)  # Eq. (7), (B, T/3, E)
        return self.fc_video(weighted.flatten(1))  # Eq. (8)

    def _score(self, fc: nn.Module, fused: Tensor) -> Tensor:
        """Apply one FC to (B, T/3, E), over its positions or its channels."""
        scores: Tensor
        scores = fc(fused.mT).mT if self.over_positions else fc(fused)
        return scores
