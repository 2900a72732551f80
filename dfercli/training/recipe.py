"""The recipe: loss, mixup, optimizer and learning rate schedule. Source: section 4.1."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dfercli.config import (
    ONLY_PROMPTS,
    OWN_LOSS,
    STAGED,
    TRAINING_SETTINGS,
    UNTRAINED,
    WITH_LOSSES,
    WITHOUT_CLIP,
    RunConfig,
    TrainConfig,
)
from dfercli.data.loaders import send
from dfercli.data.sampling import find_sampler
from dfercli.errors import ConfigError
from dfercli.models.base import AuxiliaryLoss, ExpressionModel, Outputs
from dfercli.models.dfer import contrastive_loss
from dfercli.training.ec_stfl import ec_stfl_loss

Loss = Callable[..., Tensor]
"""Maps what a model returns in training, logits (B, K) or `Outputs`, and labels, (B,) int64 or
(B, K) shares of each class, to a loss: the mean, or with `reduction="none"` that of each clip,
(B,)."""

SGD_MOMENTUM = 0.9
"""Of all recipes in Table 1 that use SGD."""

MIXUP_STREAM = 5
"""Separates the random numbers of mixup from others with the same seed and epoch."""


def find_auxiliary(
    model: ExpressionModel, config: TrainConfig
) -> list[tuple[AuxiliaryLoss, float]]:
    """Return the losses besides the cross-entropy, of model and recipe, and their weights."""
    losses = list(model.auxiliary_losses())
    if config.ec_stfl > 0:
        losses.append((ec_stfl_loss, config.ec_stfl))
    return losses


def add_auxiliary(loss: Loss, model: ExpressionModel, config: TrainConfig) -> Loss:
    """Return the sum of a loss and the auxiliary losses, which may change with the stage."""
    if not find_auxiliary(model, config):
        return loss

    def total(outputs: Outputs, labels: Tensor, reduction: str = "mean") -> Tensor:
        auxiliary = find_auxiliary(model, config)
        parts = [weight * function(outputs, labels) for function, weight in auxiliary]
        if not model.own_loss:
            parts.append(loss(outputs.logits, labels, reduction="none"))
        each = torch.stack([part.float() for part in parts]).sum(dim=0)  # (B,)
        return each if reduction == "none" else each.mean()

    return total


def build_loss(config: TrainConfig, class_counts: Sequence[float], device: torch.device) -> Loss:
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


def log_prior(class_counts: Sequence[float]) -> Tensor:
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

        Clips are normalised; labels are (N,) int64 or (N, K) shares. `epoch` and `step`, the step
        in the epoch, count from 0.
        """
        rng = np.random.default_rng([self.seed, epoch, step, self.rank, MIXUP_STREAM])
        lam = float(rng.beta(self.strength, self.strength))
        others = send(rng.permutation(len(clips)), clips.device)
        shares = labels
        if labels.ndim == 1:
            shares = F.one_hot(labels, self.num_classes).float()
        return clips.lerp(clips[others], 1 - lam), shares.lerp(shares[others], 1 - lam)


def build_optimizer(model: ExpressionModel, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the optimizer, with weight decay on matrices, and none on norms, biases and scales.

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
            small = parameter.ndim < 2 or name in model.undecayed
            groups.setdefault((new, above, small), []).append(parameter)
    listed = [
        {
            "params": parameters,
            "lr": config.lr * (config.new_layers_lr if new else config.layer_decay**above),
            "weight_decay": 0.0 if small else config.weight_decay,
        }
        for (new, above, small), parameters in sorted(groups.items(), key=itemgetter(0))
    ]
    if config.optimizer == "sgd":  # if fused, the momentum of all parameters must start together
        staged = config.stage1_epochs > 0
        return torch.optim.SGD(listed, momentum=SGD_MOMENTUM, foreach=staged, fused=not staged)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(listed, eps=config.adam_eps, fused=True)


def check_recipe(run: RunConfig) -> None:
    """Refuse a recipe that a schedule or a method cannot have.

    Raises:
        ConfigError: `min_lr` exceeds `lr`, or the method lacks two stages or CLIP's visual tower,
            or its losses need one label per clip, or its sampling does not give T frames.
    """
    config, method = run.train, run.model.method
    hard_labels = method in WITH_LOSSES or config.ec_stfl > 0
    own_loss = method in OWN_LOSS
    faults = {
        f"min_lr is {config.min_lr}; it must be between 0 and lr ({config.lr})": (
            config.schedule != "step" and config.min_lr > config.lr
        ),
        f"{method} has no two stages; remove --stage1-epochs": (
            config.stage1_epochs > 0 and method not in STAGED
        ),
        f"{method} has a loss of its own; use --label-smoothing 0": (
            own_loss and config.label_smoothing > 0
        ),
        f"{method} has a loss of its own; use another --balance than prior": (
            own_loss and config.balance == "prior"
        ),
        "aen compares embeddings at several levels; use --ec-stfl 0": (
            config.ec_stfl > 0 and method == "aen"
        ),
        f"{method} trains prompts only, not embeddings; use --ec-stfl 0": (
            config.ec_stfl > 0 and method in ONLY_PROMPTS
        ),
        f"{method} has no visual tower of CLIP for LoRA; remove --lora-rank": (
            config.lora_rank > 0 and method in WITHOUT_CLIP
        ),
        f"{method} trains whole parts in two stages; remove --lora-rank": (
            config.lora_rank > 0 and method in STAGED and method not in WITHOUT_CLIP
        ),
        f"the losses of {method} need one label per clip; use --mixup 0": (
            hard_labels and config.mixup > 0
        ),
        f"the losses of {method} need one label per clip; use --labels hard": (
            hard_labels and config.labels != "hard"
        ),
    }
    for fault, holds in faults.items():
        if holds:
            raise ConfigError(fault)
    find_sampler(run.model)


def find_unused(run: RunConfig) -> dict[str, str]:
    """Return the settings without effect in a run's recipe, each with the option that is why."""
    train, method = run.train, run.model.method
    if method in UNTRAINED:
        return dict.fromkeys(TRAINING_SETTINGS, f"--model {method}")
    of_schedule = f"--schedule {train.schedule}"
    without_effect = {
        "adam_eps": (train.optimizer == "sgd", "--optimizer sgd"),
        "min_lr": (train.schedule == "step", of_schedule),
        "step_epochs": (train.schedule == "cosine", of_schedule),
        "step_factor": (train.schedule != "step", of_schedule),
        "stage1_lr": (train.stage1_epochs == 0, "--stage1-epochs 0"),
        "prompt_template": (method == "cliper", "the prompts of cliper"),
    }
    return {name: reason for name, (is_unused, reason) in without_effect.items() if is_unused}


def build_scheduler(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a schedule per step.

    After a first stage, if any, at its own constant rate: linear warm-up, then the course of
    `schedule`: a cosine from `lr` to `min_lr`, such cosines one after the other, or falls.
    """
    first_stage = config.stage1_epochs * steps_per_epoch
    warmup = config.warmup_epochs * steps_per_epoch
    total = config.epochs * steps_per_epoch - first_stage
    cycle = config.step_epochs * steps_per_epoch
    floor = config.min_lr / config.lr

    def fall(progress: float) -> float:
        return floor + (1 - floor) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def factor(step: int) -> float:
        if step < first_stage:
            return config.stage1_lr / config.lr
        step -= first_stage
        if step < warmup:
            return (step + 1) / warmup
        step -= warmup
        if config.schedule == "step":
            return config.step_factor ** (step // cycle)
        if config.schedule == "restarts":
            return fall(step % cycle / cycle)
        return fall(step / max(1, total - 1 - warmup))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
