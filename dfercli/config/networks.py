"""The systems of the paper's Table 1: what each reads, and where its weights come from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from dfercli.errors import ConfigError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Statistics of CLIP's training pixels by channel. Source: Radford et al., 2021."""

Statistics = tuple[tuple[float, float, float], tuple[float, float, float]]

PIXELS: Mapping[str, Statistics] = {
    "clip": (CLIP_MEAN, CLIP_STD),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "kinetics": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
    "plain": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
"""Mean and standard deviation of pixels in [0, 1] by channel. Source: CLIP, and torchvision for
its weights."""

SAMPLING = re.compile(r"(?:([1-9][0-9]?)x([1-9][0-9]?)|segments|even|snippets|freq-hd)")
"""Names of samplings; numbers are segments and consecutive frames in each."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a system of Table 1 reads.

    Attributes:
        num_frames: T.
        image_size: Side of a frame in pixels.
        sampling: How the frames are chosen.
        pixels: How they are normalised.
        weights: Kinds of initial weights that it can take, the default first; a file is possible
            besides if `file` is set.
        file: Whether it takes the weights of a ResNet18 from a file.
    """

    num_frames: int = 16
    image_size: int = 112
    sampling: str = "segments"
    pixels: str = "plain"
    weights: tuple[str, ...] = ("random",)
    file: bool = False


PRETRAINED = ("imagenet", "random")
KINETICS = ("kinetics400", "random")

EST = Network(num_frames=35, image_size=224, sampling="snippets", weights=PRETRAINED, file=True)

NETWORKS: Mapping[str, Network] = {
    "c3d": Network(),
    "p3d": Network(image_size=160),
    "i3d": Network(),
    "r3d-hara": Network(),
    "r2plus1d": Network(),
    "r3d-18": Network(pixels="kinetics", weights=KINETICS),
    "mc3-18": Network(pixels="kinetics", weights=KINETICS),
    "r2plus1d-18": Network(pixels="kinetics", weights=KINETICS),
    "resnet18-lstm": Network(pixels="imagenet", weights=PRETRAINED, file=True),
    "resnet18-vit": Network(pixels="imagenet", weights=PRETRAINED, file=True),
    "ec-stfl": Network(),
    "former-dfer": Network(sampling="8x2"),
    "t-esfl": EST,
    "est": EST,
    "freq-hd": Network(sampling="freq-hd", pixels="imagenet", weights=PRETRAINED, file=True),
    "logo-former": Network(sampling="8x2", weights=PRETRAINED, file=True),
    "ial": Network(),
    "aen": Network(sampling="8x2", weights=PRETRAINED, file=True),
    "m3dfel": Network(sampling="even", weights=KINETICS),
    "cliper": Network(image_size=0, pixels="clip", weights=("openai", "random")),
    "lstpnet": Network(image_size=224, sampling="8x2", weights=PRETRAINED, file=True),
}
"""The systems that can be trained, by the name of `--model`."""

ON_CLIP = ("cliper",)
"""Those that are built on CLIP: their image size and weights are those of the backbone."""

WITH_LOSSES = ("t-esfl", "est", "logo-former", "ial", "aen", "cliper")
"""Those with losses besides the cross-entropy, which need one label per clip. EC-STFL is a setting
of the recipe."""

OWN_LOSS = ("aen", "cliper")
"""Those whose own losses are the whole loss."""

STAGED = ("aen", "cliper")
"""Those that train other parts first."""

MISSING: Mapping[str, str] = {
    "dpcnet": "its modules and sizes are not public",
    "mscm": "the sizes of its correlation module are not public",
    "t-mep": "it needs sound and captions, and its definition is not public",
}
"""Systems of Table 1 that cannot be built, and why."""


def explain_missing(name: str) -> None:
    """Refuse a system that cannot be built.

    Raises:
        ConfigError: It is one of `MISSING`.
    """
    if name in MISSING:
        raise ConfigError(
            f"no model {name}: {MISSING[name]}; `dfer ablate --table 1` quotes its results"
        )
