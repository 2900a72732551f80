"""CLIP's frozen text tower with prompts that are partly learnt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.errors import ConfigError, WeightsError
from dfercli.models.pretrained import tokenize

ENDS = 2
"""Tokens of a prompt besides its contexts and its words: the start and the end."""

PROMPT_TEXTS = ("prompts.words", "prompts.ends")
"""Tensors of a model's `prompts`, a `PromptEncoder`, with one row per class."""


class PromptEncoder(nn.Module):
    """Embeds the prompts of K classes: a start, C context vectors, the words of the class, an end.

    All of it is frozen. It keeps the embeddings of the words, not CLIP's whole table. Prompts are
    cut after the end of the longest one: attention in the tower is causal, so that nothing after
    an end has an effect.

    Args:
        towers: An open_clip model, whose text tower becomes part of this module.
        tokens: (K, R) tokens of the words with start and end, from `tokenize`.
        num_contexts: C.
    """

    start: Tensor
    words: Tensor
    ends: Tensor

    def __init__(self, towers: Any, tokens: Tensor, num_contexts: int) -> None:
        super().__init__()
        ends = find_ends(tokens)
        length = int(ends.max()) + 1
        with torch.no_grad():
            embeds = towers.token_embedding(
                tokens[:, :length].to(towers.positional_embedding.device)
            )
        self.num_contexts = num_contexts
        self.transformer = towers.transformer
        self.positional_embedding = towers.positional_embedding
        self.norm = towers.ln_final
        self.projection = towers.text_projection  # (D', E)
        self.register_buffer("start", embeds[0, 0].clone())  # (D',)
        self.register_buffer("words", embeds[:, 1:].clone())  # (K, R - 1, D')
        self.register_buffer("ends", (ends + num_contexts).to(embeds.device))  # (K,)
        self.requires_grad_(False)

    @property
    def width(self) -> int:
        """D', width of the text tower."""
        return self.positional_embedding.shape[1]

    def forward(self, contexts: Tensor) -> Tensor:
        """Embed the prompts of all classes into the joint space: (K, E) or (B, K, E), normalised.

        Contexts are (C, D') for all classes, (K, C, D') per class, or (B, 1, C, D') per clip.
        """
        num_classes, num_words, width = self.words.shape
        contexts = contexts.expand(*contexts.shape[:-3], num_classes, -1, -1)  # (..., K, C, D')
        start = self.start.expand(*contexts.shape[:-2], 1, -1)
        words = self.words.expand(*contexts.shape[:-2], num_words, width)
        prompts = torch.cat([start, contexts, words], dim=-2)  # (..., K, C + R, D')
        embeds = self._encode(prompts.flatten(0, -3)).unflatten(0, prompts.shape[:-2])
        return F.normalize(embeds, dim=-1)

    def _encode(self, prompts: Tensor) -> Tensor:
        """Encode prompts (B * K, C + R, D') as (B * K, E)."""
        length = prompts.shape[1]
        later = torch.full((length, length), float("-inf"), device=prompts.device).triu(1)
        tokens = prompts + self.positional_embedding[:length]
        features = self.norm(self.transformer(tokens, attn_mask=later))
        ends = self.ends.repeat(len(prompts) // len(self.ends))
        at_ends = features[torch.arange(len(prompts), device=prompts.device), ends]
        return at_ends @ self.projection


def find_ends(tokens: Tensor) -> Tensor:
    """Return the position of the end of each text, (N,): the end token has the highest number."""
    return tokens.argmax(dim=-1)


def tokenize_words(
    towers: Any, backbone: str, texts: Sequence[str], num_contexts: int, cut: bool = False
) -> tuple[Tensor, int]:
    """Return the tokens (K, R) of the classes' words, and how many context vectors fit before them.

    CLIP's text tower reads 77 tokens, enough for all methods. In a smaller tower the words take
    precedence, and there are fewer contexts than `num_contexts`; the checkpoint's settings record
    their number. With `cut`, long texts are cut, as by CLIP's tokenizer, rather than contexts
    dropped.

    Raises:
        ConfigError: There is no room for a single context vector.
        WeightsError: The backbone has tokens other than CLIP's, as MetaCLIP's worldwide models do.
    """
    if towers.text_pool_type != "argmax":
        raise WeightsError(
            f"prompts cannot be learnt with {backbone}, whose tokens are not CLIP's; use "
            f"another backbone, or --model dfer"
        )
    room = int(towers.context_length) - ENDS
    longest = 1 if cut else int(find_ends(tokenize(backbone, texts)).max()) - 1
    fitting = min(num_contexts, room - longest)
    if fitting < 1:
        raise ConfigError(
            f"the text tower of {backbone} reads {towers.context_length} tokens, but the longest "
            f"class name needs {longest + ENDS}, which leaves no room for prompts; shorten it"
        )
    return tokenize(backbone, texts, int(towers.context_length) - fitting), fitting
