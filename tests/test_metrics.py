"""WAR and UAR: worked out by hand, and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn import metrics as reference

from dfercli.metrics import confusion_matrix, per_class_recall, summarise_folds, uar, war

# Rows are true classes, columns predicted ones; 20 clips, 16 + 3 + 1, and not symmetric.
#            a   b   c
#   a   16  12   3   1    recall 12/16 = 0.75
#   b    3   2   1   0    recall  1/3
#   c    1   0   1   0    recall  0/1  = 0
# WAR = (12 + 1 + 0) / 20 = 0.65; UAR = (3/4 + 1/3 + 0) / 3 = 13/36.
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


def test_a_class_that_never_occurs_does_not_count():
    # Class b has no clip, and one clip of a is taken for it: recalls 1/2, none, 1.
    matrix = confusion_matrix(np.array([0, 0, 2]), np.array([0, 1, 2]), num_classes=3)
    recalls = per_class_recall(matrix)
    assert math.isnan(recalls[1])
    assert recalls[[0, 2]].tolist() == [0.5, 1.0]
    assert uar(matrix) == 0.75
    assert war(matrix) == pytest.approx(2 / 3, abs=1e-15)


def test_no_clip_at_all_gives_nan():
    matrix = confusion_matrix(np.array([], dtype=int), np.array([], dtype=int), num_classes=3)
    assert matrix.tolist() == [[0, 0, 0]] * 3
    assert math.isnan(war(matrix))
    assert math.isnan(uar(matrix))
    assert np.isnan(per_class_recall(matrix)).all()


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


@pytest.mark.parametrize(
    "kind",
    [
        "even",
        "skewed",
        "perfect",
        "all wrong",
        "one prediction",
        "one class",
        "one clip",
        "last classes unused",
    ],
)
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


def test_folds_are_averaged_plainly():
    # Fold 1, 20 clips: WAR 0.65, UAR 13/36. Fold 2, 4 clips, none of c: WAR 3/4, UAR (1/2 + 1) / 2.
    second = np.array([[1, 1, 0], [0, 2, 0], [0, 0, 0]])
    summary = summarise_folds([1, 2], [SKEWED, second])
    assert summary.folds == (1, 2)
    assert summary.war == pytest.approx([0.65, 0.75], abs=1e-15)
    assert summary.uar == pytest.approx([13 / 36, 0.75], abs=1e-15)
    assert summary.mean_war == pytest.approx(0.70, abs=1e-15)  # not 16/24: folds weigh the same
    assert summary.mean_uar == pytest.approx((13 / 36 + 0.75) / 2, abs=1e-15)
    assert summary.recalls[0] == pytest.approx([0.75, 1 / 3, 0.0], abs=1e-15)
    # Class c: fold 2 does not test it, so its mean is fold 1's recall.
    assert summary.mean_recalls == pytest.approx([0.625, 2 / 3, 0.0], abs=1e-15)
    assert summary.num_clips.tolist() == [20, 4]
    assert summary.matrix.tolist() == [[13, 4, 1], [2, 3, 0], [0, 1, 0]]
    assert summary.to_dict()["num_clips"] == [20, 4]


def test_a_class_that_no_fold_tests_has_no_mean_recall():
    matrix = np.array([[3, 1], [0, 0]])
    summary = summarise_folds([2, 4], [matrix, matrix])
    assert summary.mean_recalls[0] == 0.75
    assert math.isnan(summary.mean_recalls[1])
    assert summary.mean_uar == 0.75
