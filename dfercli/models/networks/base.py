"""What all networks of Table 1 share: a backbone that embeds clips, and a classifier."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from dfercli.config import ModelConfig
from dfercli.models.base import ExpressionModel, first_settings


class VideoNetwork(ExpressionModel):
    """Embeds a clip by a network without CLIP, and classifies the embedding.

    Args:
        backbone: Maps clips (B, T, 3, H, W), normalised, to embeddings (B, F), with F in its
            attribute `features`.
        config: The model's configuration.
        class_names: The K classes.
        head: Maps (B, F) to logits (B, K); by default a linear layer.
    """

    class_parameters: ClassVar[tuple[str, ...]] = ("head.weight", "head.bias")

    def __init__(
        self,
        backbone: nn.Module,
        config: ModelConfig,
        class_names: Sequence[str],
        head: nn.Module | None = None,
    ) -> None:
        super().__init__(backbone, settings=first_settings(config, class_names))
        if head is None:
            head = nn.Linear(int(backbone.features), len(class_names))  # type: ignore[arg-type]
        self.head = head

    def encode_video(self, clips: Tensor) -> Tensor:
        """Embed clips (B, T, 3, H, W), normalised, as (B, F)."""
        videos: Tensor = self.backbone(clips)
        return videos

    def classify(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K) of video embeddings (B, F)."""
        logits: Tensor = self.head(videos)
        return logits


class FrameNetwork(nn.Module):
    """A trunk that reads single frames, and a head over their embeddings.

    Args:
        trunk: Maps frames (N, 3, H, W) to (N, F'), or to maps for the head.
        temporal: Maps (B, T, F') to (B, F), with F in its attribute `features`.
    """

    def __init__(self, trunk: nn.Module, temporal: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.temporal = temporal
        self.features: int = temporal.features  # type: ignore[assignment]

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, T, 3, H, W) to (B, F)."""
        frames = self.trunk(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        videos: Tensor = self.temporal(frames)
        return videos


def initialise_convolutions(network: nn.Module) -> None:
    """Draw the weights of all convolutions as He et al. (2015) do for ReLUs; biases become 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def scale_width(width: int, factor: float, multiple: int = 1) -> int:
    """Return a layer width times a factor, as a multiple of a number, at least that number."""
    return max(1, round(width * factor / multiple)) * multiple


Weights = Mapping[str, Tensor] | None
"""Initial weights of a trunk, from `load_weights`; None leaves it as it was initialised."""
