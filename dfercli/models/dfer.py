"""The paper's model as in its figure 3: InterFIT, MSTA, BiEhPro, and similarity to class names.

clips                                                    (B, T, 3, H, W)
│ (a) CLIP's visual tower, with an interaction token of InterFIT in each block
frame embeddings Z                                       (B, T, E)
│ (b) MSTA, or the mean over frames
video embedding V                                        (B, E)
│ (c) BiEhPro, with the text features (K, E)
one text and one video embedding per class               (B, K, E) twice
│ cosine x exp(logit_scale)
logits                                                   (B, K)
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.models.backbone import CLIPBackbone
from dfercli.models.base import ExpressionModel, first_settings, write_prompts
from dfercli.models.biehpro import BiEhPro
from dfercli.models.interfit import InterFIT
from dfercli.models.msta import MSTA
from dfercli.models.pretrained import encode_prompts


class DFERModel(ExpressionModel):
    """The paper's model. A module that is None is switched off and has no weights.

    Args:
        backbone: CLIP's visual tower.
        interfit: Interaction between frames; None encodes each frame independently.
        msta: Aggregation over frames; None takes their mean.
        biehpro: Textual and visual prompts; None compares the video with the plain text features.
        text_features: (K, E) normalised features of the classes, not trained; None with a head.
        logit_scale: () initial log of the inverse temperature; None with a head.
        head: Linear layer from (B, E) to (B, K) that replaces the text (Table 3).
        settings: Entries of the checkpoint's `config.json`.
    """

    text_features: Tensor
    class_texts = ("text_features",)
    class_parameters = ("head.weight", "head.bias")

    def __init__(
        self,
        backbone: CLIPBackbone,
        interfit: InterFIT | None = None,
        msta: MSTA | None = None,
        biehpro: BiEhPro | None = None,
        text_features: Tensor | None = None,
        logit_scale: Tensor | None = None,
        head: nn.Linear | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(backbone, logit_scale, settings)
        self.interfit = interfit
        self.msta = msta
        self.biehpro = biehpro
        self.head = head
        self.register_buffer("text_features", text_features)

    def encode_video(self, clips: Tensor) -> Tensor:
        """Embed clips (B, T, 3, H, W), normalised, as videos V (B, E)."""
        frames = F.normalize(self.backbone(clips, self.interfit), dim=-1)  # Z, (B, T, E)
        return frames.mean(dim=1) if self.msta is None else self.msta(frames)

    def classify(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K) of video embeddings V (B, E)."""
        if self.head is not None:
            return self.head(videos)
        texts = self.text_features  # (K, E)
        if self.biehpro is not None:
            texts, videos = self.biehpro(texts, videos)  # (B, K, E) twice
        return self.compare(videos, texts)


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Any) -> DFERModel:
    """Build the model on CLIP's visual tower, with the modules that a configuration switches on.

    Args:
        config: Which modules to use, and their settings.
        class_names: The K classes; their text features are computed once, Eq. (9).
        towers: An open_clip model, whose visual tower becomes part of the model.
    """
    backbone = CLIPBackbone(towers.visual)
    width = backbone.embed_width
    texts = scale = interfit = msta = biehpro = head = None
    if config.text:
        texts = encode_prompts(towers, config.backbone, write_prompts(config, class_names))
        scale = towers.logit_scale
    if config.interfit:
        interfit = InterFIT(backbone.width, backbone.num_layers, config.near_clip_init)
    if config.msta:
        pools, near_clip = config.msta_pools, config.near_clip_init
        msta = MSTA(width, config.num_frames, pools, near_clip, config.msta_fc)
    if config.biehpro:
        biehpro = BiEhPro(
            width,
            config.num_blocks,
            config.cross_attention,
            config.text_prompt,
            config.visual_prompt,
            config.prompt_scale,
        )
    if not config.text:
        head = nn.Linear(width, len(class_names))
    settings = first_settings(config, class_names)
    return DFERModel(backbone, interfit, msta, biehpro, texts, scale, head, settings)


def contrastive_loss(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
    """Return the loss of a batch, Eq. (12): cross-entropy of the scaled similarities.

    Args:
        logits: (B, K).
        labels: (B,) int64, or (B, K) shares of each class.
        reduction: `mean` over the clips, or `none`: (B,).
    """
    return F.cross_entropy(logits, labels, reduction=reduction)
