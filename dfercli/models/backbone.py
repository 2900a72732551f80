"""CLIP's visual tower, applied to the frames of clips."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.errors import WeightsError
from dfercli.models import layers
from dfercli.models.layers import QuickGELU, attention, unfold_patches
from dfercli.models.pretrained import OpenCLIPQuickGELU, VisionTransformer


def draw_factors(num_clips: int, rate: float, device: torch.device) -> Tensor:
    """Draw the factor of a residual branch for each clip: stochastic depth.

    Returns (B,) float32: 0 with probability `rate`, where the clip skips the branch, and 1 / (1 -
    rate) elsewhere. At rate 0 nothing is drawn.

    Source: Huang et al., 2016; the remaining branches are scaled up, which keeps the expectation,
    so that evaluation needs no factor.
    """
    if rate == 0:
        return torch.ones(num_clips, device=device)
    return (torch.rand(num_clips, device=device) >= rate) / (1 - rate)


def scale_clips(branch: Tensor, factors: Tensor, num_frames: int) -> Tensor:
    """Scale the output of a branch, (B * T, P, D), by the factor (B,) of each clip."""
    clips = branch.unflatten(0, (-1, num_frames))  # (B, T, P, D)
    return (clips * factors.to(branch.dtype)[:, None, None, None]).flatten(0, 1)


class CLIPBackbone(nn.Module):
    """A CLIP vision transformer that encodes clips frame by frame.

    Without `interfit`, the embedding of each frame equals open_clip's `encode_image`.

    Args:
        visual: The visual tower of an open_clip model; a plain ViT with a class token.

    Raises:
        WeightsError: The tower is not a plain ViT, but a ResNet, a timm model or one with an
            attention pool.
    """

    visual: Any
    run_block: Any
    """`run_block` below, or a compiled version of it."""
    lora: nn.ModuleList | None
    """Low-rank changes of each block's projections in training, see `add_lora`; None otherwise."""
    drop_path: float = 0.0
    """Rate of stochastic depth in training: of the last block, decreasing linearly to 0 in the
    first. It belongs to the training recipe and is not saved in checkpoints."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        plain = isinstance(visual, VisionTransformer)
        if not plain or visual.attn_pool is not None or visual.pool_type != "tok":
            raise WeightsError(
                f"a backbone of type {type(visual).__name__} is not a plain ViT with a class "
                f"token; use one of open_clip's ViT-* models"
            )
        self.visual = visual
        self.run_block = run_block
        self.lora = None
        for block in visual.transformer.resblocks:
            if isinstance(block.mlp.gelu, OpenCLIPQuickGELU):
                block.mlp.gelu = QuickGELU()

    @property
    def width(self) -> int:
        """D, width of the tokens."""
        return self.visual.ln_post.weight.shape[0]

    @property
    def embed_width(self) -> int:
        """E, width of the joint space."""
        return self.visual.proj.shape[1]

    @property
    def num_layers(self) -> int:
        """L, number of transformer blocks."""
        return len(self.visual.transformer.resblocks)

    @property
    def image_size(self) -> int:
        """Side of the square input frames in pixels."""
        return self.visual.image_size[0]

    def count_layers_above(self, name: str) -> int:
        """Return the number of layers between a parameter of this module and its output.

        It is 0 after the blocks, 1 in the last block, L + 1 in the embedding.
        """
        blocks = "visual.transformer.resblocks."
        if name.startswith(blocks):
            return self.num_layers - int(name.removeprefix(blocks).partition(".")[0])
        return 0 if name.startswith(("visual.ln_post.", "visual.proj")) else self.num_layers + 1

    def embed_patches(self, frames: Tensor) -> Tensor:
        """Return the tokens (N, P, D) that enter the first block, Eq. (1), of frames (N, 3, H, W).

        The class token comes first, then the patches.
        """
        visual = self.visual
        if layers.prefers_few_kernels(frames):
            kernel = visual.conv1.weight  # (D, 3, s, s)
            patches = F.linear(unfold_patches(frames, kernel.shape[-1]), kernel.flatten(1))
        else:
            patches = visual.conv1(frames).flatten(2).transpose(1, 2)  # (N, P - 1, D)
        class_token = visual.class_embedding.to(patches.dtype).expand(len(frames), 1, -1)
        tokens = torch.cat([class_token, patches], dim=1) + visual.positional_embedding
        return visual.ln_pre(tokens)

    def forward(self, clips: Tensor, interfit: Iterable[nn.Module] | None = None) -> Tensor:
        """Embed each frame of clips (B, T, 3, H, W), normalised, into the joint space, (B, T, E).

        `interfit` has one interaction layer per block, which adds a token to each frame. The
        embeddings are not normalised.
        """
        batch, num_frames = clips.shape[:2]
        tokens = self.embed_patches(clips.flatten(0, 1))  # (B * T, P, D)
        blocks = self.visual.transformer.resblocks
        interaction_layers = [None] * len(blocks) if interfit is None else interfit
        factors = self._draw_factors(batch, clips.device)
        changes = [None] * len(blocks) if self.lora is None else self.lora
        parts = zip(blocks, interaction_layers, factors, changes, strict=True)
        for block, layer, block_factors, lora in parts:
            tokens = self.run_block(block, layer, tokens, num_frames, block_factors, lora)
        features = self.visual.ln_post(tokens[:, 0])  # (B * T, D)
        return (features @ self.visual.proj).unflatten(0, (batch, num_frames))

    def _draw_factors(self, batch: int, device: torch.device) -> list[Tensor | None]:
        """Draw the factors of the two branches of each block, (2, B); None without drop path."""
        if not self.training or self.drop_path == 0:
            return [None] * self.num_layers
        rates = [self.drop_path * i / max(1, self.num_layers - 1) for i in range(self.num_layers)]
        return [
            torch.stack([draw_factors(batch, rate, device) for _ in range(2)]) for rate in rates
        ]


def run_block(
    block: Any,
    layer: nn.Module | None,
    tokens: Tensor,
    num_frames: int,
    factors: Tensor | None = None,
    lora: Any = None,
) -> Tensor:
    """Run one transformer block over the tokens of all frames.

    Every block runs through this one function, so that it is compiled once for all of them.

    Args:
        block: A block of open_clip's tower.
        layer: Computes one interaction token per frame, which joins the keys and values of the
            block's attention and is dropped before the MLP. Source: Eq. (3); that the token skips
            the MLP follows from the paper's FLOPs. None leaves the frames independent.
        tokens: (B * T, P, D).
        num_frames: T.
        factors: (2, B) factors of the attention branch and the MLP branch for each clip; None
            leaves both as they are.
        lora: Low-rank changes of the block's projections by name; None for none.

    Returns:
        (B * T, P, D).
    """
    attended = tokens
    if layer is not None:
        class_tokens = tokens[:, 0].unflatten(0, (-1, num_frames))  # (B, T, D)
        interaction = layer(class_tokens).flatten(0, 1)  # (B * T, D)
        attended = torch.cat([tokens, interaction.unsqueeze(1)], dim=1)
    branch = block.ls_1(_attend(block, tokens.shape[1], attended, lora))
    tokens = tokens + (branch if factors is None else scale_clips(branch, factors[0], num_frames))
    branch = block.ls_2(_run_mlp(block.mlp, block.ln_2(tokens), lora))
    return tokens + (branch if factors is None else scale_clips(branch, factors[1], num_frames))


def _run_mlp(mlp: Any, tokens: Tensor, lora: Any) -> Tensor:
    if lora is None or "fc" not in lora:
        output: Tensor = mlp(tokens)
        return output
    hidden = mlp.gelu(mlp.c_fc(tokens) + lora["fc"](tokens))
    return torch.add(mlp.c_proj(hidden), lora["proj"](hidden))


def _change(projected: Tensor, inputs: Tensor, lora: Any, name: str) -> Tensor:
    """Add a projection's low-rank change to its output, if it has one."""
    if lora is None or name not in lora:
        return projected
    return projected + lora[name](inputs)


def _attend(block: Any, num_queries: int, tokens: Tensor, lora: Any) -> Tensor:
    """Attend from the first tokens to all tokens, as `block.attn` does."""
    normed, attn = block.ln_1(tokens), block.attn
    query_weight, key_value_weight = attn.in_proj_weight.split([attn.embed_dim, 2 * attn.embed_dim])
    query_bias, key_value_bias = attn.in_proj_bias.split([attn.embed_dim, 2 * attn.embed_dim])
    queries = F.linear(normed[:, :num_queries], query_weight, query_bias)
    keys, values = F.linear(normed, key_value_weight, key_value_bias).chunk(2, dim=-1)
    queries = _change(queries, normed[:, :num_queries], lora, "q")
    keys, values = _change(keys, normed, lora, "k"), _change(values, normed, lora, "v")
    heads = [x.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for x in (queries, keys, values)]
    attended = attention(*heads).transpose(1, 2).flatten(2)  # (N, num_queries, D)
    output = F.linear(attended, attn.out_proj.weight, attn.out_proj.bias)
    return _change(output, attended, lora, "out")
