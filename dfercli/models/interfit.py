"""InterFIT: tokens that carry information from the other frames into each frame. Section 3.1."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dfercli.models.layers import BiLSTM

HEAD_WIDTH = 64
"""Width of an attention head: that of CLIP (our choice; the paper does not say)."""


class InterFIT(nn.Module):
    """One interaction layer per block of the backbone, which calls them.

    Args:
        width: D, width of the backbone.
        num_layers: L, blocks of the backbone.
        near_clip: Initialise so that each frame sees another copy of its own class token and
            nothing of the other frames: fine-tuning must not start from noise (our choice).
    """

    def __init__(self, width: int, num_layers: int, near_clip: bool = True) -> None:
        super().__init__()
        self.layers = nn.ModuleList(InteractionLayer(width, near_clip) for _ in range(num_layers))

    def __iter__(self) -> Iterator[nn.Module]:
        """Iterate over the layers, in the order of the blocks."""
        return iter(self.layers)


class InteractionLayer(nn.Module):
    """Maps class tokens to interaction tokens, Eq. (2).

    The Bi-LSTM has hidden width D in each direction, and a linear layer reduces its 2D to D: our
    choice among what the paper's FLOPs leave open (docs/method.md).

    Args:
        width: D.
        near_clip: See `InterFIT`.
    """

    def __init__(self, width: int, near_clip: bool) -> None:
        super().__init__()
        self.to_interaction = nn.Linear(width, width)
        self.lstm = BiLSTM(width)
        self.reduce = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        num_heads = max(1, width // HEAD_WIDTH)
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        if near_clip:
            nn.init.eye_(self.to_interaction.weight)
            nn.init.zeros_(self.to_interaction.bias)
            nn.init.zeros_(self.attention.out_proj.weight)
            nn.init.zeros_(self.attention.out_proj.bias)

    def forward(self, class_tokens: Tensor) -> Tensor:
        """Map class tokens (B, T, D) to interaction tokens (B, T, D)."""
        tokens = self.to_interaction(class_tokens)  # I, (B, T, D)
        recurrent = self.lstm(tokens)  # (B, T, 2D)
        normed = self.norm(self.reduce(recurrent))  # (B, T, D)
        exchanged: Tensor
        exchanged, _ = self.attention(normed, normed, normed, need_weights=False)
        return torch.add(tokens, exchanged)
