"""The figures of folds: each fold weighs the same, and what cannot be told is not invented."""

import json
import math
import statistics

import numpy as np
import pytest

from dfercli.metrics.scores import confusion_matrix, summarise_folds

# 20 clips: WAR 13/20, recalls 12/16, 1/3, 0/1, so UAR 13/36; F1 24/30, 2/8, 0/2, so 0.35.
SKEWED = np.array([[12, 3, 1], [2, 1, 0], [0, 1, 0]])


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
    # Fold 2, predicted 1, 3, 0: F1 2/3 = 2*1/(2+1), 4/5 = 2*2/(2+3), and none of c; mean 11/15.
    assert summary.f1[1, :2] == pytest.approx([2 / 3, 0.8], abs=1e-15)
    assert math.isnan(summary.f1[1, 2])
    assert summary.macro_f1 == pytest.approx([0.35, 11 / 15], abs=1e-15)
    assert summary.mean_macro_f1 == pytest.approx((0.35 + 11 / 15) / 2, abs=1e-15)
    assert summary.mean_f1 == pytest.approx([(0.8 + 2 / 3) / 2, (0.25 + 0.8) / 2, 0], abs=1e-15)
    # Of two numbers a distance d apart, the deviation over F - 1 is d / sqrt(2).
    assert summary.sd_war == pytest.approx(0.1 / math.sqrt(2), abs=1e-15)
    assert summary.sd_uar == pytest.approx((0.75 - 13 / 36) / math.sqrt(2), abs=1e-15)


def test_the_mean_over_five_folds_is_that_of_the_folds_clips():
    rng = np.random.default_rng(3)
    labels, predicted, fold = rng.integers(0, 7, (3, 400)) % [[7], [7], [5]]
    matrices = [confusion_matrix(labels[fold == f], predicted[fold == f], 7) for f in range(5)]
    summary = summarise_folds(range(1, 6), matrices)
    shares = [(labels == predicted)[fold == f].mean() for f in range(5)]
    assert summary.mean_war == pytest.approx(sum(shares) / 5, abs=1e-15)
    assert summary.sd_war == pytest.approx(statistics.stdev(shares), abs=1e-15)
    assert summary.matrix.sum() == 400


def test_json_has_none_for_what_cannot_be_told():
    second = np.array([[3, 1], [0, 0]])
    written = summarise_folds([2], [second]).to_dict()
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert written == {
        "folds": [2],
        "num_clips": [4],
        "war": [0.75],
        "uar": [0.75],
        "macro_f1": [pytest.approx((6 / 7 + 0) / 2)],
        "mean_war": 0.75,
        "mean_uar": 0.75,
        "mean_macro_f1": pytest.approx(3 / 7),
        "pooled_war": 0.75,
        "pooled_uar": 0.75,
        "sd_war": None,
        "sd_uar": None,
        "mean_recalls": [0.75, None],
        "mean_f1": [pytest.approx(6 / 7), 0.0],
        "confusion_matrix": [[3, 1], [0, 0]],
    }


def test_one_fold_has_no_deviation():
    summary = summarise_folds([3], [SKEWED])
    assert math.isnan(summary.sd_war)
    assert math.isnan(summary.sd_uar)
    assert summary.mean_war == 0.65


def test_a_class_that_no_fold_tests_has_no_mean_recall():
    matrix = np.array([[3, 1], [0, 0]])
    summary = summarise_folds([2, 4], [matrix, matrix])
    assert summary.mean_recalls[0] == 0.75
    assert math.isnan(summary.mean_recalls[1])
    assert summary.mean_uar == 0.75
