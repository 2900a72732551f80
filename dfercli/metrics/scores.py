"""WAR, UAR, recall, precision and F1 of a confusion matrix.

WAR (weighted average recall) is the fraction of clips classified correctly, that is the accuracy.
UAR (unweighted average recall) is the mean of the classes' recalls. Both are in [0, 1].

A fraction of no clips is nan and left out of means, as with scikit-learn's `zero_division=nan`.
"""

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
        which = f"class {classes[wrong][0]}" if classes.ndim == 1 else f"shape {classes.shape}"
        raise DataError(
            f"{which}: classes must be integers from 0 to {num_classes - 1}, one per clip"
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
