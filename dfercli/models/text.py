"""CLIP's frozen text tower, read from vectors: prompts that are partly learnt."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.errors import ConfigError, WeightsError
from dfercli.models.pretrained import tokenize

ENDS = 2
"""Tokens that every prompt has beside its context and its words: its start and its end."""


class PromptEncoder(nn.Module):
    """Embeds prompts of K classes: a start, C context vectors, the class's words, an end.

    Nothing of it learns. The words' embeddings are kept, CLIP's table of all words is not. Prompts
    are cut behind the end of the longest: attention in the tower looks back alone, so that what
    follows an end changes nothing.

    Args:
        clip: An open_clip model, whose text tower becomes part of this.
        tokens: (K, R) of the words with their start and end, from `tokenize`.
        num_contexts: C.
    """

    start: Tensor
    words: Tensor
    ends: Tensor

    def __init__(self, clip: Any, tokens: Tensor, num_contexts: int) -> None:
        super().__init__()
        ends = find_ends(tokens)
        length = int(ends.max()) + 1
        with torch.no_grad():
            embeds = clip.token_embedding(tokens[:, :length].to(clip.positional_embedding.device))
        self.num_contexts = num_contexts
        self.transformer = clip.transformer
        self.positional_embedding = clip.positional_embedding
        self.norm = clip.ln_final
        self.projection = clip.text_projection  # (D', E)
        self.register_buffer("start", embeds[0, 0].clone())  # (D',)
        self.register_buffer("words", embeds[:, 1:].clone())  # (K, R - 1, D')
        self.register_buffer("ends", (ends + num_contexts).to(embeds.device))  # (K,)
        self.requires_grad_(False)

    @property
    def width(self) -> int:
        """D', width of the tower."""
        return self.positional_embedding.shape[1]

    def forward(self, contexts: Tensor) -> Tensor:
        """Embed the prompts of all classes into the joint space.

        Args:
            contexts: (C, D') for all classes, (K, C, D') by class, or (B, 1, C, D') by clip.

        Returns:
            (K, E), or (B, K, E); normalised.
        """
        num_classes, num_words, width = self.words.shape
        contexts = contexts.expand(*contexts.shape[:-3], num_classes, -1, -1)  # (..., K, C, D')
        start = self.start.expand(*contexts.shape[:-2], 1, -1)
        words = self.words.expand(*contexts.shape[:-2], num_words, width)
        prompts = torch.cat([start, contexts, words], dim=-2)  # (..., K, C + R, D')
        embeds = self._read(prompts.flatten(0, -3)).unflatten(0, prompts.shape[:-2])
        return F.normalize(embeds, dim=-1)

    def _read(self, prompts: Tensor) -> Tensor:
        """Run the tower over prompts (B * K, C + R, D'), giving (B * K, E)."""
        length = prompts.shape[1]
        later = torch.full((length, length), float("-inf"), device=prompts.device).triu(1)
        tokens = prompts + self.positional_embedding[:length]
        features = self.norm(self.transformer(tokens, attn_mask=later))
        ends = self.ends.repeat(len(prompts) // len(self.ends))
        at_ends = features[torch.arange(len(prompts), device=prompts.device), ends]
        return at_ends @ self.projection


def encode_words(
    clip: Any, backbone: str, texts: Sequence[str], num_contexts: int, cut: bool = False
) -> PromptEncoder:
    """Give what embeds prompts of the classes' words, with as many contexts as fit.

    Args and errors are those of `tokenize_words`.
    """
    tokens, fitting = tokenize_words(clip, backbone, texts, num_contexts, cut)
    return PromptEncoder(clip, tokens, fitting)


def find_ends(tokens: Tensor) -> Tensor:
    """Give the position of each text's end, (N,): its token has the highest number of all."""
    return tokens.argmax(dim=-1)


def tokenize_words(
    clip: Any, backbone: str, texts: Sequence[str], num_contexts: int, cut: bool = False
) -> tuple[Tensor, int]:
    """Give the tokens of the classes' words, and as many context vectors as fit before them.

    A tower reads `context_length` tokens. CLIP's 77 have room for all that the methods put into
    them; in a smaller tower the words go first and there are fewer contexts than the method has,
    which its checkpoint's settings and count of parameters show.

    Args:
        clip: An open_clip model.
        backbone: Its name.
        texts: K texts.
        num_contexts: C, as many as the method has.
        cut: Whether long texts are cut as CLIP's tokenizer does, leaving the contexts their room.

    Returns:
        Tokens (K, R), and C.

    Raises:
        ConfigError: There is no room for a single context vector.
        WeightsError: The tokens are not CLIP's, as those of the worldwide models.
    """
    if clip.text_pool_type != "argmax":
        raise WeightsError(
            f"prompts cannot be learnt with {backbone}, whose tokens are not CLIP's; take "
            f"another backbone, or --model dfer"
        )
    room = int(clip.context_length) - ENDS
    longest = 1 if cut else int(find_ends(tokenize(backbone, texts)).max()) - 1
    fitting = min(num_contexts, room - longest)
    if fitting < 1:
        raise ConfigError(
            f"the text tower of {backbone} reads {clip.context_length} tokens, the longest class "
            f"name and its ends have {longest + ENDS}: no room for prompts; shorten the name"
        )
    return tokenize(backbone, texts, int(clip.context_length) - fitting), fitting
