"""CLIPER: several learnt prompts for each class, then a fine-tuned image tower; no model of time.

Source: Li et al., 2023, CLIPER: a unified vision-language framework for in-the-wild facial
expression recognition, and its code, which reads images only. Its settings for videos are not
public: the number of free vectors and T are our choices, as is the mean of the prompts' logits.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.errors import ConfigError
from dfercli.models.backbone import CLIPBackbone
from dfercli.models.base import AuxiliaryLoss, ExpressionModel, Outputs, first_settings
from dfercli.models.coop import CONTEXT_STD
from dfercli.models.pretrained import tokenize
from dfercli.models.text import PROMPT_TEXTS, PromptEncoder, find_ends, tokenize_words

NUM_PROMPTS = 5
"""S, prompts of each class."""

NUM_VECTORS = 4
"""Free vectors of a prompt."""

BEGINNING = "an ID photo of"
"""What each prompt begins with."""

LOGIT_SCALE = math.log(1 / 0.01)
"""Log of the inverse temperature, which is fixed."""


class CLIPER(ExpressionModel):
    """Learns S prompts per class in stage 1, and the image tower in stage 2.

    Args:
        backbone: See `ExpressionModel`, as for `settings`.
        prompts: Embeds the prompts, whose words are all in the contexts.
        beginning: (W, D') embeddings of the words that each prompt begins with.
        num_vectors: Free vectors of a prompt.
    """

    class_texts = PROMPT_TEXTS
    class_parameters = ("vectors",)
    undecayed = ("vectors",)
    own_loss: ClassVar[bool] = True

    beginning: Tensor

    def __init__(
        self,
        backbone: CLIPBackbone,
        prompts: PromptEncoder,
        beginning: Tensor,
        num_vectors: int,
        settings: dict[str, Any],
    ) -> None:
        super().__init__(backbone, torch.tensor(LOGIT_SCALE), settings)
        self.prompts = prompts
        self.register_buffer("beginning", beginning)
        shape = len(settings["class_names"]), NUM_PROMPTS, num_vectors, prompts.width
        self.vectors = nn.Parameter(CONTEXT_STD * torch.randn(shape))
        self.set_stage(2)

    def set_stage(self, stage: int) -> None:
        """Choose what is trained: the prompts in stage 1, the image tower in stage 2."""
        self.requires_grad_(False)
        if stage == 1:
            self.vectors.requires_grad_(True)
        else:
            self.backbone.requires_grad_(True)

    def classify(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K) of video embeddings (B, E): the mean over a class's prompts."""
        return self.classify_prompts(videos).mean(dim=2)

    def classify_prompts(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K, S) of each prompt for video embeddings (B, E)."""
        num_classes = len(self.vectors)
        beginning = self.beginning.expand(num_classes, NUM_PROMPTS, -1, -1)
        contexts = torch.cat([beginning, self.vectors], dim=2)  # (K, S, C, D')
        texts = self.prompts(contexts.transpose(0, 1)).transpose(0, 1)  # (K, S, E)
        return self.compare(videos, texts.flatten(0, 1)).unflatten(1, (num_classes, NUM_PROMPTS))

    def run(self, clips: Tensor) -> Outputs:
        """Return the logits of classes and of prompts."""
        videos = self.encode_video(clips)
        prompt_logits = self.classify_prompts(videos)
        extras = {"videos": videos, "prompt_logits": prompt_logits}
        return Outputs(prompt_logits.mean(dim=2), extras)

    def auxiliary_losses(self) -> list[tuple[AuxiliaryLoss, float]]:
        """Return both losses, which are the whole loss."""
        return [(margin_loss, 1.0), (fine_grained_loss, 1.0)]


def margin_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of classes, each represented by one of its prompts.

    This is the lowest logit of the right class, and the highest of each other class.
    """
    logits = outputs.extras["prompt_logits"]
    right = F.one_hot(labels, logits.shape[1]).bool()
    chosen = torch.where(right, logits.amin(dim=2), logits.amax(dim=2))
    return F.cross_entropy(chosen, labels, reduction="none")


def fine_grained_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of the best prompt of the right class against other classes'.

    A clip's weight is the inverse of the number of clips in the batch with the same best prompt;
    the mean over the batch is the weighted mean of its losses.
    """
    logits = outputs.extras["prompt_logits"]
    _, num_classes, num_prompts = logits.shape
    own = logits[torch.arange(len(labels), device=labels.device), labels]  # (B, S)
    best, chosen = own.max(dim=1)
    others = F.one_hot(labels, num_classes).bool().logical_not().unsqueeze(2)
    rivals = logits.masked_fill(~others, -torch.inf).flatten(1).logsumexp(dim=1)
    losses = torch.logaddexp(best, rivals) - best
    prompt = labels * num_prompts + chosen
    weights = 1 / (prompt[:, None] == prompt).sum(dim=1)
    return losses * weights * (len(labels) / weights.sum())


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Any) -> CLIPER:
    """Build the model from both of CLIP's towers and new prompts.

    Raises:
        ConfigError: The text tower leaves no room for free vectors.
    """
    with torch.no_grad():
        tokens = tokenize(config.backbone, [BEGINNING])
        words = tokens[:, 1 : int(find_ends(tokens))].to(towers.positional_embedding.device)
        beginning = towers.token_embedding(words)[0].clone()  # (W, D')
    nothing = [""] * len(class_names)
    wanted = len(beginning) + NUM_VECTORS
    tokens, num_contexts = tokenize_words(towers, config.backbone, nothing, wanted)
    num_vectors = num_contexts - len(beginning)
    if num_vectors < 1:
        raise ConfigError(f"the text tower of {config.backbone} has no room for CLIPER's prompts")
    prompts = PromptEncoder(towers, tokens, num_contexts)
    settings = first_settings(config, class_names)
    return CLIPER(CLIPBackbone(towers.visual), prompts, beginning, num_vectors, settings)
