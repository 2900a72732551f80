"""BiEhPro: textual and visual prompts that are generated from each other. Section 3.3."""

import torch
from torch import Tensor, nn

HEAD_WIDTH = 64
"""Width of a head of the `all` cross-attention: that of CLIP (our choice)."""


class BiEhPro(nn.Module):
    """Bidirectional enhanced prompt, Eq. (10) and (11).

    The video is repeated for each class, so that a textual and a visual prompt form a pair. Source:
    the superscripts of Eq. (10), Eq. (12), and the paper's FLOPs (14 rows per block for 7 classes).

    Args:
        width: E, width of the joint space.
        num_blocks: M.
        cross_attention: `paired`, Eq. (10) as printed; or `all`, where each row attends to the
            other side's rows of all classes.
        text_prompt: Generate textual prompts; if off, the text features stay as they are (Table 5).
        visual_prompt: Generate visual prompts; if off, the video embedding stays as it is
            (Table 5).
        prompt_scale: Initial value of alpha and beta (our choice).
    """

    def __init__(
        self,
        width: int,
        num_blocks: int = 2,
        cross_attention: str = "paired",
        text_prompt: bool = True,
        visual_prompt: bool = True,
        prompt_scale: float = 0.1,
    ) -> None:
        super().__init__()
        self.text_blocks = _blocks(width, num_blocks, cross_attention) if text_prompt else None
        self.visual_blocks = _blocks(width, num_blocks, cross_attention) if visual_prompt else None
        self.alpha = nn.Parameter(torch.tensor(prompt_scale)) if text_prompt else None
        self.beta = nn.Parameter(torch.tensor(prompt_scale)) if visual_prompt else None
        self.num_blocks = num_blocks

    def forward(self, text_embeds: Tensor, video_embeds: Tensor) -> tuple[Tensor, Tensor]:
        """Enhance texts (K, E) by the video (B, E), and the video by the texts, Eq. (11).

        Returns the enhanced texts and videos, both (B, K, E): one pair per class.
        """
        batch, num_classes = len(video_embeds), len(text_embeds)
        texts = text_prompts = text_embeds.expand(batch, -1, -1)
        videos = visual_prompts = video_embeds.unsqueeze(1).expand(-1, num_classes, -1)
        for m in range(self.num_blocks):
            previous_texts, previous_videos = text_prompts, visual_prompts
            if self.text_blocks is not None:
                text_prompts = self.text_blocks[m](previous_texts, previous_videos)
            if self.visual_blocks is not None:
                visual_prompts = self.visual_blocks[m](previous_videos, previous_texts)
        if self.alpha is not None:
            texts = texts + self.alpha * text_prompts
        if self.beta is not None:
            videos = videos + self.beta * visual_prompts
        return texts, videos


class PromptBlock(nn.Module):
    """Cross-attention (`paired` or `all`) and feed-forward network, both residual, Eq. (10)."""

    def __init__(self, width: int, cross_attention: str) -> None:
        super().__init__()
        attention = PairedCrossAttention if cross_attention == "paired" else CrossAttention
        self.attention = attention(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, prompts: Tensor, others: Tensor) -> Tensor:
        """Map prompts and those of the other side, both (B, K, E), to prompts (B, K, E)."""
        prompts = prompts + self.attention(prompts, others)
        return prompts + self.ffn(prompts)


class PairedCrossAttention(nn.Module):
    """Cross-attention of each row to the one row it is paired with.

    The softmax over a single key is 1 whatever the query, so that attention equals its value and
    output projections. Query and key weights could never learn and are left out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, queries: Tensor, others: Tensor) -> Tensor:
        """Map others (B, K, E) to (B, K, E); the queries have no effect."""
        return self.output(self.value(others))


class CrossAttention(nn.Module):
    """Cross-attention of each row to the rows of all classes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        num_heads = max(1, width // HEAD_WIDTH)
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(self, queries: Tensor, others: Tensor) -> Tensor:
        """Map queries and others, both (B, K, E), to (B, K, E)."""
        attended: Tensor
        attended, _ = self.attention(queries, others, others, need_weights=False)
        return attended


def _blocks(width: int, num_blocks: int, cross_attention: str) -> nn.ModuleList:
    return nn.ModuleList(PromptBlock(width, cross_attention) for _ in range(num_blocks))
