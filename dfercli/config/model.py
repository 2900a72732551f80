"""The settings of a model, and the names of all methods."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dfercli.config.networks import NETWORKS, ON_CLIP, PIXELS, SAMPLING, explain_missing
from dfercli.errors import ConfigError, require_at_least, require_known

OF_CLIP = ("dfer", "zero-shot", "coop", "cocoop", "dfer-clip", "dfer-clip-no-tm")
"""Our method, and those of Table 5 that it is compared with."""

STILL_IMAGE = "still-image"
"""The method of the built-in model, whose weights come with the package."""

METHODS = (*OF_CLIP, STILL_IMAGE, *NETWORKS)
"""All methods: also a network that reads single frames, and the systems of Table 1."""

UNTRAINED = ("zero-shot", STILL_IMAGE)
"""Methods without training."""

ONLY_PROMPTS = ("coop", "cocoop")
"""Methods that train prompts only: embeddings of videos stay those of CLIP."""

WITHOUT_CLIP = (STILL_IMAGE, *(name for name in NETWORKS if name not in ON_CLIP))
"""Methods that use no part of CLIP: `backbone` does not affect them."""

CROSS_ATTENTIONS = ("paired", "all")

MSTA_FCS = ("positions", "channels")
"""What the three FC of MSTA mix, Eq. (5): the T // 3 positions of a channel, or the channels of a
position."""

RANDOM_WEIGHTS = "random"
NAMED_PARTS = (
    "interfit",
    "msta",
    "biehpro",
    "text",
    "text_prompt",
    "visual_prompt",
    "num_blocks",
    "cross_attention",
)
"""Settings of our method that are part of a variant's name."""

PARTS = (*NAMED_PARTS, "msta_fc", "msta_pools", "near_clip_init", "prompt_scale")
"""Settings that only our method has. `msta_fc` is in the variant's name and also in the recipe: the
folders of runs of older versions do not say that their MSTA mixes channels."""

BLOCKS = re.compile(r"[1-9](,[1-9]){3}")

OF_ONE_NETWORK = {"spatial_layers": "former-dfer", "stage_blocks": "ial"}
"""Settings that only one network has."""

OF_NETWORKS = ("image_size", "width", *OF_ONE_NETWORK)
"""Settings that only networks without CLIP have."""

LEAST_SIZE = 16
"""Least side of a frame in pixels: what all networks can read (our choice)."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model to build.

    Attributes:
        method: `dfer`, the paper's method. Of Table 5: `zero-shot`, `coop`, `cocoop`, `dfer-clip`
            and `dfer-clip-no-tm`. Of Table 1, each with the recipe of its own paper as defaults:
            convolutions over time, `c3d`, `p3d`, `i3d`, `r3d-hara`, `r2plus1d`, `ec-stfl`,
            `m3dfel`; networks over frames, `resnet18-lstm`, `resnet18-vit`, `former-dfer`,
            `t-esfl`, `est`, `freq-hd`, `logo-former`, `ial`, `aen`, `lstpnet`; on CLIP, `cliper`.
            Not in the paper: torchvision's `r3d-18`, `mc3-18` and `r2plus1d-18`; and
            `still-image`, the built-in network.
        backbone: Name of an open_clip ViT. Source: section 4.1, ViT-B/32.
        weights: Initial weights: an open_clip tag, a local file trained with the backbone's
            activation, or `random`; for networks without CLIP `imagenet`, `kinetics400`, a local
            file or `random`.
        num_frames: Frames per clip, T. Source: section 4.1.
        sampling: Which frames of a video are read: `segments`, one from each of T equal segments;
            `8x2` and the like, two consecutive frames from each of eight; `even`, at equal
            distances; `snippets`, from overlapping parts of the video; or `freq-hd`, where the
            face moves most.
        pixels: Pixel statistics to normalise frames with: `clip`, `imagenet`, `kinetics`, or
            `plain` for values from 0 to 1.
        image_size: Side in pixels of the frames that a network without CLIP reads; 0 takes the
            size in its paper.
        width: Multiplier of all layer widths of a network without CLIP; below 1 for quick trials.
        spatial_layers: Transformer layers of former-dfer within frames.
        stage_blocks: Residual blocks in each stage of ial, separated by commas.
        interfit: Inter-frame interaction tokens (section 3.1).
        msta: Multi-scale temporal aggregation (section 3.2); off averages the frames.
        biehpro: Bidirectional enhanced prompts (section 3.3).
        text: Classify by text features; off uses a linear head (Table 3).
        text_prompt: Generate text prompts (Table 5, TP).
        visual_prompt: Generate visual prompts (Table 5, VP).
        num_blocks: Number of BiEhPro blocks, M. Source: section 4.1.
        cross_attention: Rows that a prompt attends to: `paired`, those of its own class, as in
            Eq. (10); or `all`, those of all classes.
        msta_fc: What the three FC layers of MSTA mix: `positions`, the T/3 positions of each
            channel, as in Eq. (5); or `channels`, the channels of each position.
        msta_pools: Kernel and stride of the three pooling branches. Source: section 3.2.
        near_clip_init: Initialise new layers so that the model starts close to CLIP (our choice).
        prompt_scale: Initial weight of the generated prompts, alpha and beta in Eq. (11) (our
            choice).
        prompt_template: Text for CLIP; `{}` stands for the class name. Source: section 4.1.
    """

    method: str = field(default="dfer", metadata={"names": ("--model",)})
    backbone: str = "ViT-B-32-quickgelu"
    weights: str = "openai"
    num_frames: int = 8
    sampling: str = "segments"
    pixels: str = "clip"
    image_size: int = 0
    width: float = 1.0
    spatial_layers: int = 1
    stage_blocks: str = "1,1,1,3"
    interfit: bool = True
    msta: bool = True
    biehpro: bool = True
    text: bool = True
    text_prompt: bool = True
    visual_prompt: bool = True
    num_blocks: int = 2
    cross_attention: str = "paired"
    msta_fc: str = "positions"
    msta_pools: tuple[tuple[int, int], ...] = ((5, 3), (5, 3), (7, 1))
    near_clip_init: bool = True
    prompt_scale: float = 0.1
    prompt_template: str = "{}"

    def __post_init__(self) -> None:
        if isinstance(self.prompt_scale, int):  # such as 1 in JSON; it becomes a parameter
            object.__setattr__(self, "prompt_scale", float(self.prompt_scale))
        explain_missing(self.method)
        require_known("model", self.method, METHODS)
        require_at_least("num_frames", self.num_frames, 1)
        self._check_reading()
        require_at_least("num_blocks", self.num_blocks, 1)
        require_known("cross_attention", self.cross_attention, CROSS_ATTENTIONS)
        require_known("msta_fc", self.msta_fc, MSTA_FCS)
        if "{}" not in self.prompt_template:
            raise ConfigError(f"prompt_template {self.prompt_template!r} has no {{}} for the class")
        if self.biehpro and not self.text:
            raise ConfigError("biehpro needs text, which is off; turn biehpro off too")
        if self.biehpro and not (self.text_prompt or self.visual_prompt):
            raise ConfigError(
                "biehpro needs text_prompt or visual_prompt; turn one of them on, or biehpro off"
            )
        self._check_parts()

    def _check_reading(self) -> None:
        """Check what a model reads, and the sizes of networks without CLIP."""
        if SAMPLING.fullmatch(self.sampling) is None:
            raise ConfigError(
                f"no sampling {self.sampling!r}; known: segments, even, snippets, freq-hd, or "
                f"segments times consecutive frames, such as 8x2"
            )
        require_known("pixels", self.pixels, tuple(PIXELS))
        if self.image_size != 0:
            require_at_least("image_size", self.image_size, LEAST_SIZE)
        require_at_least("spatial_layers", self.spatial_layers, 1)
        if not 0 < self.width <= 4:
            raise ConfigError(f"width is {self.width}; it must be above 0, at most 4")
        if BLOCKS.fullmatch(self.stage_blocks) is None:
            raise ConfigError(
                f"stage_blocks is {self.stage_blocks!r}; it must be four numbers from 1 to 9, such "
                f"as 1,1,1,3"
            )
        network = NETWORKS.get(self.method)
        if network is not None and self.image_size == 0:
            object.__setattr__(self, "image_size", network.image_size)
        has_sizes = network is not None and self.method not in ON_CLIP
        unused = [] if has_sizes else [*OF_NETWORKS]
        unused += [name for name, method in OF_ONE_NETWORK.items() if method != self.method]
        self._refuse(unused)

    def _check_parts(self) -> None:
        """Refuse settings of our modules for a method without them."""
        if self.method != "dfer":
            self._refuse(PARTS)

    def _refuse(self, names: Collection[str]) -> None:
        """Refuse settings that are not at their default."""
        for setting in fields(self):
            if setting.name in names and getattr(self, setting.name) != setting.default:
                raise ConfigError(
                    f"{setting.name} has no effect with --model {self.method}; remove it"
                )

    @classmethod
    def complete(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return stored settings with `msta_fc`, which older versions did not store.

        MSTA mixed channels before the setting existed. Models without MSTA get the default, which
        does not affect them.
        """
        has_msta = stored.get("method", cls.method) == "dfer" and stored.get("msta", cls.msta)
        return {"msta_fc": "channels" if has_msta else cls.msta_fc, **stored}

    @property
    def variant(self) -> str:
        """Name of the model in run folders and tables, such as `interfit-msta` or `baseline`."""
        if self.method != "dfer":
            return self.method
        modules = [name for name in ("interfit", "msta", "biehpro") if getattr(self, name)]
        parts = ["full"] if len(modules) == 3 else modules or ["baseline"]
        if self.msta and self.msta_fc == "channels":
            parts.append("channels")
        if not self.text:
            parts.append("notext")
        if self.biehpro:
            if self.num_blocks != ModelConfig.num_blocks:
                parts.append(f"m{self.num_blocks}")
            if not self.visual_prompt:
                parts.append("tp")
            if not self.text_prompt:
                parts.append("vp")
            if self.cross_attention == "all":
                parts.append("all")
        return "-".join(parts)
