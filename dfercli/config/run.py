"""One run: its data, how it is computed, and all other settings; conversion to plain values."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from dfercli.config.model import ModelConfig
from dfercli.config.train import AugmentConfig, TrainConfig
from dfercli.errors import ConfigError, require_at_least, require_known

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
        precision: Precision of matrix products: `auto` (bf16 if the device supports it, else fp32),
            `fp32`, `bf16` or `fp16`. Weights and the optimizer stay in fp32.
        accumulate: Gradient accumulation: number of parts in which a device processes its share of
            a batch.
        batch: `fixed`, or `auto`: halve the parts until they fit in memory; the batch size stays.
        steps: How forward and backward passes run: `eager`, kernel by kernel; `captured`, replayed
            as a CUDA graph; `compiled` with torch.compile, and also captured on a single GPU; or
            `auto`: eager on a CPU; on CUDA captured, and compiled if the run is long.
        save_every: Epochs between two saved states to resume from; 0 saves as often as takes less
            than a twentieth of the time. A run that is killed repeats the epochs since.
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
        seed: Seed of everything random in the run (our choice: 0).
        preset: Recipe that the settings are based on.
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
    def variant(self) -> str:
        """Name of the folder with the runs of all folds, such as `full-seed1`."""
        parts = [self.model.variant]
        if self.data.folds_by == "group":
            parts.append("bygroup")
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
            f"unknown {cls.__name__} setting {unknown[0]!r}; written by another version of dfer? "
            f"use that one, or train again"
        )
    arguments = {name: _parse_value(hints[name], value) for name, value in values.items()}
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ConfigError(f"incomplete {cls.__name__}: {error}") from error


def _parse_value(hint: Any, value: Any) -> Any:
    if is_dataclass(hint) and isinstance(value, Mapping):
        return from_dict(hint, value)  # type: ignore[arg-type]
    return _tuples(value) if isinstance(value, list) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
