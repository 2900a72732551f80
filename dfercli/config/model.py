"""The model: its method, backbone and modules."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dfercli.errors import ConfigError, require_at_least, require_known

METHODS = ("dfer", "zero-shot", "coop", "cocoop", "dfer-clip", "dfer-clip-no-tm")
"""Our method and those it is compared with in Table 5."""

UNTRAINED = ("zero-shot",)
"""Methods without training."""

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

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Statistics of CLIP's training pixels by channel. Source: Radford et al., 2021."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model to build.

    Attributes:
        method: Method on top of the backbone: `dfer` or one that it is compared with (Table 5).
        backbone: Name of an open_clip ViT. Source: section 4.1, ViT-B/32.
        weights: An open_clip tag, a local file trained with the backbone's activation, or `random`.
        num_frames: Frames per clip, T. Source: section 4.1.
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
        require_known("model", self.method, METHODS)
        require_at_least("num_frames", self.num_frames, 1)
        require_at_least("num_blocks", self.num_blocks, 1)
        require_known("cross_attention", self.cross_attention, CROSS_ATTENTIONS)
        require_known("msta_fc", self.msta_fc, MSTA_FCS)
        if "{}" not in self.prompt_template:
            raise ConfigError(f"prompt_template {self.prompt_template!r} has no {{}} for the class")
        if self.biehpro and not self.text:
            raise ConfigError("without text there are no prompts; turn biehpro off too")
        if self.biehpro and not (self.text_prompt or self.visual_prompt):
            raise ConfigError("biehpro without text_prompt and visual_prompt; turn biehpro off")
        self._check_parts()

    def _check_parts(self) -> None:
        """Refuse settings of our modules for a method without them."""
        if self.method == "dfer":
            return
        for setting in fields(self):
            if setting.name in PARTS and getattr(self, setting.name) != setting.default:
                raise ConfigError(
                    f"{setting.name} is a setting of our method; it has no effect with "
                    f"--model {self.method}: leave it out"
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
