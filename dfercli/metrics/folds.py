"""The figures of one model over the folds of a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dfercli.metrics.scores import macro_f1, mean_of_known, per_class_f1, per_class_recall, uar, war


@dataclass(frozen=True)
class FoldSummary:
    """Results of one model over folds.

    Attributes:
        folds: Fold numbers.
        war: (F,) WAR of each fold.
        uar: (F,) UAR of each fold.
        macro_f1: (F,) macro F1 of each fold.
        recalls: (F, K) per-class recalls of each fold.
        f1: (F, K) per-class F1 of each fold.
        num_clips: (F,) clips that each fold tested.
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
        """Plain mean of the folds' WAR: the field's published figure."""
        return float(self.war.mean())

    @property
    def mean_uar(self) -> float:
        """Plain mean of the folds' UAR."""
        return float(self.uar.mean())

    @property
    def mean_macro_f1(self) -> float:
        """Plain mean of the folds' macro F1."""
        return float(self.macro_f1.mean())

    @property
    def pooled_war(self) -> float:
        """WAR of the clips of all folds together."""
        return war(self.matrix)

    @property
    def pooled_uar(self) -> float:
        """UAR of the clips of all folds together; unlike the mean it misses no rare class."""
        return uar(self.matrix)

    @property
    def sd_war(self) -> float:
        """Standard deviation of the folds' WAR, over F - 1; nan for one fold."""
        return _deviation(self.war)

    @property
    def sd_uar(self) -> float:
        """Standard deviation of the folds' UAR, over F - 1; nan for one fold."""
        return _deviation(self.uar)

    @property
    def mean_recalls(self) -> np.ndarray:
        """(K,) mean over folds of each class's recall; nan for a class that no fold tests."""
        return mean_of_known(self.recalls, axis=0)

    @property
    def mean_f1(self) -> np.ndarray:
        """(K,) mean over folds of each class's F1; nan for one that no fold has or predicts."""
        return mean_of_known(self.f1, axis=0)

    def to_dict(self) -> dict[str, Any]:
        """Give all of it as plain values for JSON; what cannot be told is None."""
        return {
            "folds": list(self.folds),
            "num_clips": self.num_clips.tolist(),
            "war": _plain(self.war),
            "uar": _plain(self.uar),
            "macro_f1": _plain(self.macro_f1),
            "mean_war": _plain(self.mean_war),
            "mean_uar": _plain(self.mean_uar),
            "mean_macro_f1": _plain(self.mean_macro_f1),
            "pooled_war": _plain(self.pooled_war),
            "pooled_uar": _plain(self.pooled_uar),
            "sd_war": _plain(self.sd_war),
            "sd_uar": _plain(self.sd_uar),
            "mean_recalls": _plain(self.mean_recalls),
            "mean_f1": _plain(self.mean_f1),
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
        macro_f1=np.array([macro_f1(matrix) for matrix in matrices]),
        recalls=np.stack([per_class_recall(matrix) for matrix in matrices]),
        f1=np.stack([per_class_f1(matrix) for matrix in matrices]),
        num_clips=np.array([matrix.sum() for matrix in matrices]),
        matrix=np.sum(matrices, axis=0),
    )


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def _plain(values: np.ndarray | float) -> Any:
    """Give numbers as JSON has them: None for nan, (F,) as a list."""
    plain = np.asarray(values, dtype=object)
    plain[np.isnan(values)] = None
    return plain.tolist()
