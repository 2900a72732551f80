"""Evaluation of a run: on the test fold, and on the part held out of the other folds."""

import time
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from dfercli.config import ALL_DATA, RunConfig
from dfercli.data.folds import Part, select_rows
from dfercli.data.loaders import ClipDataset, build_dataset, build_test_loader
from dfercli.data.manifest import Manifest
from dfercli.data.transforms import normalise
from dfercli.errors import DataError
from dfercli.metrics.calibration import negative_log_likelihood
from dfercli.metrics.scores import uar, war
from dfercli.models.base import ExpressionModel
from dfercli.runs.predictions import confusion_of, describe_clips, name_classes, probs_of
from dfercli.runs.record import DataRecord, EpochMetrics, Scores
from dfercli.runs.run_folder import RunFolder
from dfercli.training.device import describe_device
from dfercli.training.selection import EpochKeeper


def describe_data(config: RunConfig, manifest: Manifest) -> DataRecord:
    """Return the record of a run's data."""
    has_held_out = config.train.val_fraction > 0 and config.fold != ALL_DATA
    return DataRecord(
        fingerprint=manifest.fingerprint,
        deviations=tuple(manifest.deviations),
        drawn=manifest.drawn,
        class_names=tuple(manifest.class_names),
        crop=manifest.crop,
        folds=tuple(manifest.folds),
        grouped="group" in manifest.rows.columns,
        train_clips=len(select_rows(manifest, "train", config)),
        tested=describe_clips(select_rows(manifest, "test", config)),
        held_out=describe_clips(select_rows(manifest, "val", config)) if has_held_out else None,
        votes=manifest.votes_fingerprint if config.train.labels == "votes" else None,
    )


def build_eval_loaders(
    config: RunConfig,
    manifest: Manifest,
    accelerator: Accelerator,
    image_size: int,
    batch_size: int,
) -> dict[Part, DataLoader]:
    """Return the loaders of the `test` fold and, if clips are held out, of the `val` part.

    A run on all clips has none.
    """
    parts: list[Part] = ["test", "val"] if config.train.val_fraction > 0 else ["test"]
    if config.fold == ALL_DATA:
        parts = []
    loaders: dict[Part, DataLoader] = {}
    for part in parts:
        dataset = build_dataset(manifest, part, config, image_size)
        loader = build_test_loader(dataset, batch_size, config.data.workers)
        loaders[part] = accelerator.prepare(loader)
    return loaders


def predict_parts(
    model: nn.Module,
    loaders: Mapping[Part, DataLoader],
    accelerator: Accelerator,
    class_names: Sequence[str],
) -> dict[Part, pd.DataFrame]:
    """Return the table of predictions of each part."""
    return {
        part: predict_clips(model, loader, accelerator, class_names)
        for part, loader in loaders.items()
    }


@torch.inference_mode()
def predict_clips(
    model: nn.Module, loader: DataLoader, accelerator: Accelerator, class_names: Sequence[str]
) -> pd.DataFrame:
    """Predict test clips, each exactly once whatever the number of devices.

    Args:
        model: Maps normalised clips (B, T, 3, H, W) to logits (B, K); prepared by the accelerator.
        loader: Loads a `ClipDataset` in order; prepared by the accelerator.
        accelerator: Gathers the predictions of several devices.
        class_names: The K classes.

    Raises:
        DataError: The number of predictions differs from the number of clips.
    """
    model.eval()
    dataset = loader.dataset
    assert isinstance(dataset, ClipDataset)  # nothing else is loaded here
    probs, indices = [], []
    for clips, _, index in loader:
        own = model(normalise(clips, dataset.pixels)).softmax(dim=-1)
        batch = accelerator.gather_for_metrics((own, index))
        probs.append(batch[0])  # left on the device: fetching them would wait for it
        indices.append(batch[1])
    order = torch.cat(indices).cpu().argsort()
    table = pd.DataFrame(torch.cat(probs).cpu()[order].numpy(), columns=list(class_names))
    if len(table) != len(dataset):
        raise DataError(f"{len(table)} predictions for {len(dataset)} clips; expected one per clip")
    if dataset.groups is not None:
        table.insert(0, "group", dataset.groups)
    table.insert(0, "label", [class_names[label] for label in dataset.labels])
    table.insert(0, "clip_id", dataset.clip_ids)
    return table


def score(predictions: Mapping[Part, pd.DataFrame]) -> Scores:
    """Return WAR and UAR of the test fold; WAR, UAR and loss in nats of the held-out part.

    Parts without predictions, such as the test fold of a run on all clips, have no scores.
    """
    matrices = {part: confusion_of(table) for part, table in predictions.items()}
    scores: Scores = {}
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


def evaluate_untrained(
    config: RunConfig,
    run: RunFolder,
    manifest: Manifest,
    model: ExpressionModel,
    accelerator: Accelerator,
    command: str,
) -> None:
    """Evaluate a model as it is, and record that as epoch 0 of a run without training epochs."""
    started_s = time.perf_counter()
    size = model.image_size
    loaders = build_eval_loaders(config, manifest, accelerator, size, config.train.batch_size)
    prepared = accelerator.prepare_model(model, evaluation_mode=True)
    predictions = predict_parts(prepared, loaders, accelerator, manifest.class_names)
    if accelerator.is_main_process:
        device = describe_device(accelerator.device)
        run.start(config, describe_data(config, manifest), command, device)
        seconds = round(time.perf_counter() - started_s, 2)
        line: EpochMetrics = {
            "epoch": 0,
            "loss": None,
            "lr": 0.0,
            **score(predictions),
            "seconds": seconds,
        }
        keeper = EpochKeeper(run, model, lambda _: None, balance=config.train.balance)
        keeper.keep([line], predictions, last=True)
        keeper.finish([line])
