"""Calibration: bins and scores by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from dfercli.errors import ConfigError, DataError
from dfercli.metrics.calibration import (
    SMALLEST_PROB,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
)

# Four clips of two classes, two bins of confidence, (0, 0.5] and (0.5, 1]:
#   probs     top   true   right
#   0.5 0.5   0.5   a      yes (of equal ones the first)    bin 1
#   0.9 0.1   0.9   a      yes                              bin 2
#   0.2 0.8   0.8   a      no                               bin 2
#   0.3 0.7   0.7   b      yes                              bin 2
PROBS = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
LABELS = np.array([0, 0, 0, 1])


def _draw(kind, num_classes=7):
    rng = np.random.default_rng(8)
    num_clips = 1 if kind == "one clip" else 400
    logits = rng.normal(size=(num_clips, num_classes)) * 2
    labels = rng.integers(0, num_classes, num_clips)
    if kind == "last classes unused":
        labels %= 4
    if kind == "one class":
        labels[:] = 5
    if kind == "one prediction":
        logits[:, 2] += 20
    if kind == "ties":
        logits = logits.round() / 2
    if kind == "perfect":
        logits[np.arange(num_clips), labels] += 9
    if kind == "uniform":
        logits[:] = 0
    powers = np.exp(logits)
    return powers / powers.sum(axis=1, keepdims=True), labels


KINDS = [
    "even",
    "one clip",
    "last classes unused",
    "one class",
    "one prediction",
    "ties",
    "perfect",
    "uniform",
]


def test_bins_by_hand():
    bins = reliability_bins(PROBS, LABELS, num_bins=2)
    assert bins.edges.tolist() == [0, 0.5, 1]
    assert bins.count.tolist() == [1, 3]
    assert bins.confidence == pytest.approx([0.5, 0.8], abs=1e-15)
    assert bins.accuracy == pytest.approx([1, 2 / 3], abs=1e-15)
    # 1/4 of |1 - 0.5| and 3/4 of |2/3 - 0.8|: 0.125 + 0.1.
    assert expected_calibration_error(PROBS, LABELS, num_bins=2) == pytest.approx(0.225)
    # One bin: accuracy 3/4, mean confidence 2.9/4.
    assert expected_calibration_error(PROBS, LABELS, num_bins=1) == pytest.approx(0.025)


def test_scores_by_hand():
    # Of the true classes: 0.5, 0.9, 0.2, 0.7; their product is 0.063.
    assert negative_log_likelihood(PROBS, LABELS) == pytest.approx(-math.log(0.063) / 4)
    # Of two classes both err alike: 2 * (0.5^2 + 0.1^2 + 0.8^2 + 0.3^2) / 4 = 2 * 0.99 / 4.
    assert brier_score(PROBS, LABELS) == pytest.approx(0.495)


def test_an_empty_bin_has_a_count_and_nothing_else():
    bins = reliability_bins(PROBS, LABELS)
    assert len(bins.edges) == 16
    assert bins.count.sum() == 4
    empty = bins.count == 0
    assert empty.sum() == 11
    assert np.isnan(bins.confidence[empty]).all()
    assert np.isnan(bins.accuracy[empty]).all()
    assert not math.isnan(expected_calibration_error(PROBS, LABELS))


def test_the_ends_of_each_score():
    sure = np.array([[1.0, 0.0], [0.0, 1.0]])
    right, wrong = np.array([0, 1]), np.array([1, 0])
    for score in (expected_calibration_error, brier_score, negative_log_likelihood):
        assert score(sure, right) == 0
    assert expected_calibration_error(sure, wrong) == 1
    assert brier_score(sure, wrong) == 2
    assert negative_log_likelihood(sure, wrong) == pytest.approx(-math.log(SMALLEST_PROB))
    assert math.isfinite(negative_log_likelihood(sure, wrong))


@pytest.mark.parametrize("kind", KINDS)
def test_bins_equal_scikit_learn(kind):
    probs, labels = _draw(kind)
    right = probs.argmax(axis=1) == labels
    accuracy, confidence = calibration_curve(right, probs.max(axis=1), n_bins=15)
    bins = reliability_bins(probs, labels)
    full = bins.count > 0
    assert bins.accuracy[full] == pytest.approx(accuracy, abs=1e-12)
    assert bins.confidence[full] == pytest.approx(confidence, abs=1e-12)
    assert bins.count.sum() == len(labels)
    gaps = np.abs(accuracy - confidence) * bins.count[full] / len(labels)
    assert expected_calibration_error(probs, labels) == pytest.approx(gaps.sum(), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_equal_scikit_learn(kind):
    probs, labels = _draw(kind)
    theirs = log_loss(labels, probs, labels=range(7))
    assert negative_log_likelihood(probs, labels) == pytest.approx(theirs, abs=1e-12)
    # Theirs of one class against the rest, added up over the classes.
    classes = [
        brier_score_loss((labels == k).astype(int), probs[:, k], pos_label=1) for k in range(7)
    ]
    assert brier_score(probs, labels) == pytest.approx(sum(classes), abs=1e-12)


@pytest.mark.parametrize(
    "score", [expected_calibration_error, negative_log_likelihood, brier_score]
)
def test_the_order_of_clips_does_not_matter(score):
    probs, labels = _draw("ties")
    order = np.random.default_rng(0).permutation(len(labels))
    assert score(probs[order], labels[order]) == pytest.approx(score(probs, labels), abs=1e-14)


def test_single_precision_is_read_as_it_is():
    probs, labels = _draw("even")
    single = probs.astype(np.float32)
    assert brier_score(single, labels) == pytest.approx(brier_score(probs, labels), rel=1e-6)
    assert reliability_bins(single, labels).confidence.dtype == np.float64


@pytest.mark.parametrize(
    ("probs", "labels", "said"),
    [
        ([[0.5, 0.5]], [0, 1], r"probabilities \(1, 2\) and labels \(2,\) do not match"),
        (np.zeros((0, 2)), [], r"probabilities \(0, 2\) and labels \(0,\) do not match"),
        ([0.5, 0.5], [0], r"probabilities \(2,\) and labels \(1,\) do not match"),
        ([[3.1, -1.0], [0.5, 0.5]], [0, 1], "1 of 2 rows are not probabilities"),
        ([[1.5, -0.5]], [0], "1 of 1 rows are not probabilities"),
        ([[math.nan, 1.0]], [0], "1 of 1 rows are not probabilities"),
        ([[0.5, 0.5]], [2], "labels range from 2 to 2 with 2 classes"),
        ([[0.5, 0.5]], [-1], "labels range from -1 to -1 with 2 classes"),
    ],
)
@pytest.mark.parametrize(
    "score", [expected_calibration_error, negative_log_likelihood, brier_score]
)
def test_what_are_no_probabilities_is_refused(score, probs, labels, said):
    with pytest.raises(DataError, match=said):
        score(np.array(probs), np.array(labels, dtype=int))


def test_no_bins_are_refused():
    with pytest.raises(ConfigError, match="bins is 0; it must be at least 1"):
        reliability_bins(PROBS, LABELS, num_bins=0)
