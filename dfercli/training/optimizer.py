"""The optimizer and its rate, step by step. Source: section 4.1."""

import math
from operator import itemgetter

import torch
from torch import nn

from dfercli.config import TrainConfig
from dfercli.errors import ConfigError
from dfercli.models.base import ExpressionModel


def build_optimizer(model: ExpressionModel, config: TrainConfig) -> torch.optim.Optimizer:
    """Give AdamW with weight decay on matrices, and none on norms, biases and scales.

    What follows the backbone's blocks learns at the full rate, the layers below at `layer_decay`
    times the rate of the one above, as is usual where a ViT is fine-tuned (Bao et al., 2022,
    BEiT); what CLIP does not have, at `new_layers_lr` times the full rate. The first group is one
    of the full rate, or of the new layers' where nothing else learns.
    """
    groups: dict[tuple[bool, int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            of_backbone, above = name.startswith("backbone."), 0
            if of_backbone and config.layer_decay < 1:
                above = model.backbone.count_layers_above(name.removeprefix("backbone."))
            new = not of_backbone and name != "logit_scale" and config.new_layers_lr != 1
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
    """Refuse a cosine that ends above its peak.

    Raises:
        ConfigError: It would.
    """
    if config.min_lr > config.lr:
        raise ConfigError(f"min_lr is {config.min_lr}; it must be from 0 to lr, {config.lr}")


def build_scheduler(
    optimizer: torch.optim.Optimizer, config: TrainConfig, steps_per_epoch: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Give a linear warm-up and then a cosine from the peak to the minimum, step by step."""
    warmup = config.warmup_epochs * steps_per_epoch
    total = config.epochs * steps_per_epoch
    floor = config.min_lr / config.lr

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        progress = min(1.0, (step - warmup) / max(1, total - 1 - warmup))
        return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
