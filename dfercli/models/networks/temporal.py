"""A transformer over the frames of a clip, as Former-DFER has it."""

import torch
from torch import Tensor, nn

from dfercli.models.layers import attention


class TemporalTransformer(nn.Module):
    """Pre-norm transformer over a class token and T vectors; returns the class token.

    Depth, widths and initialisation are those of Former-DFER (Zhao and Liu, 2021) and its code.

    Args:
        features: F, width of the vectors and of the result.
        num_frames: T.
        depth: Number of layers.
        num_heads: Attention heads.
        head_width: Width of a head.
        mlp_width: Width of the hidden layer of each MLP.
    """

    def __init__(
        self,
        features: int,
        num_frames: int,
        depth: int = 3,
        num_heads: int = 8,
        head_width: int = 64,
        mlp_width: int = 1024,
    ) -> None:
        super().__init__()
        self.features = features
        self.class_token = nn.Parameter(torch.randn(features))
        self.positions = nn.Parameter(torch.randn(num_frames + 1, features))
        self.layers = nn.Sequential(
            *(TransformerLayer(features, num_heads, head_width, mlp_width) for _ in range(depth))
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Map (B, T, F) to (B, F)."""
        class_tokens = self.class_token.expand(len(frames), 1, -1)
        tokens = torch.cat([class_tokens, frames], dim=1) + self.positions  # (B, T + 1, F)
        encoded: Tensor = self.layers(tokens)
        return encoded[:, 0]


class TransformerLayer(nn.Module):
    """Attention without biases of queries, keys and values, then an MLP; norms come first."""

    def __init__(self, features: int, num_heads: int, head_width: int, mlp_width: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(features)
        self.query_key_value = nn.Linear(features, 3 * num_heads * head_width, bias=False)
        self.output = nn.Linear(num_heads * head_width, features)
        self.norm_mlp = nn.LayerNorm(features)
        self.mlp = nn.Sequential(
            nn.Linear(features, mlp_width),
            nn.GELU(approximate="tanh"),
            nn.Linear(mlp_width, features),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, P, F) to (B, P, F)."""
        parts = self.query_key_value(self.norm_attention(tokens)).chunk(3, dim=-1)
        heads = [part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts]
        tokens = tokens + self.output(attention(*heads).transpose(1, 2).flatten(2))
        mixed: Tensor = tokens + self.mlp(self.norm_mlp(tokens))
        return mixed
