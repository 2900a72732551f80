"""WAR, UAR, recall, precision and F1 of a confusion matrix.

WAR (weighted average recall) is the fraction of clips classified correctly, that is the accuracy.
UAR (unweighted average recall) is the mean of the classes' recalls. Both are in [0, 1].

A fraction of no clips is nan and left out of means, as with scikit-learn's `zero_division=nan`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfercli.errors import DataError


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count clips by true class (row) and predicted class (column): (K, K) int64.

    Labels and predictions are (N,) integers from 0 to K - 1.

    Raises:
        DataError: The two differ in length, or a class is not an integer from 0 to K - 1.
    """
    labels, predicted = (_check_classes(column, num_classes) for column in (labels, predicted))
    if len(labels) != len(predicted):
        raise DataError(f"{len(predicted)} predictions for {len(labels)} labels; expected one each")
    cells = labels * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def _check_classes(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Return class numbers as (N,) int64; refuses numbers that are not integers or out of range."""
    classes = np.asarray(classes)
    numbers = classes.astype(np.int64)
    wrong = (numbers != classes) | (numbers < 0) | (numbers >= num_classes)
    if classes.ndim != 1 or wrong.any():
        value = f"class {classes[wrong][0]}" if classes.ndim == 1 else f"shape {classes.shape}"
        raise DataError(
            f"{value}: classes must be integers from 0 to {num_classes - 1}, one per clip"
        )
    return numbers


def war(matrix: np.ndarray) -> float:
    """Return the weighted average recall of a (K, K) confusion matrix; nan if it is empty."""
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else float("nan")


def per_class_recall(matrix: np.ndarray) -> np.ndarray:
    """Return each class's recall, (K,) float64; nan for a class without clips."""
    return divide(np.diag(matrix), matrix.sum(axis=1))


def per_class_precision(matrix: np.ndarray) -> np.ndarray:
    """Return each class's precision, (K,) float64; nan for a class that is never predicted."""
    return divide(np.diag(matrix), matrix.sum(axis=0))


def per_class_f1(matrix: np.ndarray) -> np.ndarray:
    """Return each class's F1, the harmonic mean of its recall and precision, (K,) float64.

    It is nan for a class that neither occurs nor is predicted, and 0 for one that only occurs or is
    only predicted.
    """
    return divide(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def uar(matrix: np.ndarray) -> float:
    """Return the unweighted average recall, over the classes that have clips."""
    return float(mean_of_known(per_class_recall(matrix)))


def macro_f1(matrix: np.ndarray) -> float:
    """Return the mean of the classes' F1, over the classes that occur or are predicted."""
    return float(mean_of_known(per_class_f1(matrix)))


def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole in float64, with nan where the whole is 0."""
    shares = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=shares, where=np.asarray(whole) > 0)
    return shares


def mean_of_known(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the mean along an axis of the values that are not nan; nan if all are."""
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0.0).sum(axis=axis), known.sum(axis=axis))


@dataclass(frozen=True)
class FoldSummary:
    """Scores of one model in F folds: (F,), or per class (F, K).

    `num_clips` are the clips tested in each fold; `matrix` is the (K, K) confusion matrix of all.
    """

    folds: tuple[int, ...]
    war: np.ndarray
    uar: np.ndarray
    macro_f1: np.ndarray
    recalls: np.ndarray
    f1: np.ndarray
    num_clips: np.ndarray
    matrix: np.ndarray

    @property
    def mean_war(self) -> float:
        """Mean of the folds' WAR, the figure that papers publish."""
        return float(self.war.mean())

    @property
    def mean_uar(self) -> float:
        """Mean of the folds' UAR."""
        return float(self.uar.mean())

    @property
    def mean_macro_f1(self) -> float:
        """Mean of the folds' macro F1."""
        return float(self.macro_f1.mean())

    @property
    def pooled_war(self) -> float:
        """WAR of all clips together."""
        return war(self.matrix)

    @property
    def pooled_uar(self) -> float:
        """UAR of all clips together; unlike the mean it counts classes that a fold lacks."""
        return uar(self.matrix)

    @property
    def sd_war(self) -> float:
        """Sample standard deviation of the folds' WAR; nan for one fold."""
        return _deviation(self.war)

    @property
    def sd_uar(self) -> float:
        """Sample standard deviation of the folds' UAR; nan for one fold."""
        return _deviation(self.uar)

    @property
    def mean_recalls(self) -> np.ndarray:
        """(K,) mean over folds of each class's recall; nan for a class without clips."""
        return mean_of_known(self.recalls, axis=0)

    @property
    def mean_f1(self) -> np.ndarray:
        """(K,) mean over folds of each class's F1; nan without clips or predictions."""
        return mean_of_known(self.f1, axis=0)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON, with None for nan."""
        names = [
            *("war", "uar", "macro_f1", "mean_war", "mean_uar", "mean_macro_f1"),
            *("pooled_war", "pooled_uar", "sd_war", "sd_uar", "mean_recalls", "mean_f1"),
        ]
        return {
            "folds": list(self.folds),
            "num_clips": self.num_clips.tolist(),
            **{name: _to_plain(getattr(self, name)) for name in names},
            "confusion_matrix": self.matrix.tolist(),
        }


def summarise_folds(folds: Sequence[int], matrices: Sequence[np.ndarray]) -> FoldSummary:
    """Return the scores of folds from the (K, K) confusion matrix of each."""
    return FoldSummary(
        folds=tuple(folds),
        war=np.array([war(matrix) for matrix in matrices]),
        uar=np.array([uar(matrix) for matrix in matrices]),
        macro_f1=np.array([macro_f1(matrix) for matrix in matrices]),
        recalls=np.stack([per_class_recall(matrix) for matrix in matrices]),
        f1=np.stack([per_class_f1(matrix) for matrix in matrices]),
        num_clips=np.array([matrix.sum() for matrix in matrices]),
        matrix=np.sum(matrices, axis=0),
    )


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _to_plain(values: np.ndarray | float) -> Any:
    """Return a number or a list of numbers, with None for nan."""
    plain = np.asarray(values, dtype=object)
    plain[np.isnan(values)] = None
    return plain.tolist()
