"""Zero-shot CLIP: nothing is trained. Source: Radford et al., 2021, section 3.1."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dfercli.config import ModelConfig
from dfercli.models.backbone import CLIPBackbone
from dfercli.models.base import ExpressionModel, first_settings, write_prompts
from dfercli.models.pretrained import encode_prompts


class ZeroShotCLIP(ExpressionModel):
    """Compares the mean of the frame embeddings with the text features of the classes.

    On a single frame this is CLIP's own classifier; the mean over frames is our reading.

    Args:
        backbone: See `ExpressionModel`, as for `logit_scale` and `settings`.
        text_features: (K, E) normalised features of the classes.
    """

    text_features: Tensor

    def __init__(
        self,
        backbone: CLIPBackbone,
        text_features: Tensor,
        logit_scale: Tensor,
        settings: dict[str, Any],
    ) -> None:
        super().__init__(backbone, logit_scale, settings)
        self.register_buffer("text_features", text_features)
        self.requires_grad_(False)

    def classify(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K) of video embeddings (B, E)."""
        return self.compare(videos, self.text_features)


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Any) -> ZeroShotCLIP:
    """Build the model from CLIP's visual tower and the text features of the classes."""
    texts = encode_prompts(towers, config.backbone, write_prompts(config, class_names))
    settings = first_settings(config, class_names)
    return ZeroShotCLIP(CLIPBackbone(towers.visual), texts, towers.logit_scale, settings)
