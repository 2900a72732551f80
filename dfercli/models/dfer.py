"""The paper's figure 3: frames, InterFIT, MSTA, BiEhPro, and their likeness to the classes' names.

clips (B, T, 3, H, W)
  └ backbone, each block joined by InterFIT's tokens      frame embeddings (B, T, E)
      └ MSTA, or the mean over frames                     video embedding  (B, E)
          └ BiEhPro with the text features (K, E)         pairs            (B, K, E) twice
              └ cosine x exp(logit_scale)                 logits           (B, K)
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
    """The paper's model. A module that is None is switched off.

    Args:
        backbone: CLIP's visual tower.
        interfit: Interaction between frames; None encodes each frame independently.
        msta: Aggregation over frames; None takes their mean.
        biehpro: Prompts; None compares the video with the text features as they are.
        text_features: (K, E) normalised features of the classes. They are not trained.
        logit_scale: () initial log of the inverse temperature; None with a head.
        head: Linear layer (B, E) to (B, K) that replaces the text (Table 3).
        settings: Entries of the checkpoint's `config.json`.
    """

    text_features: Tensor

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
        """Embed clips (B, T, 3, H, W), normalised, as V (B, E)."""
        frames = F.normalize(self.backbone(clips, self.interfit), dim=-1)  # Z, (B, T, E)
        return frames.mean(dim=1) if self.msta is None else self.msta(frames)

    def classify(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K) of embedded videos V (B, E)."""
        if self.head is not None:
            return self.head(videos)
        texts = self.text_features  # (K, E)
        if self.biehpro is not None:
            texts, videos = self.biehpro(texts, videos)  # (B, K, E) twice
        return self.compare(videos, texts)


def assemble(config: ModelConfig, class_names: Sequence[str], clip: Any) -> DFERModel:
    """Join CLIP's visual tower with the modules that a configuration switches on.

    Args:
        config: Which modules.
        class_names: The K classes; their text features are computed once, Eq. (9).
        clip: An open_clip model, whose visual tower becomes part of the model.
    """
    backbone = CLIPBackbone(clip.visual)
    texts = scale = interfit = msta = biehpro = head = None
    if config.text:
        texts = encode_prompts(clip, config.backbone, write_prompts(config, class_names))
        scale = clip.logit_scale
    if config.interfit:
        interfit = InterFIT(backbone.width, backbone.num_layers, config.near_clip_init)
    if config.msta:
        msta = MSTA(
            backbone.embed_width,
            config.num_frames,
            config.msta_pools,
            config.near_clip_init,
            config.msta_fc,
        )
    if config.biehpro:
        biehpro = BiEhPro(
            backbone.embed_width,
            config.num_blocks,
            config.cross_attention,
            config.text_prompt,
            config.visual_prompt,
            config.prompt_scale,
        )
    if not config.text:
        head = nn.Linear(backbone.embed_width, len(class_names))
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
