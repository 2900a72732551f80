"""AEN: embeds clips at three levels of ResNet18, joins them, and learns from a teacher of frames.

clips                                                    (B, T, 3, H, W)
│ ResNet18, with vectors of its maps after stages 1 and 3
frame vectors: last, low, high                           (B, T, F), (B, T, V) twice
│ one temporal transformer each
clip vectors: last, low, high                            (B, F), (B, V) twice
│ attention from last to low, and from its result to high
vectors of sentiment and emotion                         (B, V) twice
│ heads of emotion (PL2) and of last (PG)
logits: 0.7 PL2 + 0.3 PG                                 (B, K)

A head of the high frame vectors is trained first (stage 1). Frozen, it is the teacher of stage 2.
The authors train it on still images; here it learns from the frames of the clips, each with the
label of its clip (our choice).

Source: Lee et al., 2023, Frame level emotion guided dynamic facial expression recognition with
emotion grouping, and its code for the sizes. Our choices, which leave the published number of
parameters as it is: the output layers of the attention; the ReLU between the convolutions of a
map; that the probability of a group is the sum of its classes' (the code takes the mean of their
logarithms); what the losses of summaries and intensities compare; and the shares of PL2 and PG in
the prediction, which are those of the loss (the code takes the best of eleven on the test set).
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import ModelConfig
from dfercli.errors import ConfigError
from dfercli.models.base import AuxiliaryLoss, ExpressionModel, Outputs, first_settings
from dfercli.models.networks.base import Weights, scale_width
from dfercli.models.networks.resnet import ResNet
from dfercli.models.networks.temporal import TemporalTransformer, TransformerLayer
from dfercli.models.still_image import EXPRESSIONS, find_expression

BLOCKS = (2, 1, 2, 2)
"""Residual blocks in each stage; ResNet18 has two in each."""

MAPS = (1, 4, 16)
"""Maps per stage that become its vector: (H / 4) * (W / 4) values after each stage."""

REDUCTION = 16
"""Pixels of a frame per position of the maps after stage 3."""

HEADS, MLP = 8, 1024
SPATIAL_DEPTH, SPATIAL_HEAD, SPATIAL_MLP = 4, 32, 512

OWN = 0.7
"""Share of PL1 and PL2 in their losses, and of PL2 in the prediction; the rest is that of PG."""

SENTIMENTS = 3
POSITIVE = ("happiness", "surprise")
NEUTRAL = ("neutral",)
"""Classes of two of the sentiments; all others are negative."""

CLASSIFICATION_WEIGHTS = (0.6, 1.4)
SUMMARY_WEIGHT = 0.4
INTENSITY_WEIGHTS = (0.7, 0.3)
"""Weights of the losses of sentiment and emotion, of summaries, and of their intensities."""


class Vectors(NamedTuple):
    """What the backbone computes of a clip.

    Attributes:
        frames: Vectors of frames: last (B, T, F), low and high (B, T, V).
        clips: Vectors of clips: last (B, F), low and high (B, V).
        sentiment: (B, V).
        emotion: (B, V).
    """

    frames: list[Tensor]
    clips: list[Tensor]
    sentiment: Tensor
    emotion: Tensor


class MapVector(nn.Sequential):
    """Turns maps (N, C, H, W) into vectors (N, M * H * W) by two 1 x 1 convolutions."""

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 1), nn.ReLU(), nn.Conv2d(channels, maps, 1), nn.Flatten()
        )


class TopDown(nn.Module):
    """Attention of a vector of one level to the values of a vector of another.

    Args:
        above: A, width of the vector that asks.
        width: V, width of the vector that is asked.
    """

    def __init__(self, above: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(above, width)
        self.output = nn.Linear(width, width)
        self.shortcut = nn.Identity() if above == width else nn.Linear(above, width)

    def forward(self, above: Tensor, vector: Tensor) -> Tensor:
        """Map (B, A) and (B, V) to (B, V)."""
        products = self.query(above).unsqueeze(2) * vector.unsqueeze(1)  # (B, V, V)
        attended = (products.softmax(dim=-1) @ vector.unsqueeze(2)).squeeze(2)
        joined: Tensor = self.output(attended) + self.shortcut(above)
        return joined


class AffectivityNetwork(nn.Module):
    """Embeds clips as vectors at several levels.

    Args:
        image_size: Side of the frames in pixels, a multiple of 16.
        num_frames: T.
        width: Factor of all widths, except that of the vectors of maps, V.
    """

    def __init__(self, image_size: int, num_frames: int, width: float) -> None:
        super().__init__()
        self.trunk = ResNet(BLOCKS, width)
        last, side = self.trunk.features, image_size // REDUCTION
        self.features = last
        self.map_width = MAPS[2] * side * side  # V
        heads, mlp_width = scale_width(HEADS, width), scale_width(MLP, width)

        def over_time(features: int) -> TemporalTransformer:
            return TemporalTransformer(features, num_frames, num_heads=heads, mlp_width=mlp_width)

        self.low, middle, self.high = map(MapVector, self.trunk.widths, MAPS)
        self.temporal = nn.ModuleList(map(over_time, (last, self.map_width, self.map_width)))
        self.to_sentiment = TopDown(last, self.map_width)
        self.to_emotion = TopDown(self.map_width, self.map_width)
        channels = self.trunk.widths[2]
        spatial_mlp = scale_width(SPATIAL_MLP, width)
        # Parts of the published network, and of its number of parameters, that affect nothing: the
        # vectors of stage 2 and their transformer, one over positions, three linear layers.
        self.unused = nn.ModuleList(
            [
                middle,
                over_time(self.map_width),
                nn.Embedding(side * side, channels),
                *(
                    TransformerLayer(channels, heads, SPATIAL_HEAD, spatial_mlp)
                    for _ in range(SPATIAL_DEPTH)
                ),
                *(nn.Linear(self.map_width, self.map_width) for _ in range(3)),
            ]
        )

    def parts_of_teacher(self) -> list[nn.Module]:
        """Return the layers that `embed_frames` runs."""
        trunk = self.trunk
        return [trunk.conv1, trunk.bn1, trunk.layer1, trunk.layer2, trunk.layer3, self.high]

    def embed_frames(self, clips: Tensor) -> Tensor:
        """Return the high frame vectors (B, T, V), which the teacher reads."""
        maps = self.trunk.stem(clips.flatten(0, 1))
        for stage in self.trunk.stages()[:3]:
            maps = stage(maps)
        vectors: Tensor = self.high(maps).unflatten(0, clips.shape[:2])
        return vectors

    def embed(self, clips: Tensor) -> Vectors:
        """Return all vectors of clips (B, T, 3, H, W)."""
        maps = [self.trunk.stem(clips.flatten(0, 1))]
        for stage in self.trunk.stages():
            maps.append(stage(maps[-1]))
        vectors = (maps[4].mean(dim=(2, 3)), self.low(maps[1]), self.high(maps[3]))
        frames = [vector.unflatten(0, clips.shape[:2]) for vector in vectors]
        last, low, high = (
            over_time(level) for over_time, level in zip(self.temporal, frames, strict=True)
        )
        sentiment = self.to_sentiment(last, low)
        emotion = self.to_emotion(sentiment, high)
        return Vectors(frames, [last, low, high], sentiment, emotion)

    def forward(self, clips: Tensor) -> Tensor:
        """Return what the prediction needs, (B, F + V): the last clip vectors and emotions."""
        vectors = self.embed(clips)
        return torch.cat([vectors.clips[0], vectors.emotion], dim=1)


class AEN(ExpressionModel):
    """Classifies clips by their global vector and by that of their emotion.

    Attributes:
        sentiments: (K,) int64 sentiment of each class.
        stage: 1 while the teacher is trained, 2 while the rest is.
    """

    sentiments: Tensor
    class_parameters = (
        "global_head.weight",
        "global_head.bias",
        "emotion_head.weight",
        "emotion_head.bias",
        "teacher.weight",
        "teacher.bias",
        "sentiments",
    )
    own_loss: ClassVar[bool] = True
    """The auxiliary losses are the whole loss, without the cross-entropy of the logits."""

    def __init__(
        self, backbone: AffectivityNetwork, config: ModelConfig, class_names: Sequence[str]
    ) -> None:
        super().__init__(backbone, settings=first_settings(config, class_names))
        width, num_classes = backbone.map_width, len(class_names)
        self.global_head = nn.Linear(backbone.features, num_classes)
        self.sentiment_head = nn.Linear(width, SENTIMENTS)
        self.emotion_head = nn.Linear(width, num_classes)
        self.teacher = nn.Linear(width, num_classes)
        sentiments = [find_sentiment(name) for name in class_names]
        self.register_buffer("sentiments", torch.tensor(sentiments))
        self.set_stage(2)

    def set_stage(self, stage: int) -> None:
        """Choose what is trained: in stage 1 the teacher and what it reads, in stage 2 the rest.

        What the teacher reads is trained further in stage 2. Without stage 1 it is untrained.
        """
        self.stage = stage
        self.requires_grad_(stage == 2)
        self.teacher.requires_grad_(stage == 1)
        for part in self.backbone.parts_of_teacher():
            part.requires_grad_(True)
        self.backbone.unused.requires_grad_(False)

    def encode_video(self, clips: Tensor) -> Tensor:
        """Embed clips (B, T, 3, H, W), normalised, as (B, F + V)."""
        videos: Tensor = self.backbone(clips)
        return videos

    def classify(self, videos: Tensor) -> Tensor:
        """Return the logits (B, K) of video embeddings (B, F + V)."""
        last, emotion = videos.tensor_split([self.backbone.features], dim=1)
        return _mix(self.emotion_head(emotion), self.global_head(last))

    def run(self, clips: Tensor) -> Outputs:
        """Return the logits, and what the losses of the stage compare.

        In stage 1 these are the logits of frames, and their mean over frames.
        """
        if self.stage == 1:
            frame_logits = self.teacher(self.backbone.embed_frames(clips))
            return Outputs(frame_logits.mean(dim=1), {"frame_logits": frame_logits})
        vectors = self.backbone.embed(clips)
        extras = {
            "global_logits": self.global_head(vectors.clips[0]),
            "sentiment_logits": self.sentiment_head(vectors.sentiment),
            "emotion_logits": self.emotion_head(vectors.emotion),
            "frame_logits": self.teacher(vectors.frames[2]).detach(),
        }
        for level, (frames, clip) in enumerate(zip(vectors.frames, vectors.clips, strict=True)):
            extras |= {f"frames_{level}": frames, f"clip_{level}": clip}
        return Outputs(_mix(extras["emotion_logits"], extras["global_logits"]), extras)

    def auxiliary_losses(self) -> list[tuple[AuxiliaryLoss, float]]:
        """Return the losses of the stage and their weights."""
        if self.stage == 1:
            return [(frame_loss, 1.0)]
        return [
            (self.sentiment_loss, CLASSIFICATION_WEIGHTS[0]),
            (emotion_loss, CLASSIFICATION_WEIGHTS[1]),
            (summary_loss, SUMMARY_WEIGHT),
            (self.sentiment_intensity_loss, INTENSITY_WEIGHTS[0]),
            (emotion_intensity_loss, INTENSITY_WEIGHTS[1]),
        ]

    def sentiment_loss(self, outputs: Outputs, labels: Tensor) -> Tensor:
        """Return the cross-entropy (B,) of the sentiment, mixed with that of PG's groups."""
        right = self.sentiments[labels]
        own = F.cross_entropy(outputs.extras["sentiment_logits"], right, reduction="none")
        log_probs = outputs.extras["global_logits"].log_softmax(dim=-1)
        others = self.sentiments != right.unsqueeze(1)  # (B, K)
        return _mix(own, -log_probs.masked_fill(others, -torch.inf).logsumexp(dim=-1))

    def sentiment_intensity_loss(self, outputs: Outputs, labels: Tensor) -> Tensor:
        """Return the distance (B,) of sentiments from those that the teacher sees in frames."""
        seen = outputs.extras["frame_logits"].softmax(dim=-1).mean(dim=1)  # (B, K)
        groups = torch.eye(SENTIMENTS, dtype=seen.dtype, device=seen.device)[self.sentiments]
        return (outputs.extras["sentiment_logits"].sigmoid() - seen @ groups).abs().mean(dim=-1)


def find_sentiment(class_name: str) -> int:
    """Return 0 for positive classes, 1 for neutral and 2 for all others."""
    index = find_expression(class_name)
    name = class_name if index is None else EXPRESSIONS[index]
    return 0 if name in POSITIVE else 1 if name in NEUTRAL else 2


def frame_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy (B,) of a clip's frames, which have the label of the clip."""
    frame_logits = outputs.extras["frame_logits"]  # (B, T, K)
    frame_labels = labels.unsqueeze(1).expand(frame_logits.shape[:2])
    losses = F.cross_entropy(frame_logits.transpose(1, 2), frame_labels, reduction="none")
    return losses.mean(dim=1)


def emotion_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the cross-entropy (B,) of the emotion, mixed with that of PG."""
    own, shared = (
        F.cross_entropy(outputs.extras[name], labels, reduction="none")
        for name in ("emotion_logits", "global_logits")
    )
    return _mix(own, shared)


def summary_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the distance (B,) of clip vectors from weighted means of frame vectors.

    The weights of a clip's frames are the softmax over frames of the teacher's logits for its
    label. The distance is the mean over channels, summed over the three levels.
    """
    extras = outputs.extras
    logits = extras["frame_logits"].take_along_dim(labels.view(-1, 1, 1), dim=2)  # (B, T, 1)
    weights = logits.softmax(dim=1)
    distances = [
        (extras[f"clip_{level}"] - (weights * extras[f"frames_{level}"]).sum(dim=1)).abs().mean(-1)
        for level in range(3)
    ]
    return torch.stack(distances).sum(dim=0)


def emotion_intensity_loss(outputs: Outputs, labels: Tensor) -> Tensor:
    """Return the distance (B,) of emotions from those that the teacher sees in frames."""
    seen = outputs.extras["frame_logits"].softmax(dim=-1).mean(dim=1)
    return (outputs.extras["emotion_logits"].sigmoid() - seen).abs().mean(dim=-1)


def _mix(own: Tensor, shared: Tensor) -> Tensor:
    return OWN * own + (1 - OWN) * shared


def assemble(config: ModelConfig, class_names: Sequence[str], towers: Weights) -> AEN:
    """Build the model; `towers` are weights of ResNet18 with torchvision's names, or None.

    The one block that ResNet18 has and this network has not is skipped.

    Raises:
        ConfigError: The maps after the stages would not have vectors of the same width.
    """
    if config.image_size % REDUCTION:
        raise ConfigError(
            f"image_size is {config.image_size}; for --model {config.method} it must be a multiple "
            f"of {REDUCTION}"
        )
    backbone = AffectivityNetwork(config.image_size, config.num_frames, config.width)
    if towers is not None:
        names = backbone.trunk.state_dict().keys()
        backbone.trunk.load_state_dict({name: towers[name] for name in names})
    return AEN(backbone, config, class_names)
