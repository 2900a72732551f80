"""Predictions of a model on the test clips of a fold, and the figures made of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from dfercli.config import ComputeConfig, DataConfig, RunConfig
from dfercli.data.batches import build_test_loader
from dfercli.data.clips import ClipDataset, build_dataset, check_frames
from dfercli.data.manifest import read_manifest
from dfercli.data.transforms import normalise
from dfercli.engine.checkpoint import check_fits, load_checkpoint, unseen_folds
from dfercli.engine.device import make_accelerator, resolve_compute
from dfercli.engine.runlog import (
    RunFolder,
    check_alike,
    find_folds,
    find_newest_run,
    find_runs,
    list_deviations,
)
from dfercli.errors import CheckpointError, DataError
from dfercli.files import write_text
from dfercli.metrics import FoldSummary, confusion_matrix, summarise_folds
from dfercli.presets import describe_recipe

Protocol = Literal["best", "last"]
PROTOCOLS: dict[Protocol, str] = {
    "best": "the epoch of the highest WAR on the test fold, as the field publishes: it flatters",
    "last": "the last epoch, whatever it is worth",
}
"""Which epoch of a run is reported."""


@torch.inference_mode()
def predict_clips(
    model: nn.Module, loader: DataLoader, accelerator: Accelerator, class_names: Sequence[str]
) -> pd.DataFrame:
    """Run a model over test views, each clip exactly once whatever the number of devices.

    Args:
        model: Maps normalised clips (B, T, 3, H, W) to logits (B, K); prepared by the accelerator.
        loader: Of a `ClipDataset`, in order; prepared by the accelerator.
        accelerator: Gathers what several devices predict.
        class_names: K classes.

    Returns:
        Columns `clip_id`, `label` (the true class's name), and a probability a class.

    Raises:
        DataError: Not as many clips came out as went in.
    """
    model.eval()
    probs, indices = [], []
    for clips, _, index in loader:
        batch = accelerator.gather_for_metrics((model(normalise(clips)).softmax(dim=-1), index))
        probs.append(batch[0].cpu())
        indices.append(batch[1].cpu())
    dataset = loader.dataset
    assert isinstance(dataset, ClipDataset)  # nothing else is loaded here
    order = torch.cat(indices).argsort()
    table = pd.DataFrame(torch.cat(probs)[order].numpy(), columns=list(class_names))
    if len(table) != len(dataset):
        raise DataError(f"{len(dataset)} clips went in, {len(table)} predictions came out")
    table.insert(0, "label", [class_names[label] for label in dataset.labels])
    table.insert(0, "clip_id", dataset.clip_ids)
    return table


def confusion_of(predictions: pd.DataFrame) -> np.ndarray:
    """Give the (K, K) confusion matrix of a table of predictions."""
    class_names = list(predictions.columns[2:])
    labels = np.array([class_names.index(name) for name in predictions["label"]])
    predicted = predictions[class_names].to_numpy().argmax(axis=1)
    return confusion_matrix(labels, predicted, len(class_names))


def find_missed(matrix: np.ndarray, class_names: Sequence[str]) -> list[str]:
    """Give the classes that have clips and were not predicted once.

    Args:
        matrix: (K, K), counts by true class and predicted class.
        class_names: K classes.
    """
    missed = (matrix.sum(axis=1) > 0) & (matrix.sum(axis=0) == 0)
    return [name for name, is_missed in zip(class_names, missed, strict=True) if is_missed]


def write_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Write a table of predictions as CSV, as a whole."""
    write_text(path, predictions.to_csv(index=False, lineterminator="\n"))


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a table of predictions.

    Raises:
        DataError: It is missing or was not written by dfer.
    """
    try:
        table = pd.read_csv(path, dtype={"clip_id": str, "label": str}, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"no predictions in {path}; train the fold again") from error
    if list(table.columns[:2]) != ["clip_id", "label"]:
        raise DataError(f"{path} does not begin with the columns clip_id,label")
    return table


@dataclass(frozen=True)
class Results:
    """What one variant, or one checkpoint, reached on one dataset.

    Attributes:
        title: Dataset, variant, folds, backbone, seed and recipe, for the head of a table.
        recipe: The preset that it was trained by, and what was changed in it.
        class_names: K classes.
        summaries: Summary by protocol, or by `checkpoint`.
        deviations: What differs from the official lists in the data, a line each.
        others: Other variants of which some fold is finished.
    """

    title: str
    recipe: str
    class_names: list[str]
    summaries: dict[str, FoldSummary]
    deviations: list[str]
    others: list[str] = field(default_factory=list)


def read_results(
    runs: Path,
    dataset: str | None = None,
    variant: str | None = None,
    folds: Sequence[int] | None = None,
) -> Results:
    """Compute the figures of a variant's finished folds from their predictions.

    Args:
        runs: Folder of all runs.
        dataset: Its name; None takes that of the run that was finished last.
        variant: Its folder's name; None takes the one that was finished last.
        folds: Folds to read; None reads all that are finished.

    Raises:
        CheckpointError: No such run, or not each of these folds, is finished; or the folds were
            not trained alike.
        DataError: A predictions file is missing.
    """
    newest = find_newest_run(runs, dataset or "*", variant or "*")
    folder = newest.path.parent
    finished = find_folds(folder)
    missing = set(folds or ()) - finished.keys()
    if missing:
        raise CheckpointError(f"fold {min(missing)} of {folder} is not finished; train it first")
    chosen = {fold: run for fold, run in finished.items() if fold in (folds or finished)}
    first = next(iter(chosen.values()))
    config = first.read_config()
    others = {run.path.parent.name for run in find_runs(runs, folder.parent.name)} - {folder.name}
    check_alike(chosen)
    names = ", ".join(map(str, chosen))
    title = f"{folder.parent.name}, {folder.name}: folds {names}; "
    title += f"{config.model.backbone} ({config.model.weights}), seed {config.seed}; "
    recipe = describe_recipe(config)
    summaries: dict[str, FoldSummary] = {p: summarise_runs(chosen, p) for p in PROTOCOLS}
    columns = read_predictions(first.predictions_file("last")).columns
    deviations = list_deviations(chosen.values())
    title += f"recipe: {recipe}"
    return Results(title, recipe, list(columns[2:]), summaries, deviations, sorted(others))


def evaluate_checkpoint(
    where: str,
    data: DataConfig,
    folds: Sequence[int] | None = None,
    allow_other_crop: bool = False,
) -> Results:
    """Run a checkpoint, in single precision, on test clips that it was not trained on.

    Args:
        where: A checkpoint's or a run's folder, or a model's name on the Hub.
        data: The data.
        folds: Folds to test on; None takes the one that the checkpoint was not trained on, or
            all of other data.
        allow_other_crop: Go on although the faces were cropped otherwise than in training.

    Raises:
        CheckpointError: There is no such checkpoint, it was trained on clips of one of the folds,
            or the data has other classes or crops.
        DataError: The data does not hold together.
    """
    model = load_checkpoint(where)
    manifest = read_manifest(Path(data.manifest))
    check_fits(model, manifest.class_names, manifest.crop, allow_other_crop)
    folds = unseen_folds(model, manifest, folds)
    check_frames(manifest, Path(data.root))
    accelerator = make_accelerator(resolve_compute(ComputeConfig(precision="fp32")))
    prepared = accelerator.prepare(model)
    matrices = []
    for fold in folds:
        run = RunConfig(data, fold, model.config)
        dataset = build_dataset(manifest, "test", run, model.backbone.image_size)
        loader = accelerator.prepare(build_test_loader(dataset, run.train.batch_size, data.workers))
        predictions = predict_clips(prepared, loader, accelerator, manifest.class_names)
        matrices.append(confusion_of(predictions))
    summaries = {"checkpoint": summarise_folds(folds, matrices)}
    recipe = (model.settings.get("trained") or {}).get("recipe", "not recorded")
    title = f"{where} on {data.dataset}; recipe: {recipe}"
    return Results(title, recipe, model.class_names, summaries, list(manifest.deviations))


def summarise_runs(runs: Mapping[int, RunFolder], protocol: Protocol) -> FoldSummary:
    """Summarise the predictions files of finished runs.

    Args:
        runs: Run by fold.
        protocol: Which epoch's predictions.

    Raises:
        DataError: A predictions file is missing.
    """
    tables = [read_predictions(run.predictions_file(protocol)) for run in runs.values()]
    return summarise_folds(list(runs), [confusion_of(table) for table in tables])
