"""Predictions of a model on the clips of a fold: made, written, and read back with distrust.

A table of predictions has the columns `clip_id`, `label` (the true class's name), `group` where
the data has groups, and a probability a class.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader

from dfercli.data.dataset import ClipDataset
from dfercli.data.transforms import normalise
from dfercli.errors import DataError
from dfercli.files import hash_file, write_text
from dfercli.metrics import confusion_matrix
from dfercli.metrics.calibration import SUM_TOLERANCE
from dfercli.runs.run_folder import RunFolder
from dfercli.system_errors import explain_system_error

NOT_CLASSES = ("clip_id", "label", "group", "fold")
"""Columns of a table of predictions that are no class; `fold` where those of several are one."""


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
        A table of predictions, in the order of the dataset.

    Raises:
        DataError: Not as many clips came out as went in.
    """
    model.eval()
    probs, indices = [], []
    for clips, _, index in loader:
        batch = accelerator.gather_for_metrics((model(normalise(clips)).softmax(dim=-1), index))
        probs.append(batch[0])  # where they are: to fetch them would wait for the device
        indices.append(batch[1])
    dataset = loader.dataset
    assert isinstance(dataset, ClipDataset)  # nothing else is loaded here
    order = torch.cat(indices).cpu().argsort()
    table = pd.DataFrame(torch.cat(probs).cpu()[order].numpy(), columns=list(class_names))
    if len(table) != len(dataset):
        raise DataError(f"{len(dataset)} clips went in, {len(table)} predictions came out")
    if dataset.groups is not None:
        table.insert(0, "group", dataset.groups)
    table.insert(0, "label", [class_names[label] for label in dataset.labels])
    table.insert(0, "clip_id", dataset.clip_ids)
    return table


def confusion_of(predictions: pd.DataFrame) -> np.ndarray:
    """Give the (K, K) confusion matrix of a table of predictions."""
    return confusion_matrix(*name_classes(predictions), len(classes_of(predictions)))


def classes_of(predictions: pd.DataFrame) -> list[str]:
    """Give the K classes of a table of predictions."""
    return [name for name in predictions.columns if name not in NOT_CLASSES]


def probs_of(predictions: pd.DataFrame) -> np.ndarray:
    """Give the probabilities (N, K) of a table of predictions."""
    return predictions[classes_of(predictions)].to_numpy(dtype=np.float64)


def name_classes(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Give the true and the predicted classes of a table, (N,) int64 twice."""
    places = {name: place for place, name in enumerate(classes_of(predictions))}
    labels = predictions["label"].map(places).to_numpy(dtype=np.int64)
    return labels, probs_of(predictions).argmax(axis=1)


def find_missed(predictions: pd.DataFrame) -> list[str]:
    """Give the classes that have clips in a table of predictions and were not predicted once."""
    matrix = confusion_of(predictions)
    missed = (matrix.sum(axis=1) > 0) & (matrix.sum(axis=0) == 0)
    return [
        name for name, is_missed in zip(classes_of(predictions), missed, strict=True) if is_missed
    ]


def describe_clips(rows: pd.DataFrame) -> dict[str, Any]:
    """Give what tells whether predictions are of these clips: their number, and a fingerprint.

    Args:
        rows: Of a manifest or of predictions, with `clip_id` and `label`.
    """
    lines = sorted(
        f"{clip_id}\t{label}" for clip_id, label in rows[["clip_id", "label"]].to_numpy()
    )
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return {"clips": len(lines), "fingerprint": digest[:12]}


def write_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Write a table of predictions as CSV, as a whole."""
    write_text(path, predictions.to_csv(index=False, lineterminator="\n"))


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a table of predictions.

    Raises:
        DataError: It is missing, damaged, or was not written by dfer.
    """
    try:
        words = dict.fromkeys(NOT_CLASSES, str)
        table = pd.read_csv(path, dtype=words, keep_default_na=False, na_values={})
    except FileNotFoundError as error:
        raise DataError(f"no predictions in {path}; train the fold again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {explain_system_error(error)}") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged: no table; train the fold again") from error
    if list(table.columns[:2]) != ["clip_id", "label"]:
        raise DataError(f"{path} does not begin with the columns clip_id,label")
    fault = _find_fault(table)
    if fault:
        raise DataError(f"{path} is damaged: {fault}; train the fold again")
    return table


def _find_fault(table: pd.DataFrame) -> str:
    """Say what is wrong with a table of predictions; nothing if it is sound."""
    names = classes_of(table)
    probs = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    with np.errstate(invalid="ignore"):
        sound = (probs >= 0).all(axis=1) & (abs(probs.sum(axis=1) - 1) < SUM_TOLERANCE)
    wrong = np.flatnonzero(~sound | ~table["label"].isin(names).to_numpy())
    if len(wrong):
        line = wrong[0] + 2
        return f"line {line} has no known label, or no probabilities that sum to 1"
    repeated = table["clip_id"].duplicated()
    return f"clip {table['clip_id'][repeated].iloc[0]!r} is there twice" if repeated.any() else ""


def read_tested(run: RunFolder, protocol: str, held_out: bool = False) -> pd.DataFrame:
    """Read what a finished run predicted, and compare it with what the run says it tested.

    Args:
        run: The run.
        protocol: Which epoch's predictions.
        held_out: On the validation part instead of the test fold.

    Raises:
        DataError: The file is missing or damaged, lacks clips, or is another run's.
    """
    file = run.validation_file(protocol) if held_out else run.predictions_file(protocol)
    table, entries = read_predictions(file), run.read()
    expected = entries.get("held_out" if held_out else "tested")
    if expected is None or "sealed" not in entries:
        raise DataError(
            f"{run.run_file} does not say which clips were tested: an older dfer wrote it; train "
            f"the fold again with --overwrite"
        )
    if classes_of(table) != entries["class_names"]:
        named = ", ".join(entries["class_names"])
        raise DataError(f"{file} is not this run's: its classes are not {named}; put its own back")
    found = describe_clips(table)
    if found["clips"] != expected["clips"]:
        raise DataError(
            f"{file} has {found['clips']:,} clips, the run tested {expected['clips']:,}; it was "
            f"cut off or is another run's: put its own back, or train the fold again"
        )
    if found != expected:
        raise DataError(
            f"{file} is not this run's: it has other clips or labels; put its own back, or train "
            f"the fold again"
        )
    if hash_file(file) != entries["sealed"].get(file.name):
        raise DataError(
            f"{file} is not as the run wrote it: it is another variant's or epoch's, or was "
            f"changed; put its own back, or train the fold again"
        )
    return table
