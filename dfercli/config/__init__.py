"""All settings with their defaults, as frozen dataclasses that convert to plain dictionaries.

Defaults are those of the paper (section 4.1); others are marked "our choice".
"""

from dfercli.config.model import (
    CLIP_MEAN,
    CLIP_STD,
    CROSS_ATTENTIONS,
    METHODS,
    MSTA_FCS,
    NAMED_PARTS,
    PARTS,
    RANDOM_WEIGHTS,
    UNTRAINED,
    ModelConfig,
)
from dfercli.config.run import (
    ALL_DATA,
    DEVICES,
    FOLDS_BY,
    MICRO_BATCHES,
    PRECISIONS,
    PRESETS,
    STEPS,
    TRACKERS,
    ComputeConfig,
    DataConfig,
    RunConfig,
    from_dict,
    is_numbered,
    require_device,
    to_dict,
)
from dfercli.config.train import BALANCES, AugmentConfig, TrainConfig

__all__ = [
    "ALL_DATA",
    "BALANCES",
    "CLIP_MEAN",
    "CLIP_STD",
    "CROSS_ATTENTIONS",
    "DEVICES",
    "FOLDS_BY",
    "METHODS",
    "MICRO_BATCHES",
    "MSTA_FCS",
    "NAMED_PARTS",
    "PARTS",
    "PRECISIONS",
    "PRESETS",
    "RANDOM_WEIGHTS",
    "STEPS",
    "TRACKERS",
    "UNTRAINED",
    "AugmentConfig",
    "ComputeConfig",
    "DataConfig",
    "ModelConfig",
    "RunConfig",
    "TrainConfig",
    "from_dict",
    "is_numbered",
    "require_device",
    "to_dict",
]
