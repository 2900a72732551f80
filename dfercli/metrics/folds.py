"""A model's scores over the folds of a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfercli.metrics.scores import macro_f1, mean_of_known, per_class_f1, per_class_recall, uar, war


@dataclass(frozen=True)
class FoldSummary:
    """Scores of one model in F folds.

    Attributes:
        folds: Fold numbers.
        war: (F,) WAR of each fold.
        uar: (F,) UAR of each fold.
        macro_f1: (F,) macro F1 of each fold.
        recalls: (F, K) per-class recalls of each fold.
        f1: (F, K) per-class F1 of each fold.
        num_clips: (F,) clips tested in each fold.
        matrix: (K, K) confusion matrix summed over folds.
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
