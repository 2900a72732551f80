"""Tables of predictions: written, read back and checked.

A table has the columns `clip_id`, `label` (name of the true class), `group` if the data has groups,
and one column of probabilities per class.
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from dfercli.errors import DataError, explain_system_error
from dfercli.files import hash_file, write_text
from dfercli.metrics.calibration import SUM_TOLERANCE, TemperatureFit, fit_calibration
from dfercli.metrics.scores import confusion_matrix
from dfercli.runs.record import ClipSet
from dfercli.runs.run_folder import RunFolder

NOT_CLASSES = ("clip_id", "label", "group", "fold")
"""Columns of a table that are not classes; `fold` where the tables of several folds are pooled."""


def confusion_of(predictions: pd.DataFrame) -> np.ndarray:
    """Return the (K, K) confusion matrix of a table of predictions."""
    return confusion_matrix(*name_classes(predictions), len(classes_of(predictions)))


def classes_of(predictions: pd.DataFrame) -> list[str]:
    """Return the K classes of a table of predictions."""
    return [name for name in predictions.columns if name not in NOT_CLASSES]


def probs_of(predictions: pd.DataFrame) -> np.ndarray:
    """Return the probabilities (N, K) of a table of predictions."""
    return predictions[classes_of(predictions)].to_numpy(dtype=np.float64)


def name_classes(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the true and the predicted classes of a table, (N,) int64 each."""
    places = {name: place for place, name in enumerate(classes_of(predictions))}
    labels = predictions["label"].map(places).to_numpy(dtype=np.int64)
    return labels, probs_of(predictions).argmax(axis=1)


def fit_held_out(held_out: pd.DataFrame, balance: str) -> TemperatureFit:
    """Fit a temperature to a table of predictions on held-out clips, or say why none is fitted."""
    labels, _ = name_classes(held_out)
    return fit_calibration(probs_of(held_out), labels, balance)


def find_missed(predictions: pd.DataFrame) -> list[str]:
    """Return the classes that have clips in a table but were never predicted."""
    matrix = confusion_of(predictions)
    missed = (matrix.sum(axis=1) > 0) & (matrix.sum(axis=0) == 0)
    return [
        name for name, is_missed in zip(classes_of(predictions), missed, strict=True) if is_missed
    ]


def describe_clips(rows: pd.DataFrame) -> ClipSet:
    """Return the number and the fingerprint of clips, by which their predictions are recognised."""
    lines = sorted(
        f"{clip_id}\t{label}" for clip_id, label in rows[["clip_id", "label"]].to_numpy()
    )
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return ClipSet(len(lines), digest[:12])


def write_predictions(predictions: pd.DataFrame, path: Path) -> None:
    """Write a table of predictions as CSV, atomically."""
    write_text(path, predictions.to_csv(index=False, lineterminator="\n"))


def read_predictions(path: Path) -> pd.DataFrame:
    """Read a table of predictions.

    Raises:
        DataError: The file is missing, damaged, or was not written by dfer.
    """
    try:
        words = dict.fromkeys(NOT_CLASSES, str)
        table = pd.read_csv(path, dtype=words, keep_default_na=False, na_values={})
    except FileNotFoundError as error:
        raise DataError(f"no predictions in {path}; train the fold again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {explain_system_error(error)}") from error
    except ValueError as error:
        raise DataError(f"{path} is not a CSV table; train the fold again") from error
    if list(table.columns[:2]) != ["clip_id", "label"]:
        raise DataError(f"{path} does not begin with the columns clip_id,label")
    fault = _find_fault(table)
    if fault:
        raise DataError(f"{path} is damaged: {fault}; train the fold again")
    return table


def _find_fault(table: pd.DataFrame) -> str:
    """Return what is wrong with a table of predictions; empty for a valid one."""
    names = classes_of(table)
    probs = table[names].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    with np.errstate(invalid="ignore"):
        sound = (probs >= 0).all(axis=1) & (abs(probs.sum(axis=1) - 1) < SUM_TOLERANCE)
    wrong = np.flatnonzero(~sound | ~table["label"].isin(names).to_numpy())
    if len(wrong):
        line = wrong[0] + 2
        return f"line {line} has an unknown label, or probabilities that do not sum to 1"
    repeated = table["clip_id"].duplicated()
    return f"clip {table['clip_id'][repeated].iloc[0]!r} appears twice" if repeated.any() else ""


def read_tested(run: RunFolder, protocol: str, held_out: bool = False) -> pd.DataFrame:
    """Read the predictions of a finished run, and check that they are of the clips it tested.

    Raises:
        DataError: The file is missing or damaged, lacks clips, or belongs to another run.
    """
    file = run.validation_file(protocol) if held_out else run.predictions_file(protocol)
    table, record = read_predictions(file), run.read()
    expected = record.data.held_out if held_out else record.data.tested
    if expected is None or record.seals is None:
        raise DataError(
            f"{run.run_file} was written by an older version of dfer and does not record which "
            f"clips were tested; train the fold again with --overwrite"
        )
    if classes_of(table) != list(record.data.class_names):
        listed = ", ".join(record.data.class_names)
        raise DataError(
            f"{file} belongs to another run: its classes are not {listed}; restore the original "
            f"file"
        )
    actual = describe_clips(table)
    if actual.clips != expected.clips:
        raise DataError(
            f"{file} has {actual.clips:,} clips, but the run tested {expected.clips:,}: it is "
            f"truncated or belongs to another run; restore the original file, or train the fold "
            f"again"
        )
    if actual != expected:
        raise DataError(
            f"{file} belongs to another run: its clips or labels differ; restore the original "
            f"file, or train the fold again"
        )
    if hash_file(file) != record.seals.get(file.name):
        raise DataError(
            f"{file} is not the file that the run wrote: it was changed, or belongs to another "
            f"variant or epoch; restore the original file, or train the fold again"
        )
    return table
