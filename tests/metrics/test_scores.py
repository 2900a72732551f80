"""WAR, UAR, precision and F1: worked out by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from dfercli.errors import DataError
from dfercli.metrics.scores import (
    confusion_matrix,
    macro_f1,
    per_class_f1,
    per_class_precision,
    per_class_recall,
    uar,
    war,
)

# Rows are true classes, columns predicted ones; 20 clips, 16 + 3 + 1, and not symmetric.
#            a   b   c
#   a   16  12   3   1    recall 12/16 = 0.75
#   b    3   2   1   0    recall  1/3
#   c    1   0   1   0    recall  0/1  = 0
# WAR = (12 + 1 + 0) / 20 = 0.65; UAR = (3/4 + 1/3 + 0) / 3 = 13/36.
# Predicted: 14, 5, 1. Precision 12/14 = 6/7, 1/5, 0.
# F1 = 2 right / (true + predicted): 24/30 = 0.8, 2/8 = 0.25, 0/2 = 0; their mean 0.35.
SKEWED = np.array([[12, 3, 1], [2, 1, 0], [0, 1, 0]])


def _clips(matrix):
    """Labels and predictions that a confusion matrix counts."""
    rows, columns = np.indices(matrix.shape)
    return np.repeat(rows, matrix.ravel()), np.repeat(columns, matrix.ravel())


def test_skewed_classes_by_hand():
    matrix = confusion_matrix(*_clips(SKEWED), num_classes=3)
    assert matrix.tolist() == SKEWED.tolist()
    assert matrix.dtype == np.int64
    assert war(matrix) == pytest.approx(0.65, abs=1e-15)
    assert uar(matrix) == pytest.approx(13 / 36, abs=1e-15)
    assert per_class_recall(matrix) == pytest.approx([0.75, 1 / 3, 0.0], abs=1e-15)
    assert per_class_precision(matrix) == pytest.approx([6 / 7, 0.2, 0.0], abs=1e-15)
    assert per_class_f1(matrix) == pytest.approx([0.8, 0.25, 0.0], abs=1e-15)
    assert macro_f1(matrix) == pytest.approx(0.35, abs=1e-15)


def test_a_class_that_never_occurs_does_not_count():
    # Class b has no clip, and one clip of a is taken for it: recalls 1/2, none, 1.
    matrix = confusion_matrix(np.array([0, 0, 2]), np.array([0, 1, 2]), num_classes=3)
    recalls = per_class_recall(matrix)
    assert math.isnan(recalls[1])
    assert recalls[[0, 2]].tolist() == [0.5, 1.0]
    assert uar(matrix) == 0.75
    assert war(matrix) == pytest.approx(2 / 3, abs=1e-15)


def test_a_class_that_is_never_predicted_has_no_precision():
    # Class a occurs and is predicted, b occurs only, c is predicted only, d does neither.
    matrix = confusion_matrix(np.array([0, 0, 1]), np.array([0, 2, 0]), num_classes=4)
    assert matrix.tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    # Of two a, one is found, and one of two predicted a is one. The mean of three F1 is 1/6.
    assert per_class_precision(matrix) == pytest.approx([0.5, math.nan, 0, math.nan], nan_ok=True)
    assert per_class_f1(matrix) == pytest.approx([0.5, 0, 0, math.nan], nan_ok=True)
    assert macro_f1(matrix) == pytest.approx(1 / 6, abs=1e-15)


def test_no_clip_at_all_gives_nan():
    matrix = confusion_matrix(np.array([], dtype=int), np.array([], dtype=int), num_classes=3)
    assert matrix.tolist() == [[0, 0, 0]] * 3
    assert math.isnan(war(matrix))
    assert math.isnan(uar(matrix))
    assert math.isnan(macro_f1(matrix))
    for of_classes in (per_class_recall, per_class_precision, per_class_f1):
        assert np.isnan(of_classes(matrix)).all()


KINDS = [
    "even",
    "skewed",
    "perfect",
    "all wrong",
    "one prediction",
    "one class",
    "one clip",
    "last classes unused",
]


def _draw(kind):
    rng = np.random.default_rng(5)
    labels, predicted = rng.integers(0, 7, 200), rng.integers(0, 7, 200)
    shares = [0.6, 0.25, 0.1, 0.03, 0.02, 0.0, 0.0]
    return {
        "even": (labels, predicted),
        "skewed": (rng.choice(7, 300, p=shares), rng.choice(7, 300, p=shares[::-1])),
        "perfect": (labels, labels),
        "all wrong": (labels, (labels + 1) % 7),
        "one prediction": (labels, np.full(200, 3)),
        "one class": (np.full(50, 2), predicted[:50]),
        "one clip": (np.array([6]), np.array([0])),
        "last classes unused": (labels % 3, predicted % 2),
    }[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_to_scikit_learn(kind):
    labels, predicted = _draw(kind)
    matrix = confusion_matrix(labels, predicted, num_classes=7)
    theirs = reference.confusion_matrix(labels, predicted, labels=range(7))
    assert np.array_equal(matrix, theirs)
    assert war(matrix) == pytest.approx(reference.accuracy_score(labels, predicted), abs=1e-12)
    present = np.unique(labels)
    recalls = reference.recall_score(
        labels, predicted, labels=present, average=None, zero_division=0
    )
    assert per_class_recall(matrix)[present] == pytest.approx(recalls, abs=1e-12)
    assert np.isnan(np.delete(per_class_recall(matrix), present)).all()
    macro = reference.recall_score(
        labels, predicted, labels=present, average="macro", zero_division=0
    )
    assert uar(matrix) == pytest.approx(macro, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("of_classes", "theirs"),
    [
        (per_class_recall, reference.recall_score),
        (per_class_precision, reference.precision_score),
        (per_class_f1, reference.f1_score),
    ],
)
def test_shares_of_classes_equal_scikit_learn(of_classes, theirs, kind):
    labels, predicted = _draw(kind)
    ours = of_classes(confusion_matrix(labels, predicted, num_classes=7))
    expected = theirs(labels, predicted, labels=range(7), average=None, zero_division=math.nan)
    assert ours == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
def test_balanced_accuracy_and_macro_f1_equal_scikit_learn(kind, recwarn):
    labels, predicted = _draw(kind)
    matrix = confusion_matrix(labels, predicted, num_classes=7)
    balanced = reference.balanced_accuracy_score(labels, predicted)  # warns of classes predicted
    assert uar(matrix) == pytest.approx(balanced, abs=1e-12)  # that do not occur; leaves them out
    macro = reference.f1_score(labels, predicted, average="macro", zero_division=math.nan)
    assert macro_f1(matrix) == pytest.approx(macro, abs=1e-12)


@pytest.mark.parametrize("measure", [war, uar, macro_f1])
def test_the_order_of_clips_and_the_names_of_classes_do_not_matter(measure):
    labels, predicted = _draw("skewed")
    rng = np.random.default_rng(1)
    order, names = rng.permutation(len(labels)), rng.permutation(7)
    before = measure(confusion_matrix(labels, predicted, 7))
    assert measure(confusion_matrix(labels[order], predicted[order], 7)) == before
    renamed = measure(confusion_matrix(names[labels], names[predicted], 7))
    assert renamed == pytest.approx(before, abs=1e-15)


@pytest.mark.parametrize(
    ("labels", "predicted", "said"),
    [
        ([0, 3], [0, 1], "class 3: classes must be integers from 0 to 2, one per clip"),
        ([0, 1], [0, -1], "class -1: classes must be integers from 0 to 2, one per clip"),
        ([0, 1], [0.5, 1], "class 0.5: classes must be integers from 0 to 2, one per clip"),
        ([0, 1], [[0, 1], [1, 0]], r"shape \(2, 2\): classes must be integers"),
        ([0, 1, 2], [0, 1], "2 predictions for 3 labels; expected one each"),
        ([0, 1, 2], [0], "1 predictions for 3 labels"),  # would be repeated silently
    ],
)
def test_what_is_no_class_is_refused(labels, predicted, said):
    with pytest.raises(DataError, match=said):
        confusion_matrix(np.array(labels), np.array(predicted), 3)


def test_no_clip_is_an_empty_matrix():
    assert confusion_matrix(np.array([]), np.array([]), 2).tolist() == [[0, 0], [0, 0]]
