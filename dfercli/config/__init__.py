"""All settings with their defaults, as frozen dataclasses that convert to plain dictionaries.

Defaults are those of the paper (section 4.1); others are marked "our choice". The docstrings of the
dataclasses are also the help texts of the options.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_type_hints

from dfercli.config.model import (
    METHODS,
    NAMED_PARTS,
    ONLY_PROMPTS,
    PARTS,
    RANDOM_WEIGHTS,
    STILL_IMAGE,
    UNTRAINED,
    WITHOUT_CLIP,
    ModelConfig,
)
from dfercli.config.networks import (
    CLIP_MEAN,
    CLIP_STD,
    NETWORKS,
    OWN_LOSS,
    PIXELS,
    STAGED,
    WITH_LOSSES,
)
from dfercli.errors import ConfigError, require_at_least, require_known

__all__ = [
    "ALL_DATA",
    "BALANCES",
    "CLIP_MEAN",
    "CLIP_STD",
    "DEVICES",
    "FOLDS_BY",
    "LABELS",
    "LORA_PROJECTIONS",
    "METHODS",
    "MICRO_BATCHES",
    "NAMED_PARTS",
    "NETWORKS",
    "NUMBERED_GPU",
    "ONLY_PROMPTS",
    "OPTIMIZERS",
    "OWN_LOSS",
    "PARTS",
    "PIXELS",
    "PRECISIONS",
    "PRESETS",
    "RANDOM_WEIGHTS",
    "SCHEDULES",
    "STAGED",
    "STEPS",
    "STILL_IMAGE",
    "TRACKERS",
    "TRAINING_SETTINGS",
    "UNTRAINED",
    "WITHOUT_CLIP",
    "WITH_LOSSES",
    "AugmentConfig",
    "ComputeConfig",
    "DataConfig",
    "InitConfig",
    "ModelConfig",
    "RunConfig",
    "TrainConfig",
    "from_dict",
    "is_numbered",
    "require_device",
    "to_dict",
]

LORA_PROJECTIONS = ("q", "k", "v", "out", "mlp")
OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "step", "restarts")
LABELS = ("hard", "votes")
BALANCES = ("none", "oversample", "prior")
DEVICES = ("auto", "cpu", "cuda", "mps")
NUMBERED_GPU = re.compile(r"cuda:(0|[1-9][0-9]*)")
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
MICRO_BATCHES = ("fixed", "auto")
STEPS = ("auto", "eager", "captured", "compiled")
TRACKERS = ("tensorboard", "wandb")
FOLDS_BY = ("official", "group")
PRESETS = ("paper", "small", "strong")

Config = TypeVar("Config")

ALL_DATA = 0
"""Used in place of a fold number if the final model is trained on all clips."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The training recipe. Source: section 4.1; what the paper does not use is off.

    Attributes:
        epochs: Passes over the training split.
        warmup_epochs: Epochs of linear warm-up before the cosine schedule.
        batch_size: Clips per optimizer step, over all devices and accumulation steps.
        optimizer: `adamw`, `adam` or `sgd`, with a momentum of 0.9.
        adam_eps: Epsilon of AdamW and Adam.
        lr: Peak learning rate.
        min_lr: Learning rate at the end of the cosine schedule.
        schedule: Learning-rate schedule after the warm-up: `cosine`; `step`, constant between
            drops; or `restarts`, a cosine that starts over.
        step_epochs: Epochs between two drops of `step`, or in one cosine of `restarts`.
        step_factor: Learning-rate multiplier at each drop of `step`.
        stage1_epochs: Epochs of the first stage of a model with two (aen, cliper), which trains
            other parts at a constant rate; they are part of `epochs`.
        stage1_lr: Learning rate of the first stage.
        ec_stfl: Weight of the EC-STFL loss, which pulls the embeddings of a class together and
            pushes those of different classes apart; 0 is off.
        weight_decay: Weight decay of matrices; none for norms, biases and scales (our choice).
        new_layers_lr: Learning-rate multiplier for layers that are not part of CLIP.
        layer_decay: Learning-rate multiplier from each backbone block to the one before; 1 is off.
        labels: What training clips are labelled with: `hard`, their class; or `votes`, the share of
            raters who chose each class. Tests use the class.
        label_smoothing: Share of each label that is spread over all classes; 0 is off.
        mixup: Parameter of the Beta distribution that mixes the clips of a step; 0 is off.
        drop_path: Rate of stochastic depth in the last block, falling to 0 in the first; 0 is off.
        lora_rank: Rank of LoRA: low-rank updates of the visual tower, whose own weights are
            frozen; 0 is off.
        lora_on: Projections with LoRA, separated by commas: `q`, `k`, `v`, `out` and `mlp`.
        ema: Decay per step of a moving average of the weights, which is evaluated and saved in
            place of them; 0 is off.
        val_fraction: Share of the training clips to hold out for selecting an epoch and for
            calibration; 0 holds out none.
        stop_epoch: Epoch to stop at; the schedule remains that of `epochs`. None trains all epochs.
        balance: How rare classes are treated: `none`; `oversample`, draw all classes equally often;
            or `prior`, add the log of the class frequencies to the logits in the training loss.
    """

    epochs: int = 100
    warmup_epochs: int = 5
    batch_size: int = 32
    optimizer: str = "adamw"
    adam_eps: float = 1e-8
    lr: float = 2e-5
    min_lr: float = 2e-7
    schedule: str = "cosine"
    step_epochs: int = 40
    step_factor: float = 0.1
    stage1_epochs: int = 0
    stage1_lr: float = 0.01
    ec_stfl: float = 0.0
    weight_decay: float = 5e-4
    new_layers_lr: float = 1.0
    layer_decay: float = 1.0
    labels: str = "hard"
    label_smoothing: float = 0.0
    mixup: float = 0.0
    drop_path: float = 0.0
    lora_rank: int = 0
    lora_on: str = "q,v"
    ema: float = 0.0
    val_fraction: float = 0.0
    balance: str = "none"
    stop_epoch: int | None = None

    @property
    def lora_projections(self) -> list[str]:
        """The names in `lora_on`."""
        return [name.strip() for name in self.lora_on.split(",")]

    @property
    def last_epoch(self) -> int:
        """The last epoch of the run, counted from 1."""
        return self.stop_epoch or self.epochs

    def __post_init__(self) -> None:
        require_at_least("epochs", self.epochs, 1)
        require_at_least("warmup_epochs", self.warmup_epochs, 0)
        require_at_least("batch_size", self.batch_size, 1)
        if self.warmup_epochs >= self.epochs:
            raise ConfigError(
                f"warmup_epochs is {self.warmup_epochs} and epochs is {self.epochs}; warmup_epochs "
                f"must be less than epochs, such as {max(0, self.epochs - 1)}"
            )
        require_known("optimizer", self.optimizer, OPTIMIZERS)
        require_known("schedule", self.schedule, SCHEDULES)
        require_at_least("step_epochs", self.step_epochs, 1)
        self._require("adam_eps", 0 < self.adam_eps < 1, "above 0, below 1")
        self._require("step_factor", 0 < self.step_factor <= 1, "above 0, at most 1")
        self._require("stage1_lr", 0 < self.stage1_lr < math.inf, "above 0")
        self._require("ec_stfl", 0 <= self.ec_stfl < math.inf, "at least 0")
        require_at_least("stage1_epochs", self.stage1_epochs, 0)
        if self.warmup_epochs + self.stage1_epochs >= self.epochs:
            raise ConfigError(
                f"stage1_epochs {self.stage1_epochs} and warmup_epochs {self.warmup_epochs} leave "
                f"none of {self.epochs} epochs; use more epochs, or fewer of these"
            )
        self._require("lr", 0 < self.lr < math.inf, "above 0")
        self._require("min_lr", 0 <= self.min_lr < math.inf, "at least 0")
        self._require("weight_decay", 0 <= self.weight_decay < math.inf, "at least 0")
        self._require("new_layers_lr", 0 < self.new_layers_lr < math.inf, "above 0")
        self._require("val_fraction", 0 <= self.val_fraction <= 0.5, "from 0 to 0.5")
        self._require("layer_decay", 0 < self.layer_decay <= 1, "above 0, at most 1")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0, below 1")
        self._require("mixup", 0 <= self.mixup < math.inf, "at least 0")
        self._require("drop_path", 0 <= self.drop_path < 1, "at least 0, below 1")
        require_at_least("lora_rank", self.lora_rank, 0)
        if self.lora_rank == 0 and self.lora_on != TrainConfig.lora_on:
            raise ConfigError("lora_on has no effect without lora_rank; remove it")
        for name in self.lora_projections:
            require_known("lora_on", name, LORA_PROJECTIONS)
        self._require("ema", 0 <= self.ema < 1, "at least 0, below 1")
        require_known("labels", self.labels, LABELS)
        require_known("balance", self.balance, BALANCES)
        if self.stop_epoch is not None:
            fits = 1 <= self.stop_epoch <= self.epochs
            self._require("stop_epoch", fits, f"from 1 to epochs, {self.epochs}")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ConfigError(f"{name} is {getattr(self, name)}; it must be {rule}")


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """The augmentation of training clips: kinds from section 4.1, strengths are our choice.

    Attributes:
        crop_scale: Smallest share of the frame's area that a random crop keeps.
        brightness: Strength of the brightness jitter.
        contrast: Strength of the contrast jitter.
        saturation: Strength of the saturation jitter.
        hue: Strength of the hue jitter, in turns of the colour wheel.
        flip: Probability of a horizontal flip.
        rotation: Largest angle of a random rotation, in degrees; corners turn black.
    """

    crop_scale: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    flip: float = 0.5
    rotation: float = 0.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            most = {"hue": 0.5, "rotation": 180.0}.get(name, 1.0)
            if not 0 <= value <= most or (name == "crop_scale" and value == 0):
                least = "above 0, at most" if name == "crop_scale" else "from 0 to"
                raise ConfigError(f"{name} is {value}; it must be {least} {most}")


TRAINING_SETTINGS = tuple(
    setting.name
    for part in (TrainConfig, AugmentConfig)
    for setting in fields(part)
    if setting.name != "val_fraction"
)
"""Settings without effect on a method that trains nothing."""


def require_device(name: str) -> None:
    """Check the name of a device, but not whether this machine has it.

    Raises:
        ConfigError: There is no device of this name.
    """
    if name not in DEVICES and not is_numbered(name):
        known = ", ".join(DEVICES)
        raise ConfigError(f"no device {name!r}; known: {known}, or a GPU by number, such as cuda:1")


def is_numbered(device: str) -> bool:
    """Return whether a device is a GPU by number, such as `cuda:1`."""
    return NUMBERED_GPU.fullmatch(device) is not None


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """The data of a run.

    Attributes:
        dataset: Name of the manifest and of the run folder.
        manifest: Path of the manifest's CSV file.
        root: Folder that the manifest's paths are relative to.
        workers: Processes that load clips; 0 loads them in the main process.
        kind: Public name of the kind of dataset, such as dfew; empty if it equals `dataset`.
        folds_by: `official`, the folds of the manifest; or `group`, assigned again so that no two
            folds share a group.
        cache: Folder of decoded frames; None decodes the images each time.
    """

    dataset: str
    manifest: str
    root: str
    workers: int = 2
    kind: str = ""
    cache: str | None = None
    folds_by: str = "official"

    def __post_init__(self) -> None:
        require_known("folds_by", self.folds_by, FOLDS_BY)
        require_at_least("workers", self.workers, 0)


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How a run is computed and tracked, which affects its results only by rounding.

    Attributes:
        device: `auto` (CUDA, else MPS, else the CPU), `cpu`, `cuda` (or a GPU by number: `cuda:1`)
            or `mps`.
        precision: Precision of matrix products: `auto` (bf16 if the device supports it, else fp32;
            also fp32 for networks that convolve, on a CPU), `fp32`, `bf16` or `fp16`. Weights and
            the optimizer stay in fp32.
        accumulate: Gradient accumulation: forward and backward passes per optimizer step and
            device.
        batch: `fixed`, or `auto`: double `accumulate` until a step fits in memory; the batch size
            does not change.
        steps: How forward and backward passes run: `eager`, kernel by kernel; `captured`, replayed
            as a CUDA graph; `compiled` with torch.compile, and also captured on a single GPU; or
            `auto`: eager on a CPU; on CUDA captured, and compiled if the run is long.
        save_every: Save a state to resume from every so many epochs; 0 saves as often as possible
            in 5 % of the training time. A killed run repeats the epochs since the last saved state.
        track: Trackers to log to, separated by commas: `tensorboard`, `wandb` (extra `track`).
    """

    device: str = "auto"
    precision: str = "auto"
    accumulate: int = 1
    batch: str = "fixed"
    steps: str = "auto"
    save_every: int = 0
    track: str = ""

    def __post_init__(self) -> None:
        require_at_least("accumulate", self.accumulate, 1)
        require_at_least("save_every", self.save_every, 0)
        require_device(self.device)
        require_known("precision", self.precision, PRECISIONS)
        require_known("batch", self.batch, MICRO_BATCHES)
        require_known("steps", self.steps, STEPS)
        for name in self.trackers:
            require_known("track", name, TRACKERS)

    @staticmethod
    def complete(values: Mapping[str, Any]) -> dict[str, Any]:
        """Drop the setting `compile` of older versions, which `steps` replaced."""
        return {name: value for name, value in values.items() if name != "compile"}

    @property
    def trackers(self) -> list[str]:
        """The names in `track`."""
        return [name.strip() for name in self.track.split(",") if name.strip()]


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """The checkpoint that a run starts from.

    Attributes:
        where: Folder of the checkpoint, or its name on the Hub.
        name: Its name without the folders of this machine, such as `demo/full/fold1/best`.
        sha256: Hash of its weights file.
    """

    where: str
    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run: one model on one fold.

    Attributes:
        data: The data.
        fold: The fold that is tested; the others are trained on. `ALL_DATA` trains on all clips
            and tests none.
        model: The model.
        train: The recipe.
        augment: The augmentation of training clips.
        compute: How it is computed.
        seed: Random seed (our choice: 0).
        preset: Recipe that the settings are based on.
        init: The checkpoint whose weights the run starts from; None starts from CLIP.
    """

    data: DataConfig
    fold: int
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    seed: int = 0
    preset: str = "paper"
    init: InitConfig | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed is {self.seed}; it must be from 0 to {2**32 - 1}")
        require_known("preset", self.preset, PRESETS)

    @property
    def variant(self) -> str:
        """Name of the folder with the runs of all folds, such as `full-seed1`."""
        parts = [self.model.variant]
        if self.data.folds_by == "group":
            parts.append("bygroup")
        if self.init is not None:
            parts.append("init")
        if self.train.labels == "votes":
            parts.append("votes")
        if self.train.val_fraction > 0:
            parts.append(f"val{100 * self.train.val_fraction:g}")
        if self.seed != RunConfig.seed:
            parts.append(f"seed{self.seed}")
        return "-".join(parts)

    @property
    def title(self) -> str:
        """Dataset, variant and fold in words."""
        part = "all clips" if self.fold == ALL_DATA else f"fold {self.fold}"
        return f"{self.data.dataset} {self.variant} {part}"


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as a dictionary of plain values, ready for JSON."""
    return asdict(config)


def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
    """Return a configuration from the result of `to_dict`, also after a round trip through JSON.

    Missing settings take their defaults. If the class has a method `complete`, it first adapts the
    values of older versions.

    Raises:
        ConfigError: A setting is unknown, or one without a default is missing.
    """
    hints = get_type_hints(cls)
    complete = getattr(cls, "complete", None)
    if complete is not None:
        values = complete(values)
    unknown = sorted(set(values) - {f.name for f in fields(cls)})  # type: ignore[arg-type]
    if unknown:
        raise ConfigError(
            f"unknown {cls.__name__} setting {unknown[0]!r}; it may come from another version of "
            f"dfer: use that version, or train again"
        )
    arguments = {name: _parse_value(hints[name], value) for name, value in values.items()}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(f"incomplete {cls.__name__}: {error}") from error


def _parse_value(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        kinds = (kind for kind in get_args(hint) or (hint,) if is_dataclass(kind))
        return from_dict(next(kinds), value)  # type: ignore[arg-type]
    return _tuples(value) if isinstance(value, list) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
