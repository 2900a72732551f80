"""All settings and their defaults, once: frozen dataclasses that travel as plain dictionaries.

Defaults are the paper's (section 4.1) where it states them; the others are marked "our choice".
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from dfercli.errors import ConfigError, require_at_least, require_known

CROSS_ATTENTIONS = ("paired", "all")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
MICRO_BATCHES = ("fixed", "auto")
TRACKERS = ("tensorboard", "wandb")
BALANCES = ("none", "oversample", "prior")
PRESETS = ("paper", "strong")
RANDOM_WEIGHTS = "random"
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of the pixels that CLIP was trained on, by channel. Source: Radford et al., 2021."""

Config = TypeVar("Config")


@dataclass(frozen=True)
class ModelConfig:
    """Which model to build.

    Attributes:
        backbone: Name of an open_clip ViT. Source: section 4.1, ViT-B/32.
        weights: An open_clip tag, a local file trained with the backbone's activation, or `random`.
        num_frames: T, frames a clip. Source: section 4.1.
        interfit: Inter-frame interaction tokens (section 3.1).
        msta: Multi-scale temporal aggregation (section 3.2); off means the mean over T.
        biehpro: Bidirectional enhanced prompts (section 3.3).
        text: Compare with text features; off means a linear head (Table 3).
        text_prompt: Generate textual prompts (Table 5, TP).
        visual_prompt: Generate visual prompts (Table 5, VP).
        num_blocks: M, BiEhPro blocks. Source: section 4.1.
        cross_attention: `paired` (Eq. 10 as printed) or `all` (over all classes' rows).
        msta_pools: Kernel and stride of the three pooling branches. Source: section 3.2.
        near_clip_init: New layers start so that the model starts near CLIP (our choice).
        prompt_scale: Start of alpha and beta in Eq. (11) (our choice).
        prompt_template: Text given to CLIP; `{}` stands for the class name. Source: section 4.1.
    """

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
    msta_pools: tuple[tuple[int, int], ...] = ((5, 3), (5, 3), (7, 1))
    near_clip_init: bool = True
    prompt_scale: float = 0.1
    prompt_template: str = "{}"

    def __post_init__(self) -> None:
        require_at_least("num_frames", self.num_frames, 1)
        require_at_least("num_blocks", self.num_blocks, 1)
        require_known("cross_attention", self.cross_attention, CROSS_ATTENTIONS)
        if "{}" not in self.prompt_template:
            raise ConfigError(f"prompt_template {self.prompt_template!r} has no {{}} for the class")
        if self.biehpro and not self.text:
            raise ConfigError("without text there are no prompts; turn biehpro off too")
        if self.biehpro and not (self.text_prompt or self.visual_prompt):
            raise ConfigError("biehpro without text_prompt and visual_prompt; turn biehpro off")

    @property
    def variant(self) -> str:
        """Name of this variant in run folders and tables, such as `interfit-msta` or `baseline`."""
        modules = [name for name in ("interfit", "msta", "biehpro") if getattr(self, name)]
        parts = ["full"] if len(modules) == 3 else modules or ["baseline"]
        if not self.text:
            parts.append("notext")
        if self.biehpro:
            parts += ["m" + str(self.num_blocks)] * (self.num_blocks != ModelConfig.num_blocks)
            parts += ["tp"] * (not self.visual_prompt) + ["vp"] * (not self.text_prompt)
            parts += ["all"] * (self.cross_attention == "all")
        return "-".join(parts)


@dataclass(frozen=True)
class DataConfig:
    """Which data to use.

    Attributes:
        dataset: Name of the manifest, and of the run folder.
        manifest: Path of the manifest's CSV.
        root: Folder that the manifest's paths are relative to.
        workers: Processes that load clips; 0 loads in the main process.
        kind: Public name of the kind of dataset, such as dfew; empty where it is the name.
        cache: Folder that decoded frames are kept in; None decodes the images each time.
    """

    dataset: str
    manifest: str
    root: str
    workers: int = 2
    kind: str = ""
    cache: str | None = None

    def __post_init__(self) -> None:
        require_at_least("workers", self.workers, 0)


@dataclass(frozen=True)
class AugmentConfig:
    """How training clips are changed; section 4.1 names the kinds, the strengths are our choice.

    Attributes:
        crop_scale: Least share of the frame's area that a random crop keeps (our choice).
        brightness: Strength of the jitter (our choice, as the next three).
        contrast: Strength of the jitter.
        saturation: Strength of the jitter.
        hue: Strength of the jitter, in turns of the colour wheel.
        flip: Probability of a horizontal flip.
    """

    crop_scale: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    flip: float = 0.5

    def __post_init__(self) -> None:
        for name, value in to_dict(self).items():
            most = 0.5 if name == "hue" else 1.0
            if not 0 <= value <= most or (name == "crop_scale" and value == 0):
                least = "above 0, at most" if name == "crop_scale" else "from 0 to"
                raise ConfigError(f"{name} is {value}; it must be {least} {most}")


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Source: section 4.1; what the paper does not have is off.

    Attributes:
        epochs: Passes over the training split.
        warmup_epochs: Epochs of linear warm-up before the cosine.
        batch_size: Clips a step of the optimizer, over all devices and accumulation steps.
        lr: Peak learning rate of AdamW, one for all parts.
        min_lr: Learning rate at the end of the cosine.
        weight_decay: On matrices only; none on norms, biases, scales (our choice).
        layer_decay: Factor of the rate from one block of the backbone to the one below; 1 is off.
        label_smoothing: Share of each label that is spread over all classes; 0 is off.
        mixup: Both parameters of the Beta that clips of a step are mixed by; 0 is off.
        drop_path: Rate of stochastic depth in the last block, falling to 0 in the first; 0 is off.
        balance: Of rare classes: `none`, `oversample` (draw each class as often), or `prior`
            (logits adjusted by the log of the classes' shares in the training loss).
    """

    epochs: int = 100
    warmup_epochs: int = 5
    batch_size: int = 32
    lr: float = 2e-5
    min_lr: float = 2e-7
    weight_decay: float = 5e-4
    layer_decay: float = 1.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    drop_path: float = 0.0
    balance: str = "none"

    def __post_init__(self) -> None:
        require_at_least("epochs", self.epochs, 1)
        require_at_least("warmup_epochs", self.warmup_epochs, 0)
        require_at_least("batch_size", self.batch_size, 1)
        if self.warmup_epochs >= self.epochs:
            raise ConfigError(
                f"warmup_epochs is {self.warmup_epochs}, epochs {self.epochs}; the rate would "
                f"never reach its peak: warm up for fewer"
            )
        self._require("lr", 0 < self.lr < math.inf, "above 0")
        self._require("min_lr", 0 <= self.min_lr <= self.lr, f"from 0 to lr, {self.lr}")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0")
        self._require("layer_decay", 0 < self.layer_decay <= 1, "above 0, at most 1")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0, below 1")
        self._require("mixup", 0 <= self.mixup < math.inf, "at least 0")
        self._require("drop_path", 0 <= self.drop_path < 1, "at least 0, below 1")
        require_known("balance", self.balance, BALANCES)

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ConfigError(f"{name} is {getattr(self, name)}; it must be {rule}")


@dataclass(frozen=True)
class ComputeConfig:
    """How the same run is computed and watched: never its recipe, at most its rounding.

    Attributes:
        device: `auto` (CUDA, else MPS, else the CPU), `cpu`, `cuda` or `mps`.
        precision: Of matrix products: `auto` (bf16 where the device multiplies in it, else fp32),
            `fp32`, `bf16` or `fp16`. Weights and the optimizer stay in fp32.
        accumulate: Gradient accumulation: the parts that a device's share of a batch is taken in.
        batch: `fixed`, or `auto`: halve the parts until one fits in memory; the batch stays.
        compile: Compile the model with torch.compile; the first steps take minutes.
        track: Log also to these, with commas between: `tensorboard`, `wandb` (extra `track`).
    """

    device: str = "auto"
    precision: str = "auto"
    accumulate: int = 1
    batch: str = "fixed"
    compile: bool = False
    track: str = ""

    def __post_init__(self) -> None:
        require_at_least("accumulate", self.accumulate, 1)
        require_known("device", self.device, DEVICES)
        require_known("precision", self.precision, PRECISIONS)
        require_known("batch", self.batch, MICRO_BATCHES)
        for name in self.trackers:
            require_known("track", name, TRACKERS)

    @property
    def trackers(self) -> list[str]:
        """Names in `track`."""
        return [name.strip() for name in self.track.split(",") if name.strip()]


@dataclass(frozen=True)
class RunConfig:
    """One training run: one model on one fold.

    Attributes:
        data: The data.
        fold: The fold that is tested; all the others train.
        model: The model.
        train: The recipe.
        augment: Changes of the training clips.
        compute: How it is computed.
        seed: Seed of everything random in the run (our choice: 0).
        preset: Recipe that the settings began from; they say themselves what was changed.
    """

    data: DataConfig
    fold: int
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    seed: int = 0
    preset: str = "paper"

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed is {self.seed}; it must be from 0 to {2**32 - 1}")
        require_known("preset", self.preset, PRESETS)

    @property
    def title(self) -> str:
        """Dataset, variant and fold, in a few words."""
        return f"{self.data.dataset} {self.model.variant} fold {self.fold}"


def to_dict(config: Any) -> dict[str, Any]:
    """Give a configuration as a dictionary of plain values, ready for JSON."""
    return asdict(config)


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Build a configuration from `to_dict`'s output, or from the same after a trip through JSON.

    Raises:
        ConfigError: A key that the configuration does not have, or a missing one.
    """
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - {f.name for f in fields(cls)})  # type: ignore[arg-type]
    if unknown:
        raise ConfigError(
            f"unknown {cls.__name__} setting {unknown[0]!r}; written by another version of dfer? "
            f"use that one, or train anew"
        )
    arguments = {name: _plain(hints[name], value) for name, value in values.items()}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(f"incomplete {cls.__name__}: {error}") from error


def _plain(hint: Any, value: Any) -> Any:
    if is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(hint, value)  # type: ignore[arg-type]
    return _tuples(value) if isinstance(value, list) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
