"""Training: the recipe and the augmentation of clips."""

import math
from dataclasses import asdict, dataclass

from dfercli.errors import ConfigError, require_at_least, require_known

BALANCES = ("none", "oversample", "prior")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The training recipe. Source: section 4.1; what the paper does not use is off.

    Attributes:
        epochs: Passes over the training split.
        warmup_epochs: Epochs of linear warm-up before the cosine schedule.
        batch_size: Clips per optimizer step, over all devices and accumulation steps.
        lr: Peak learning rate of AdamW.
        min_lr: Learning rate at the end of the cosine schedule.
        weight_decay: Weight decay of matrices; none for norms, biases and scales (our choice).
        new_layers_lr: Learning-rate multiplier for layers that are not part of CLIP.
        layer_decay: Learning-rate multiplier from each backbone block to the one before; 1 is off.
        label_smoothing: Share of each label that is spread over all classes; 0 is off.
        mixup: Parameter of the Beta distribution that mixes the clips of a step; 0 is off.
        drop_path: Rate of stochastic depth in the last block, falling to 0 in the first; 0 is off.
        val_fraction: Share of the training clips to hold out for choosing an epoch and for
            calibration; 0 holds out none.
        stop_epoch: Epoch to stop at, within the schedule of `epochs`; None trains all.
        balance: How rare classes are treated: `none`; `oversample`, draw all classes equally often;
            or `prior`, add the log of the class frequencies to the logits in the training loss.
    """

    epochs: int = 100
    warmup_epochs: int = 5
    batch_size: int = 32
    lr: float = 2e-5
    min_lr: float = 2e-7
    weight_decay: float = 5e-4
    new_layers_lr: float = 1.0
    layer_decay: float = 1.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    drop_path: float = 0.0
    val_fraction: float = 0.0
    balance: str = "none"
    stop_epoch: int | None = None

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
                f"warmup_epochs is {self.warmup_epochs}, epochs {self.epochs}; the rate would "
                f"never reach its peak: warm up for fewer epochs"
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
    """

    crop_scale: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    flip: float = 0.5

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            most = 0.5 if name == "hue" else 1.0
            if not 0 <= value <= most or (name == "crop_scale" and value == 0):
                least = "above 0, at most" if name == "crop_scale" else "from 0 to"
                raise ConfigError(f"{name} is {value}; it must be {least} {most}")
