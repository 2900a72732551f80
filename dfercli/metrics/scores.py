"""WAR, UAR and what they are made of, all from a confusion matrix.

WAR (weighted average recall) is the share of clips named rightly, that is accuracy. UAR
(unweighted average recall) is the mean of the classes' recalls. Both are fractions in [0, 1].

A share of no clips is nan, never 0, and no mean counts it: scikit-learn's `zero_division=nan`.
"""

import numpy as np

from dfercli.errors import DataError


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count clips by true class (row) and predicted class (column).

    Args:
        labels: (N,) int, true classes.
        predicted: (N,) int, predicted classes.
        num_classes: K.

    Returns:
        (K, K) int64.

    Raises:
        DataError: Not as many of one as of the other, or a class that is none of 0 to K - 1.
    """
    labels, predicted = (_check_classes(each, num_classes) for each in (labels, predicted))
    if len(labels) != len(predicted):
        raise DataError(f"{len(labels)} labels and {len(predicted)} predictions; give one each")
    cells = labels * num_classes + predicted
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def _check_classes(classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Return class numbers as int64, (N,), once they are whole and in range."""
    given = np.asarray(classes)
    numbers = given.astype(np.int64)
    wrong = (numbers != given) | (numbers < 0) | (numbers >= num_classes)
    if given.ndim != 1 or wrong.any():
        which = f"class {given[wrong][0]}" if given.ndim == 1 else f"shape {given.shape}"
        raise DataError(f"{which}: give one whole number from 0 to {num_classes - 1} for each clip")
    return numbers


def war(matrix: np.ndarray) -> float:
    """Give the weighted average recall of a (K, K) confusion matrix; nan when it is empty."""
    total = matrix.sum()
    return float(np.trace(matrix) / total) if total else float("nan")


def per_class_recall(matrix: np.ndarray) -> np.ndarray:
    """Give each class's recall, (K,) float64; nan for a class of which no clip was tested."""
    return divide(np.diag(matrix), matrix.sum(axis=1))


def per_class_precision(matrix: np.ndarray) -> np.ndarray:
    """Give each class's precision, (K,) float64; nan for a class that was not predicted once."""
    return divide(np.diag(matrix), matrix.sum(axis=0))


def per_class_f1(matrix: np.ndarray) -> np.ndarray:
    """Give each class's F1, the harmonic mean of its recall and precision.

    Returns:
        (K,) float64; nan for a class that neither occurs nor is predicted, 0 for one that occurs
        and is not predicted, or the reverse.
    """
    return divide(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def uar(matrix: np.ndarray) -> float:
    """Give the unweighted average recall, over the classes of which some clip was tested."""
    return float(mean_of_known(per_class_recall(matrix)))


def macro_f1(matrix: np.ndarray) -> float:
    """Give the mean of the classes' F1, over the classes that occur or are predicted."""
    return float(mean_of_known(per_class_f1(matrix)))


def divide(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Give part / whole in float64, nan where there is nothing to take a part of."""
    shares = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=shares, where=np.asarray(whole) > 0)
    return shares


def mean_of_known(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Give the mean along an axis of what is not nan; nan where all is."""
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0.0).sum(axis=axis), known.sum(axis=axis))
