"""Differences of two models on the same clips: by hand, and on simulated models."""

from math import comb, isnan

import numpy as np
import pytest
from simulated import bootstrap_folds, measure, paired_bootstrap, simulate, width

from dfercli.errors import DataError
from dfercli.metrics.intervals import Interval, McNemar, mcnemar


@pytest.mark.parametrize(
    ("only_a", "only_b", "p_value"),
    [
        # Twice the chance of a split at least as uneven: 2 * (1 + 10) / 2**10.
        (9, 1, 22 / 1024),
        (1, 9, 22 / 1024),
        (5, 0, 2 / 32),
        (3, 3, 1.0),
        (0, 1, 1.0),
        (0, 0, 1.0),
        (20, 10, 2 * sum(comb(30, i) for i in range(11)) / 2**30),
    ],
)
def test_mcnemar_by_hand(only_a, only_b, p_value):
    both, neither = [True] * 7, [False] * 4
    right_a = np.array([*both, *neither, *[True] * only_a, *[False] * only_b])
    right_b = np.array([*both, *neither, *[False] * only_a, *[True] * only_b])
    found = mcnemar(right_a, right_b)
    assert (found.only_a, found.only_b) == (only_a, only_b)
    assert found.p_value == pytest.approx(p_value, rel=1e-12)


def test_mcnemar_of_no_clip_is_no_difference():
    assert mcnemar(np.array([]), np.array([])) == McNemar(0, 0, 1.0)


def test_a_difference_is_that_of_the_means_over_own_folds():
    labels, predicted_a, folds_a = simulate(200)
    _, predicted_b, folds_b = simulate(200, accuracy=0.4, seed=9, num_folds=3)
    found = paired_bootstrap(labels, predicted_a, predicted_b, folds_a, folds_b, 3)
    a, b = measure(labels, predicted_a, folds_a), measure(labels, predicted_b, folds_b)
    assert found.war == pytest.approx(a[0] - b[0], abs=1e-15)
    assert found.uar == pytest.approx(a[1] - b[1], abs=1e-15)
    assert found.war_interval.low < found.war < found.war_interval.high
    assert found.uar_interval.low < found.uar < found.uar_interval.high


def test_a_model_does_not_differ_from_itself():
    labels, predicted, folds = simulate(200)
    found = paired_bootstrap(labels, predicted, predicted, folds, folds, 3)
    assert (found.war, found.uar, found.war_p, found.uar_p) == (0, 0, 1, 1)
    assert found.war_interval == found.uar_interval == Interval(0, 0, 0.95)


def test_equal_figures_that_add_up_otherwise_are_equal():
    # Recalls of 0.1, 0.2, 0.3 and of 0.3, 0.2, 0.1: in floating point their sums differ by 1e-16.
    labels = np.repeat([0, 1, 2], 10)
    place = np.tile(np.arange(10), 3)
    predicted_a = np.where(place < labels + 1, labels, (labels + 1) % 3)
    predicted_b = np.where(place < 3 - labels, labels, (labels + 1) % 3)
    folds = np.ones(30, dtype=int)
    found = paired_bootstrap(labels, predicted_a, predicted_b, folds, folds, 3)
    assert (found.war, found.uar) == (0, 0)


def test_swapping_the_models_turns_the_difference_round():
    labels, predicted, folds = simulate(200)
    other = np.roll(predicted, 1)
    there = paired_bootstrap(labels, predicted, other, folds, folds, 3)
    back = paired_bootstrap(labels, other, predicted, folds, folds, 3)
    assert back.war == -there.war
    # Other draws, so the ends differ a little: a quantile of 2,000 has 0.06 deviations of error.
    slack = 0.1 * width(there.war_interval)
    assert back.war_interval.low == pytest.approx(-there.war_interval.high, abs=slack)


def test_clips_that_both_get_wrong_make_a_pair_surer_than_two_intervals():
    # B is A with 6 % of the clips lost: the difference is sure although both intervals overlap.
    labels, predicted_a, folds = simulate(1000)
    lost = np.random.default_rng(3).random(1000) < 0.06
    predicted_b = np.where(lost, (labels + 1) % 3, predicted_a)
    a, b = (bootstrap_folds(labels, p, folds, 3).war for p in (predicted_a, predicted_b))
    found = paired_bootstrap(labels, predicted_a, predicted_b, folds, folds, 3)
    assert a.low < b.high
    assert found.war_interval.low > 0
    assert found.war_p == pytest.approx(2 / 2001)  # the least that 2,000 draws can tell


def test_models_that_are_as_good_are_told_apart_as_rarely_as_5_percent():
    # 300 pairs without a true difference: 15 expected under p = 0.05, with a deviation of 4.
    found = 0
    for seed in range(300):
        labels, predicted_a, folds = simulate(200, seed=seed)
        _, moved, _ = simulate(200, seed=seed + 1000)
        labels_b, _, _ = simulate(200, seed=seed + 1000)
        predicted_b = (labels + moved - labels_b) % 3  # right where the other model is
        pair = paired_bootstrap(labels, predicted_a, predicted_b, folds, folds, 3, draws=400)
        found += pair.war_p < 0.05
    assert 3 <= found <= 31


@pytest.mark.parametrize("groups", [None, ["a", "a", "a"]])
def test_a_single_unit_says_nothing_of_how_sure_a_difference_is(groups):
    labels = np.zeros(3 if groups else 1, dtype=int)
    found = paired_bootstrap(labels, labels, labels + 1, labels, labels, 3, groups)
    assert (found.war, found.uar) == (1.0, 1.0)
    assert isnan(found.war_interval.low)
    assert isnan(found.uar_interval.high)
    assert isnan(found.war_p)


def test_mcnemar_wants_the_same_clips():
    with pytest.raises(DataError, match="2 right_a, 1 right_b"):
        mcnemar(np.array([True, False]), np.array([True]))
