"""The training recipes of the systems of Table 1, as changes to the defaults.

Each is that of its paper, or of its released code where the paper is silent; docs/zoo.md says which
parts are our choice.
"""

from collections.abc import Mapping
from typing import Any

from dfercli.config.networks import NETWORKS

Changes = dict[str, Mapping[str, Any]]
"""Values by part of a run (`model`, `train`, `augment`) and setting."""

ONLY_CROP = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
NO_AUGMENTATION = {**ONLY_CROP, "crop_scale": 1.0, "flip": 0.0}


def _sgd(epochs: int = 100, step_epochs: int = 40, **more: Any) -> dict[str, Any]:
    """Return SGD at 0.01 that falls to a tenth at intervals."""
    return {
        "optimizer": "sgd",
        "lr": 0.01,
        "weight_decay": 1e-4,
        "schedule": "step",
        "epochs": epochs,
        "step_epochs": step_epochs,
        "warmup_epochs": 0,
        **more,
    }


FORMER_DFER: Changes = {"train": _sgd(), "augment": ONLY_CROP}
"""Source: Former-DFER and its code. It also serves the systems whose recipe is not public."""

DFEW: Changes = {
    "train": {
        "optimizer": "adam",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "schedule": "step",
        "step_epochs": 1,
        "step_factor": 0.9,
        "warmup_epochs": 0,
    },
    "augment": NO_AUGMENTATION,
}
"""Source: the code of the DFEW paper (Jiang et al., 2020)."""

ECSTFL: Changes = {"train": _sgd(epochs=200, step_epochs=50), "augment": ONLY_CROP}
"""Source: the code of EC-STFL of 2024."""

EST: Changes = {
    "train": {
        "optimizer": "adam",
        "lr": 1e-4,
        "min_lr": 0.0,
        "weight_decay": 1e-4,
        "epochs": 160,
        "warmup_epochs": 10,
        "batch_size": 8,
    },
    "augment": NO_AUGMENTATION,
}
"""Source: the code of EST (Liu et al., 2022)."""

RECIPES: Mapping[str, Changes] = {
    "c3d": DFEW,
    "p3d": DFEW,
    "i3d": DFEW,
    "r3d-hara": FORMER_DFER,
    "r2plus1d": FORMER_DFER,
    "r3d-18": ECSTFL,
    "mc3-18": ECSTFL,
    "r2plus1d-18": ECSTFL,
    "resnet18-lstm": FORMER_DFER,
    "resnet18-vit": FORMER_DFER,
    "ec-stfl": {**ECSTFL, "train": {**ECSTFL["train"], "batch_size": 24, "ec_stfl": 10.0}},
    "former-dfer": FORMER_DFER,
    "t-esfl": EST,
    "est": EST,
    "freq-hd": FORMER_DFER,
    "logo-former": {**FORMER_DFER, "train": {**FORMER_DFER["train"], "label_smoothing": 0.1}},
    "ial": {
        "train": {**_sgd(step_epochs=7, lr=1e-3, weight_decay=0.1, step_factor=0.5, batch_size=40)},
        "augment": {**ONLY_CROP, "brightness": 0.6, "rotation": 4.0},
    },
    "aen": {
        "train": _sgd(epochs=220, stage1_epochs=20, stage1_lr=1e-4),
        "augment": ONLY_CROP,
    },
    "m3dfel": {
        "train": {
            "lr": 5e-4,
            "min_lr": 5e-6,
            "weight_decay": 0.05,
            "epochs": 300,
            "warmup_epochs": 20,
            "batch_size": 256,
            "label_smoothing": 0.1,
        },
    },
    "cliper": {
        "train": {
            "lr": 5e-6,
            "weight_decay": 0.1,
            "schedule": "restarts",
            "step_epochs": 10,
            "epochs": 59,
            "warmup_epochs": 0,
            "batch_size": 128,
            "stage1_epochs": 2,
            "stage1_lr": 0.01,
            "adam_eps": 1e-4,
        },
    },
    "lstpnet": {**FORMER_DFER, "augment": {**ONLY_CROP, "crop_scale": 1.0}},
}


def find_recipe(method: str) -> Changes:
    """Return the changes of a system of Table 1 to the defaults: what it reads, and its recipe."""
    network = NETWORKS[method]
    reads = {
        "num_frames": network.num_frames,
        "sampling": network.sampling,
        "pixels": network.pixels,
        "weights": network.weights[0],
    }
    more = {"backbone": "ViT-B-16-quickgelu"} if method == "cliper" else {}
    return {"model": {**reads, **more}, **RECIPES[method]}
