"""What a step minimises: the loss, and the clips that are mixed before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dfercli.config import TrainConfig
from dfercli.data.loaders import send
from dfercli.models.dfer import contrastive_loss


class Loss(Protocol):
    """What is minimised."""

    def __call__(self, logits: Tensor, labels: Tensor, reduction: str = "mean") -> Tensor:
        """Return the loss of a batch.

        Args:
            logits: (B, K).
            labels: (B,) int64, or (B, K) shares of each class.
            reduction: `mean` over the clips, or `none`: (B,).
        """


MIXUP_STREAM = 5
"""Keeps mixup's draws apart from all others that begin with the seed and the epoch."""


def build_loss(config: TrainConfig, class_counts: Sequence[int], device: torch.device) -> Loss:
    """Give the loss of a training: Eq. (12), with what the recipe adds to it.

    Args:
        config: The recipe.
        class_counts: Training clips of each class.
        device: Of the logits.
    """
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
    """Give the logarithm of each class's share of the training clips, (K,).

    Added to the logits in training, it takes over what makes frequent classes likely, so that the
    logits alone, as they are evaluated, treat all classes alike. A class without clips counts as
    if it had one: its logarithm must be finite.

    Source: Menon et al., 2021, Long-tail learning via logit adjustment, Eq. (10), with tau = 1.
    """
    counts = torch.tensor(class_counts, dtype=torch.float32).clamp(min=1)
    return (counts / counts.sum()).log()


@dataclass(frozen=True)
class Mixup:
    """Mixes each clip of a process's share of a step with another one of it, and their labels.

    Cross-entropy is linear in the labels, so the loss is lam * CE(own) + (1 - lam) * CE(other).
    What is drawn follows from the seed, the epoch, the step and the process alone.

    Source: Zhang et al., 2018, mixup, with one lam a step as in their code.

    Attributes:
        strength: Both parameters of the Beta distribution that lam is drawn from.
        num_classes: K.
        seed: Of the run.
        rank: Number of this process.
    """

    strength: float
    num_classes: int
    seed: int
    rank: int = 0

    def __call__(
        self, clips: Tensor, labels: Tensor, epoch: int, step: int
    ) -> tuple[Tensor, Tensor]:
        """Give mixed clips (N, T, 3, H, W), and labels (N, K) that are shares of each class.

        Args:
            clips: (N, T, 3, H, W), as the model reads them.
            labels: (N,) int64.
            epoch: From 0.
            step: In the epoch, from 0.
        """
        rng = np.random.default_rng([self.seed, epoch, step, self.rank, MIXUP_STREAM])
        own = float(rng.beta(self.strength, self.strength))
        others = send(rng.permutation(len(clips)), clips.device)
        shares = F.one_hot(labels, self.num_classes).float()
        return clips.lerp(clips[others], 1 - own), shares.lerp(shares[others], 1 - own)
