"""CoOp: context vectors that are learnt, in front of each class's name.

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
from dfercli.models.text import PromptEncoder, encode_words

NUM_CONTEXTS = 16
"""C. Source: section 4.1."""

CONTEXT_STD = 0.02
"""Of the normal distribution that contexts start from. Source: section 4.1."""


class CoOp(ExpressionModel):
    """Learns contexts that all classes share; both towers are frozen.

    The name stands at the end of the prompt, Eq. (2). Their code puts a full stop behind it, their
    equation does not; the template of the prompts can.

    Args:
        backbone: CLIP's visual tower.
        prompts: Embeds the classes' prompts.
        logit_scale: (), log of the inverse temperature.
        settings: What a checkpoint must know: the entries of `config.json`.
    """

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
        """Give the logits (B, K) of embedded videos (B, E)."""
        return self.compare(videos, self.prompts(self.contexts))


def assemble(config: ModelConfig, class_names: Sequence[str], clip: Any) -> CoOp:
    """Join both of CLIP's towers by contexts.

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
    return CoOp(CLIPBackbone(clip.visual), prompts, clip.logit_scale, settings)
