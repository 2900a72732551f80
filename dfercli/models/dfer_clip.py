"""DFER-CLIP: learnt contexts before descriptions of faces, and a transformer over frames.

Source: Zhao and Patras, 2023, Prompting visual-language models for dynamic facial expression
recognition, BMVC; its code for what the text leaves open.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dfercli.config import ModelConfig
from dfercli.models.backbone import CLIPBackbone
from dfercli.models.base import ExpressionModel, first_settings, write_prompts
from dfercli.models.coop import CONTEXT_STD
from dfercli.models.layers import attention
from dfercli.models.text import PROMPT_TEXTS, PromptEncoder, tokenize_words

DESCRIPTORS = {
    # AU 6, 12
    "happiness": "smiling mouth with its corners pulled up, raised cheeks and narrowed eyes",
    # AU 1, 4, 15
    "sadness": "drooping lip corners, with the inner ends of the eyebrows raised and knitted",
    # none
    "neutral": "relaxed face at rest, with level eyebrows and a closed, straight mouth",
    # AU 4, 5, 7, 23
    "anger": "lowered eyebrows over glaring eyes, with tense eyelids and lips pressed tight",
    # AU 1, 2, 5, 26
    "surprise": "raised eyebrows, eyes wide open and a dropped jaw",
    # AU 9, 15, 16
    "disgust": "wrinkled nose, with the lower lip pushed down and the lip corners turned down",
    # AU 1, 2, 4, 5, 7, 20, 26
    "fear": "staring wide eyes under raised, tense eyebrows, with lips stretched and parted",
    # AU 12 and 14 on one side
    "contempt": "one-sided smirk, with one lip corner tightened and raised",
    # AU 1, 4, 5, 20
    "anxiety": "worried frown over tense eyes, with lips slightly stretched",
    # AU 1, 4, 15, 43
    "helplessness": "slack mouth and tired eyelids, with the inner ends of the eyebrows raised",
    # AU 15, 17, 64
    "disappointment": "pouting chin and a downward look, with lip corners slightly turned down",
}
"""Description of the face for each class of DFEW, FERV39k and MAFW."""


def describe_classes(class_names: Sequence[str]) -> list[str]:
    """Return the description of each class; a class without one is described by its name."""
    return [DESCRIPTORS.get(name.strip().lower(), name) for name in class_names]


NUM_CONTEXTS = 8
"""C, context vectors of each class. Source: their scripts, for all three datasets."""

LOGIT_SCALE = math.log(1 / 0.01)
"""Log of the inverse temperature, which is fixed. Source: their code."""

HEAD_WIDTH = 64
"""Width of a head of the temporal model: 8 heads at E = 512. Source: their code."""


class DFERCLIP(ExpressionModel):
    """Learns the visual tower, the contexts and the temporal model; the text tower is frozen.

    Args:
        backbone: See `ExpressionModel`, as for `settings`.
        prompts: Embeds the prompts of the classes.
        temporal: Aggregates the frames of a clip; None takes their mean.
    """

    class_texts = PROMPT_TEXTS
    class_parameters = ("contexts",)

    def __init__(
        self,
        backbone: CLIPBackbone,
        prompts: PromptEncoder,
        temporal: "TemporalModel | None",
        settings: dict[str, Any],
    ) -> None:
        super().__init__(backbone, torch.tensor(LOGIT_SCALE), settings)
        self.logit_scale.requires_grad_(False)
        self.prompts = prompts
        self.temporal = temporal
        shape = len(self.class_names), prompts.num_contexts, prompts.width
        self.contexts = nn.Parameter(CONTEXT_STD * torch.randn(shape))

    def resize(self, settings: Mapping[str, Any]) -> None:
        """Make room for contexts and descriptions of other lengths, as in imported checkpoints."""
        super().resize(settings)
        if "prompt_tokens" not in settings:
            return
        self.prompts.num_contexts = settings["num_contexts"]
        shape = len(self.class_names), settings["num_contexts"], self.prompts.width
        self.contexts = nn.Parameter(self.contexts.new_empty(shape))

    def encode_video(self, clips: Tensor) -> Tensor:
        """Embed clips (B, T, 3, H, W), normalised, as (B, E); frame embeddings keep their norms."""
        frames = self.backbone(clips)  # (B, T, E)
        return frames.mean(dim=1) if self.temporal is None else self.temporal(frames)

    def classify(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K) of video embeddings (B, E)."""
        return self.compare(videos, self.prompts(self.contexts))


class TemporalModel(nn.Module):
    """A transformer block over a class token and the frames of a clip; returns the class token.

    Depth, widths and initialisation are those of their code, whose E is 512; another E keeps the
    proportions (our choice).

    Args:
        width: E.
        num_frames: T.
    """

    def __init__(self, width: int, num_frames: int) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.randn(width))
        self.positions = nn.Parameter(torch.randn(num_frames + 1, width))
        self.norm_attention = nn.LayerNorm(width)
        self.attention = TemporalAttention(width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(approximate="tanh"), nn.Linear(2 * width, width)
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Map frame embeddings (B, T, E) to (B, E)."""
        class_tokens = self.class_token.expand(len(frames), 1, -1)
        tokens = torch.cat([class_tokens, frames], dim=1) + self.positions  # (B, T + 1, E)
        tokens = tokens + self.attention(self.norm_attention(tokens))
        tokens = tokens + self.mlp(self.norm_mlp(tokens))
        return tokens[:, 0]


class TemporalAttention(nn.Module):
    """Self-attention without biases of queries, keys and values. Source: their code."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_heads = max(1, width // HEAD_WIDTH)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T + 1, E) to (B, T + 1, E)."""
        parts = self.query_key_value(tokens).chunk(3, dim=-1)
        heads = [part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts]
        return self.output(attention(*heads).transpose(1, 2).flatten(2))


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Any) -> DFERCLIP:
    """Build the model from both of CLIP's towers, new contexts, and a temporal model if wanted.

    Descriptions are cut to the room beside the contexts, as CLIP's tokenizer cuts texts.
    """
    words = write_prompts(config, describe_classes(class_names))
    tokens, num_contexts = tokenize_words(towers, config.backbone, words, NUM_CONTEXTS, cut=True)
    prompts = PromptEncoder(towers, tokens, num_contexts)
    settings = first_settings(config, class_names) | {"num_contexts": num_contexts}
    backbone = CLIPBackbone(towers.visual)
    temporal = None
    if config.method == "dfer-clip":
        temporal = TemporalModel(backbone.embed_width, config.num_frames)
    return DFERCLIP(backbone, prompts, temporal, settings)
