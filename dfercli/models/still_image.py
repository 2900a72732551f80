"""A small network that reads single frames: the built-in model, and a baseline without motion.

Source: FaceExpressionNet of @vladmandic/face-api 1.7.15, whose weights are in `built_in/`; see
`THIRD_PARTY.md`. The cut of the face, the mean over frames and the temperature are our choices.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import CLIP_MEAN, CLIP_STD, ModelConfig
from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel, first_settings, read_weights
from dfercli.models.settings import BUILT_IN_FOLDER, WEIGHTS_FILE

EXPRESSIONS = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
"""Classes of the weights in the package, in order."""

OTHER_NAMES = {
    "happy": "happiness",
    "joy": "happiness",
    "sad": "sadness",
    "angry": "anger",
    "fearful": "fear",
    "afraid": "fear",
    "disgusted": "disgust",
    "surprised": "surprise",
}
"""Names that datasets give to these classes besides ours."""

UNKNOWN_LOGIT = -60.0
"""Logit of a class that the network does not know, before tempering; it is never predicted."""

TEMPERATURE = 5.0
"""Divides the logits. Measured on 1,147 public stills, where the network is right in 55 % of the
cases at a mean confidence of 88 %: the best of the temperatures tried."""

READ_PX = 112
"""Side of the square that the network reads."""

IMAGE_SIZE = 152
"""Side of the crop in whose middle that square lies. It is 0.74 of the crop's side; MTCNN's box,
with which the network was measured, is 0.77 of it. On faces of one video and five stills, cuts from
0.70 to 0.80 agree with the emotions shown; 0.60 and 0.90 do less often."""

MEAN = (122.782, 117.001, 104.298)
"""Mean of the network's training pixels by channel, in [0, 255]."""

WIDTHS = (32, 64, 128, 256)
"""Channels of its four blocks."""


class Separable(nn.Sequential):
    """A 3 × 3 convolution of each channel, then a 1 × 1 convolution of all.

    With stride 2 the image is padded below and to the right only, as TensorFlow does.
    """

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__(
            nn.ZeroPad2d((0, 1, 0, 1) if stride == 2 else 1),
            nn.Conv2d(channels, channels, 3, stride, groups=channels, bias=False),
            nn.Conv2d(channels, width, 1),
        )


class DenseBlock(nn.Module):
    """Four convolutions: each reads the sum of all outputs before it; the first halves the size.

    Args:
        channels: Channels of the input.
        width: Channels of the output.
        plain: Whether the first convolution is not separable.
    """

    def __init__(self, channels: int, width: int, plain: bool = False) -> None:
        super().__init__()
        halve = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, width, 3, 2))
        self.halve = halve if plain else Separable(channels, width, stride=2)
        self.add = nn.ModuleList(Separable(width, width) for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        """Return (N, width, H / 2, W / 2) of images (N, channels, H, W)."""
        total = F.relu(self.halve(images))
        output = total
        for convolution in self.add:
            total = total + convolution(output)
            output = F.relu(total)
        return output


class StillImageNet(nn.Module):
    """Embeds each frame by itself: four dense blocks, then the mean over all positions."""

    image_size = IMAGE_SIZE

    def __init__(self) -> None:
        super().__init__()
        sizes = zip((3, *WIDTHS), WIDTHS, strict=False)  # of input and output
        self.blocks = nn.Sequential(
            *(DenseBlock(channels, width, plain=channels == 3) for channels, width in sizes)
        )

    def forward(self, clips: Tensor) -> Tensor:
        """Return the embeddings (B, T, 256) of clips (B, T, 3, 152, 152), normalised for CLIP."""
        edge = (IMAGE_SIZE - READ_PX) // 2
        faces = clips[..., edge : edge + READ_PX, edge : edge + READ_PX].flatten(0, 1)
        scale, shift = _pixel_change(clips)
        return self.blocks(faces * scale + shift).mean(dim=(2, 3)).unflatten(0, clips.shape[:2])


def _pixel_change(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return what turns pixels normalised for CLIP into the network's, as factor and summand."""
    std, mean, own = like.new_tensor([CLIP_STD, CLIP_MEAN, MEAN])[..., None, None]
    return std, mean - own / 255


class StillImageModel(ExpressionModel):
    """Takes the mean of the logits over frames, and divides it by a temperature.

    Nothing is trained. Classes that the network does not know are never predicted.

    Args:
        settings: Entries of the checkpoint's `config.json`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(StillImageNet(), settings=settings)
        self.head = nn.Linear(WIDTHS[-1], len(settings["class_names"]))
        self.requires_grad_(False)

    def encode_video(self, clips: Tensor) -> Tensor:
        """Return the mean (B, 256) over the embeddings of the frames of clips (B, T, 3, H, W)."""
        features: Tensor = self.backbone(clips)
        return features.mean(dim=1)

    def classify(self, videos: Tensor) -> Tensor:
        """Return the tempered logits (B, K) of video embeddings (B, 256)."""
        logits: Tensor = self.head(videos)
        return logits / TEMPERATURE


def load_built_in() -> dict[str, Tensor]:
    """Return the weights in the package: a `StillImageModel` that knows `EXPRESSIONS`."""
    return read_weights(BUILT_IN_FOLDER / WEIGHTS_FILE)


def assemble(
    config: ModelConfig, class_names: Sequence[str], weights: Mapping[str, Tensor] | None
) -> StillImageModel:
    """Build the model for the classes of a dataset.

    Args:
        config: Only `method` and `num_frames` matter.
        class_names: K classes; at least two are known.
        weights: Result of `load_built_in`; None leaves the model as it is initialised.

    Raises:
        ConfigError: The network knows fewer than two of the classes.
    """
    known = {name: find_expression(name) for name in class_names}
    if sum(row is not None for row in known.values()) < 2:
        raise ConfigError(
            f"--model still-image knows {', '.join(EXPRESSIONS)}; the data has "
            f"{', '.join(class_names)}: fewer than two in common"
        )
    model = StillImageModel(first_settings(config, class_names))
    if weights is not None:
        model.load_state_dict({**weights, **_choose_rows(weights, list(known.values()))})
    return model


def find_expression(class_name: str) -> int | None:
    """Return the index of a class in `EXPRESSIONS`; None if the network does not know it."""
    name = class_name.strip().lower()
    name = OTHER_NAMES.get(name, name)
    return EXPRESSIONS.index(name) if name in EXPRESSIONS else None


def _choose_rows(weights: Mapping[str, Tensor], rows: Sequence[int | None]) -> dict[str, Tensor]:
    """Return the head's weights for the classes of a dataset, from those for `EXPRESSIONS`."""
    weight, bias = weights["head.weight"], weights["head.bias"]
    none = (torch.zeros_like(weight[0]), torch.tensor(UNKNOWN_LOGIT))
    chosen = [none if row is None else (weight[row], bias[row]) for row in rows]
    return {
        "head.weight": torch.stack([weight for weight, _ in chosen]),
        "head.bias": torch.stack([bias for _, bias in chosen]),
    }
