"""CoCoOp: learnt context vectors that are shifted by what each clip shows.

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
from dfercli.models.text import PromptEncoder, encode_words

START_TEXT = "a photo of a"
"""Words that the contexts start from. Source: section 4."""

NUM_CONTEXTS = 4
"""C: each of these words is one token."""

REDUCTION = 16
"""The Meta-Net is narrower than its input by this factor. Source: section 3.2."""


class CoCoOp(ExpressionModel):
    """Learns contexts, and a Meta-Net that shifts them all by the clip; both towers are frozen.

    Their table of parameters counts the Meta-Net's two matrices, 34,816 with the contexts of
    ViT-B/32; its biases, which their code has too, make it 35,360.

    Args:
        backbone: CLIP's visual tower.
        prompts: Embeds the classes' prompts.
        contexts: Start (C, D') of the contexts.
        logit_scale: (), log of the inverse temperature.
        settings: What a checkpoint must know: the entries of `config.json`.
    """

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
        """Give the logits (B, K) of embedded videos (B, E)."""
        videos = F.normalize(videos, dim=-1)
        shifts = self.meta_net(videos)[:, None, None]  # (B, 1, 1, D')
        return self.compare(videos, self.prompts(self.contexts + shifts))  # texts (B, K, E)


def assemble(config: ModelConfig, class_names: Sequence[str], clip: Any) -> CoCoOp:
    """Join both of CLIP's towers by contexts that start as words.

    Args:
        config: The backbone's name and the template of the classes' words.
        class_names: The K classes.
        clip: An open_clip model, whose towers become part of the model.

    Raises:
        ConfigError: A class's name leaves no room for contexts.
    """
    words = write_prompts(config, class_names)
    prompts = encode_words(clip, config.backbone, words, NUM_CONTEXTS)
    settings = first_settings(config, class_names) | {"num_contexts": prompts.num_contexts}
    start = tokenize(config.backbone, [START_TEXT])[0, 1 : 1 + prompts.num_contexts]
    with torch.no_grad():
        contexts = clip.token_embedding(start.to(prompts.start.device))
    return CoCoOp(CLIPBackbone(clip.visual), prompts, contexts, clip.logit_scale, settings)
