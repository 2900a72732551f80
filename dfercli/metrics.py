"""WAR, UAR and what they are made of. Pure numpy; every reported number comes through here.

WAR (weighted average recall) is the share of clips named rightly, that is accuracy. UAR
(unweighted average recall) is the mean of the classes' recalls. Both are fractions in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count clips by true class (row) and predicted class (column).

    Args:
        labels: (N,) int, true classes.
        predicted: (N,) int, predicted classes.
        num_classes: K.

    Returns:
        (K, K) int64.
    """
    cells = np.asarray(labels, dtype=np.int64) * num_classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def war(matrix: np.ndarray) -> float:
    """Give the weighted average recall of a (K, K) confusion matrix; nan when it is empty."""
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else float("nan")


def per_class_recall(matrix: np.ndarray) -> np.ndarray:
    """Give each class's recall, (K,) float64; nan for a class of which no clip was tested."""
    counts = matrix.sum(axis=1)
    recalls = np.full(len(matrix), np.nan)
    np.divide(np.diag(matrix), counts, out=recalls, where=counts > 0)
    return recalls


def uar(matrix: np.ndarray) -> float:
    """Give the unweighted average recall, over the classes of which some clip was tested."""
    recalls = per_class_recall(matrix)
    return float(np.nanmean(recalls)) if np.isfinite(recalls).any() else float("nan")


@dataclass(frozen=True)
class FoldSummary:
    """Results of one model over folds.

    Attributes:
        folds: Fold numbers.
        war: (F,) WAR of each fold.
        uar: (F,) UAR of each fold.
        recalls: (F, K) per-class recalls of each fold.
        num_clips: (F,) clips that each fold tested.
        matrix: (K, K) confusion matrix summed over folds.
    """

    folds: tuple[int, ...]
    war: np.ndarray
    uar: np.ndarray
    recalls: np.ndarray
    num_clips: np.ndarray
    matrix: np.ndarray

    @property
    def mean_war(self) -> float:
        """Plain mean of the folds' WAR: the field's published figure."""
        return float(self.war.mean())

    @property
    def mean_uar(self) -> float:
        """Plain mean of the folds' UAR."""
        return float(self.uar.mean())

    @property
    def mean_recalls(self) -> np.ndarray:
        """(K,) mean over folds of each class's recall; nan for a class that no fold tests."""
        tested = np.isfinite(self.recalls)
        sums = np.where(tested, self.recalls, 0.0).sum(axis=0)
        means = np.full(self.recalls.shape[1], np.nan)
        np.divide(sums, tested.sum(axis=0), out=means, where=tested.any(axis=0))
        return means

    def to_dict(self) -> dict[str, Any]:
        """Give all of it as plain values for JSON; what no clip tested is None."""
        return {
            "folds": list(self.folds),
            "num_clips": self.num_clips.tolist(),
            "war": self.war.tolist(),
            "uar": self.uar.tolist(),
            "mean_war": self.mean_war,
            "mean_uar": self.mean_uar,
            "mean_recalls": [None if np.isnan(r) else float(r) for r in self.mean_recalls],
            "confusion_matrix": self.matrix.tolist(),
        }


def summarise_folds(folds: Sequence[int], matrices: Sequence[np.ndarray]) -> FoldSummary:
    """Summarise one confusion matrix a fold.

    Args:
        folds: Fold numbers.
        matrices: As many (K, K) confusion matrices, in the same order.
    """
    return FoldSummary(
        folds=tuple(folds),
        war=np.array([war(matrix) for matrix in matrices]),
        uar=np.array([uar(matrix) for matrix in matrices]),
        recalls=np.stack([per_class_recall(matrix) for matrix in matrices]),
        num_clips=np.array([matrix.sum() for matrix in matrices]),
        matrix=np.sum(matrices, axis=0),
    )
