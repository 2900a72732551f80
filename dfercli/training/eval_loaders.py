"""Clips that a run does not learn from: the test fold, and the part that is held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from dfercli.config import ALL_DATA, RunConfig
from dfercli.data.dataset import build_dataset
from dfercli.data.folds import Part, select_rows
from dfercli.data.loaders import build_test_loader
from dfercli.data.manifest import Manifest
from dfercli.metrics import negative_log_likelihood, uar, war
from dfercli.models.base import ExpressionModel
from dfercli.runs.predictions import (
    confusion_of,
    describe_clips,
    name_classes,
    predict_clips,
    probs_of,
)


@dataclass(frozen=True)
class HeldClips:
    """Loaders of the `test` fold and, where some clips are held out, of the `val` part.

    Attributes:
        loaders: By part, prepared by the accelerator.
    """

    loaders: dict[Part, DataLoader]

    def predict(
        self, prepared: nn.Module, accelerator: Accelerator, class_names: Sequence[str]
    ) -> dict[Part, pd.DataFrame]:
        """Give the predictions of each part."""
        return {
            part: predict_clips(prepared, loader, accelerator, class_names)
            for part, loader in self.loaders.items()
        }


def score(predictions: Mapping[Part, pd.DataFrame]) -> dict[str, float]:
    """Return WAR and UAR of the test fold; those of the held-out part, and its loss in nats.

    Parts without predictions, such as the test fold of a run on all clips, have no figures.
    """
    matrices = {part: confusion_of(table) for part, table in predictions.items()}
    scores: dict[str, float] = {}
    if "test" in matrices:
        scores |= {"war": war(matrices["test"]), "uar": uar(matrices["test"])}
    if "val" in matrices:
        labels, _ = name_classes(predictions["val"])
        scores |= {
            "val_war": war(matrices["val"]),
            "val_uar": uar(matrices["val"]),
            "val_loss": negative_log_likelihood(probs_of(predictions["val"]), labels),
        }
    return scores


def describe_data(config: RunConfig, manifest: Manifest) -> dict[str, Any]:
    """Give what a run writes down of its data, so that its results are known again."""
    parts: dict[str, Part] = {"tested": "test"}
    if config.train.val_fraction > 0 and config.fold != ALL_DATA:
        parts["held_out"] = "val"
    rows = {name: select_rows(manifest, part, config) for name, part in parts.items()}
    return {
        "data_fingerprint": manifest.fingerprint,
        "deviations": list(manifest.deviations),
        "drawn": manifest.drawn,
        "class_names": list(manifest.class_names),
        "crop": manifest.crop,
        "folds": list(manifest.folds),
        "grouped": "group" in manifest.rows.columns,
        "learnt": len(select_rows(manifest, "train", config)),
        **{name: describe_clips(each) for name, each in rows.items()},
    }


def load_held(
    config: RunConfig,
    manifest: Manifest,
    model: ExpressionModel,
    accelerator: Accelerator,
    size: int,
) -> HeldClips:
    """Return the loaders of the parts that are not trained on, `size` clips at a time."""
    parts: list[Part] = ["test", "val"] if config.train.val_fraction > 0 else ["test"]
    if config.fold == ALL_DATA:
        parts = []
    loaders: dict[Part, DataLoader] = {}
    for part in parts:
        dataset = build_dataset(manifest, part, config, model.backbone.image_size)
        loaders[part] = accelerator.prepare(build_test_loader(dataset, size, config.data.workers))
    return HeldClips(loaders)
