"""One run: which data, how it is computed, and all the rest together."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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

ALL_DATA = 0
"""Stands for a fold where all clips are trained on, for the final model."""


def require_device(name: str) -> None:
    """Check the name of a device, not whether this machine has it.

    Raises:
        ConfigError: No device has this name.
    """
    if name not in DEVICES and not is_numbered(name):
        known = ", ".join(DEVICES)
        raise ConfigError(f"no device {name!r}; known: {known}, or a GPU by number, such as cuda:1")


def is_numbered(device: str) -> bool:
    """Whether a device is one GPU by its number, such as `cuda:1`."""
    return NUMBERED_GPU.fullmatch(device) is not None


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which data to use.

    Attributes:
        dataset: Name of the manifest, and of the run folder.
        manifest: Path of the manifest's CSV.
        root: Folder that the manifest's paths are relative to.
        workers: Processes that load clips; 0 loads in the main process.
        kind: Public name of the kind of dataset, such as dfew; empty where it is the name.
        folds_by: `official`, the manifest's own folds; or `group`, dealt anew so that no group
            is in two of them.
        cache: Folder that decoded frames are kept in; None decodes the images each time.
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
    """How the same run is computed and watched: never its recipe, at most its rounding.

    Attributes:
        device: `auto` (CUDA, else MPS, else the CPU), `cpu`, `cuda` (or a GPU by number: `cuda:1`)
            or `mps`.
        precision: Of matrix products: `auto` (bf16 where the device multiplies in it, else fp32),
            `fp32`, `bf16` or `fp16`. Weights and the optimizer stay in fp32.
        accumulate: Gradient accumulation: the parts that a device's share of a batch is taken in.
        batch: `fixed`, or `auto`: halve the parts until one fits in memory; the batch stays.
        steps: How forward and backward passes run: `eager`, kernel by kernel; `captured`, replayed
            as one CUDA graph; `compiled` by torch.compile, and captured too on one CUDA device;
            or `auto`: eager on a CPU, on CUDA captured, and compiled where the run is long.
        save_every: Epochs between two saves that a run can go on from; 0: as often as saving takes
            under a twentieth of the time. A run that is killed repeats the epochs since.
        track: Log also to these, with commas between: `tensorboard`, `wandb` (extra `track`).
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
        """Leave out of stored settings what decides nothing any more: `compile`, now `steps`."""
        return {name: value for name, value in values.items() if name != "compile"}

    @property
    def trackers(self) -> list[str]:
        """Names in `track`."""
        return [name.strip() for name in self.track.split(",") if name.strip()]


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run: one model on one fold.

    Attributes:
        data: The data.
        fold: The fold that is tested; all the others train. `ALL_DATA` trains on all clips, and
            tests none.
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
    def variant(self) -> str:
        """Name of the folder of all folds' runs that may be averaged, such as `full-seed1`."""
        parts = [self.model.variant]
        parts += ["bygroup"] * (self.data.folds_by == "group")
        parts += [f"val{100 * self.train.val_fraction:g}"] * (self.train.val_fraction > 0)
        parts += [f"seed{self.seed}"] * (self.seed != RunConfig.seed)
        return "-".join(parts)

    @property
    def title(self) -> str:
        """Dataset, variant and fold, in a few words."""
        part = "all clips" if self.fold == ALL_DATA else f"fold {self.fold}"
        return f"{self.data.dataset} {self.variant} {part}"
