"""CoOp: learnt context vectors in front of each class name.

Source: Zhou et al., 2022, Learning to prompt for vision-language models, IJCV, sections 3.2 and
4.1; its code for what the text leaves open.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfercli.config import ModelConfig
from dfercli.models.backbone import CLIPBackbone
from dfercli.models.base import ExpressionModel, first_settings, write_prompts
from dfercli.models.text import PROMPT_TEXTS, PromptEncoder, tokenize_words

NUM_CONTEXTS = 16
"""C. Source: section 4.1."""

CONTEXT_STD = 0.02
"""Standard deviation of the initial contexts. Source: section 4.1."""


class CoOp(ExpressionModel):
    """Learns contexts that all classes share; both towers are frozen.

    The class name ends the prompt, as in Eq. (2). Their code adds a full stop; to do so, put one
    into the prompt template.

    Args:
        backbone: See `ExpressionModel`, as for `logit_scale` and `settings`.
        prompts: Embeds the prompts of the classes.
    """

    class_texts = PROMPT_TEXTS

    def __init__(
        self,
        backbone: CLIPBackbone,
        prompts: PromptEncoder,
        logit_scale: Tensor,
        settings: dict[str, Any],
    ) -> None:
        super().__init__(backbone, logit_scale, settings)
        self.prompts = prompts
        self.requires_grad_(False)
        self.contexts = nn.Parameter(CONTEXT_STD * torch.randn(prompts.num_contexts, prompts.width))

    def classify(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K) of video embeddings (B, E)."""
        return self.compare(videos, self.prompts(self.contexts))


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Any) -> CoOp:
    """Build the model from both of CLIP's towers and new contexts.

    Raises:
        ConfigError: A class name leaves no room for contexts.
    """
    words = write_prompts(config, class_names)
    tokens, num_contexts = tokenize_words(towers, config.backbone, words, NUM_CONTEXTS)
    prompts = PromptEncoder(towers, tokens, num_contexts)
    settings = first_settings(config, class_names) | {"num_contexts": num_contexts}
    return CoOp(CLIPBackbone(towers.visual), prompts, towers.logit_scale, settings)
