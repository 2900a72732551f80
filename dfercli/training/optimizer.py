"""The optimizer and its learning rate schedule. Source: section 4.1."""

import math
from operator import itemgetter

import torch
from torch import nn

from dfercli.config import TrainConfig
from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel


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
            in_backbone, above = name.startswith("backbone."), 0
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
