"""The recipe: loss, mixup, optimizer and learning rate schedule. Source: section 4.1."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import TrainConfig
from dfercli.data.loaders import send
from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel
from dfercli.models.dfer import contrastive_loss

Loss = Callable[..., Tensor]
"""Maps logits (B, K) and labels, (B,) int64 or (B, K) shares of each class, to a loss: the mean, or
with `reduction="none"` that of each clip, (B,)."""

MIXUP_STREAM = 5
"""Separates the random numbers of mixup from others with the same seed and epoch."""


def build_loss(config: TrainConfig, class_counts: Sequence[int], device: torch.device) -> Loss:
    """Return the loss of a recipe: Eq. (12), with label smoothing and logit adjustment if set."""
    if config.balance != "prior" and config.label_smoothing == 0:
        return contrastive_loss
    adjustment = torch.zeros(len(class_counts), device=device)
    if config.balance == "prior":
        adjustment += log_prior(class_counts).to(device)

    def loss(logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        adjusted, smoothing = logits + adjustment, config.label_smoothing
        return F.cross_entropy(adjusted, labels, reduction=reduction, label_smoothing=smoothing)

    return loss


def log_prior(class_counts: Sequence[int]) -> Tensor:
    """Return the logarithm of each class's share of the training clips, (K,).

    Added to the logits in training, it accounts for the frequency of the classes, so that the
    logits alone, as evaluated, treat all classes equally. A class without clips counts as if it
    had one, as its logarithm must be finite.

    Source: Menon et al., 2021, Long-tail learning via logit adjustment, Eq. (10), with tau = 1.
    """
    counts = torch.tensor(class_counts, dtype=torch.float32).clamp(min=1)
    return (counts / counts.sum()).log()


@dataclass(frozen=True)
class Mixup:
    """Mixes each of a process's clips in a step with another one, and their labels likewise.

    Cross-entropy is linear in the labels, so the loss is lam * CE(own) + (1 - lam) * CE(other).
    The random numbers depend only on the seed, the epoch, the step and the process.

    Source: Zhang et al., 2018, mixup, with one lam per step as in their code.

    Attributes:
        strength: Both parameters of the Beta distribution of lam.
        num_classes: K.
        seed: Seed of the run.
        rank: Rank of this process.
    """

    strength: float
    num_classes: int
    seed: int
    rank: int = 0

    def __call__(
        self, clips: Tensor, labels: Tensor, epoch: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Return mixed clips (N, T, 3, H, W), and labels (N, K) as shares of each class.

        Clips are normalised, labels (N,) int64; `epoch` and `step`, the step in the epoch, count
        from 0.
        """
        rng = np.random.default_rng([self.seed, epoch, step, self.rank, MIXUP_STREAM])
        lam = float(rng.beta(self.strength, self.strength))
        others = send(rng.permutation(len(clips)), clips.device)
        shares = F.one_hot(labels, self.num_classes).float()
        return clips.lerp(clips[others], 1 - lam), shares.lerp(shares[others], 1 - lam)


def build_optimizer(model: ExpressionModel, config: TrainConfig) -> torch.optim.Optimizer:
    """Return AdamW with weight decay on matrices, and none on norms, biases and scales.

    The learning rate of each backbone layer is `layer_decay` times that of the layer above, as is
    usual when fine-tuning a ViT (Bao et al., 2022, BEiT); what follows the blocks has the full
    rate. Layers that are not part of CLIP have `new_layers_lr` times the full rate. The first
    group has the full rate, or that of the new layers if nothing else learns.
    """
    groups: dict[tuple[bool, int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            in_backbone, above = name.startswith("backbone.visual."), 0
            if in_backbone and config.layer_decay < 1:
                above = model.backbone.count_layers_above(name.removeprefix("backbone."))
            new = not in_backbone and name != "logit_scale" and config.new_layers_lr != 1
            groups.setdefault((new, above, parameter.ndim < 2), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": config.lr * (config.new_layers_lr if new else config.layer_decay**above),
                "weight_decay": 0.0 if small else config.weight_decay,
            }
            for (new, above, small), parameters in sorted(groups.items(), key=itemgetter(0))
        ],
        fused=True,
    )


def check_rates(config: TrainConfig) -> None:
    """Refuse a cosine schedule that ends above its peak.

    Raises:
        ConfigError: `min_lr` exceeds `lr`.
    """
    if config.min_lr > config.lr:
        raise ConfigError(f"min_lr is {config.min_lr}; it must be between 0 and lr ({config.lr})")


def build_scheduler(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a schedule per step: linear warm-up, then a cosine from `lr` to `min_lr`."""
    warmup = config.warmup_epochs * steps_per_epoch
    total = config.epochs * steps_per_epoch
    floor = config.min_lr / config.lr

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total - 1 - warmup))
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
