"""CoCoOp: learnt context vectors, shifted by the embedding of each clip.

Source: Zhou et al., 2022, Conditional prompt learning for vision-language models, CVPR, sections
3.2 and 4; its code for what the text leaves open.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.models.backbone import CLIPBackbone
from dfercli.models.base import ExpressionModel, first_settings, write_prompts
from dfercli.models.pretrained import tokenize
from dfercli.models.text import PROMPT_TEXTS, PromptEncoder, tokenize_words

START_TEXT = "a photo of a"
"""Words that the contexts are initialised with. Source: section 4."""

NUM_CONTEXTS = 4
"""C: each of these words is one token."""

REDUCTION = 16
"""Factor by which the Meta-Net is narrower than its input. Source: section 3.2."""


class CoCoOp(ExpressionModel):
    """Learns contexts and a Meta-Net that shifts them by the clip; both towers are frozen.

    For ViT-B/32 their paper counts 34,816 parameters: contexts and the two matrices of the
    Meta-Net. With its biases, which their code has too, there are 35,360.

    Args:
        backbone: See `ExpressionModel`, as for `logit_scale` and `settings`.
        prompts: Embeds the prompts of the classes.
        contexts: (C, D') initial contexts.
    """

    class_texts = PROMPT_TEXTS

    def __init__(
        self,
        backbone: CLIPBackbone,
        prompts: PromptEncoder,
        contexts: Tensor,
        logit_scale: Tensor,
        settings: dict[str, Any],
    ) -> None:
        super().__init__(backbone, logit_scale, settings)
        self.prompts = prompts
        self.requires_grad_(False)
        self.contexts = nn.Parameter(contexts.detach().clone())
        hidden = backbone.embed_width // REDUCTION
        self.meta_net = nn.Sequential(
            nn.Linear(backbone.embed_width, hidden), nn.ReLU(), nn.Linear(hidden, prompts.width)
        )

    def classify(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K) of video embeddings (B, E)."""
        videos = F.normalize(videos, dim=-1)
        shifts = self.meta_net(videos)[:, None, None]  # (B, 1, 1, D')
        return self.compare(videos, self.prompts(self.contexts + shifts))  # texts (B, K, E)


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Any) -> CoCoOp:
    """Build the model from both of CLIP's towers and contexts that start as words.

    Raises:
        ConfigError: A class name leaves no room for contexts.
    """
    words = write_prompts(config, class_names)
    tokens, num_contexts = tokenize_words(towers, config.backbone, words, NUM_CONTEXTS)
    prompts = PromptEncoder(towers, tokens, num_contexts)
    settings = first_settings(config, class_names) | {"num_contexts": num_contexts}
    start = tokenize(config.backbone, [START_TEXT])[0, 1 : 1 + num_contexts]
    with torch.no_grad():
        contexts = towers.token_embedding(start.to(prompts.start.device))
    return CoCoOp(CLIPBackbone(towers.visual), prompts, contexts, towers.logit_scale, settings)
