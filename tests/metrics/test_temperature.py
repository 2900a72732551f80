"""Temperature: a known one is found again, and where there is none to find that is said."""

import math

import numpy as np
import pytest

from dfercli.errors import ConfigError
from dfercli.metrics.calibration import (
    TEMPERATURE_BOUNDS,
    apply_temperature,
    brier_score,
    fit_temperature,
    negative_log_likelihood,
)

LOWEST, HIGHEST = TEMPERATURE_BOUNDS


def _softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _calibrated(num_clips, seed=0):
    """Logits, and labels drawn from just the probabilities that these stand for."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_clips, 7)) * 2
    thresholds = _softmax(logits).cumsum(axis=1)
    labels = (rng.random((num_clips, 1)) > thresholds).sum(axis=1).clip(max=6)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 4.0])
def test_a_known_temperature_is_found(temperature):
    logits, labels = _calibrated(20_000)
    found = fit_temperature(_softmax(logits * temperature), labels)
    # By the information in them the deviation of log T is 0.008 at 20,000 clips; taken five times.
    assert found == pytest.approx(temperature, rel=0.04)


def test_two_thirds_right_at_four_fifths_by_hand():
    # Two classes at 0.8 and 0.2, two of three clips right. Calibrated is 2/3 and 1/3, odds of 2;
    # the odds are 4, and 4 ** (1 / T) = 2 at T = 2.
    probs, labels = np.tile([0.8, 0.2], (3, 1)), np.array([0, 0, 1])
    assert fit_temperature(probs, labels) == pytest.approx(2, rel=1e-6)
    assert apply_temperature(probs, 2.0)[0] == pytest.approx([2 / 3, 1 / 3], abs=1e-15)


def test_what_is_found_is_the_likeliest():
    logits, labels = _calibrated(500, seed=3)
    probs = _softmax(logits * 3)
    found = fit_temperature(probs, labels)
    least = negative_log_likelihood(apply_temperature(probs, found), labels)
    for factor in (0.99, 1.01):
        other = negative_log_likelihood(apply_temperature(probs, found * factor), labels)
        assert other > least
    assert least < negative_log_likelihood(probs, labels)
    assert brier_score(apply_temperature(probs, found), labels) < brier_score(probs, labels)


@pytest.mark.parametrize(
    ("probs", "labels", "temperature"),
    [
        ([[0.6, 0.4]], [0], LOWEST),  # one clip, right
        ([[0.6, 0.4]], [1], HIGHEST),  # one clip, wrong
        ([[1.0, 0.0], [0.0, 1.0]], [0, 1], LOWEST),  # all right and sure of it
        ([[1.0, 0.0], [0.0, 1.0]], [1, 0], HIGHEST),
        ([[0.9, 0.1], [0.2, 0.8]], [0, 1], LOWEST),  # all right
        ([[0.9, 0.1], [0.9, 0.1]], [0, 1], HIGHEST),  # as often right as by chance
        ([[0.5, 0.5], [0.5, 0.5]], [0, 1], 1.0),  # never says anything
        ([[0.25] * 4], [3], 1.0),
    ],
)
def test_where_the_likeliest_has_no_end(probs, labels, temperature):
    assert fit_temperature(np.array(probs), np.array(labels)) == temperature


def test_beyond_the_bounds_the_bound_is_given():
    # Odds of 1.001 where 9 of 10 are right: T = log 1.001 / log 9 is 0.0005.
    probs = np.tile([1.001 / 2.001, 1 / 2.001], (10, 1))
    assert fit_temperature(probs, np.array([0] * 9 + [1])) == pytest.approx(LOWEST, rel=1e-12)
    # Odds of e**80 where 51 of 100 are right: T = 80 / log(51 / 49) is about 2000.
    probs = np.tile([1.0, math.exp(-80)], (100, 1))
    labels = np.array([0] * 51 + [1] * 49)
    assert fit_temperature(probs, labels) == pytest.approx(HIGHEST, rel=1e-12)


def test_one_clip_whose_class_comes_second_has_a_temperature():
    # Probabilities 0.5, 0.4, 0.1 and the second true: the likeliest is neither end.
    probs, labels = np.array([[0.5, 0.4, 0.1]]), np.array([1])
    found = fit_temperature(probs, labels)
    assert LOWEST < found < HIGHEST
    ends = [negative_log_likelihood(apply_temperature(probs, t), labels) for t in (0.1, 50)]
    assert negative_log_likelihood(apply_temperature(probs, found), labels) < min(ends)


def test_the_order_of_clips_does_not_matter():
    logits, labels = _calibrated(300)
    order = np.random.default_rng(1).permutation(300)
    probs = _softmax(logits * 2)
    assert fit_temperature(probs[order], labels[order]) == pytest.approx(
        fit_temperature(probs, labels), rel=1e-6
    )


def test_applying_it_divides_logits_and_keeps_the_order_of_classes():
    logits, _ = _calibrated(50)
    probs = _softmax(logits)
    for temperature in (0.3, 1.0, 5.0):
        changed = apply_temperature(probs, temperature)
        assert changed == pytest.approx(_softmax(logits / temperature), abs=1e-12)
        assert changed.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-12)
        assert np.array_equal(changed.argsort(axis=1), probs.argsort(axis=1))
    assert apply_temperature(probs[0], 2.0) == pytest.approx(apply_temperature(probs, 2.0)[0])
    assert apply_temperature(np.array([1.0, 0.0]), 0.01).tolist() == [1, 0]


@pytest.mark.parametrize("temperature", [0, -1.0, math.nan, math.inf])
def test_a_temperature_without_a_meaning_is_refused(temperature):
    with pytest.raises(ConfigError, match="it must be a number above 0"):
        apply_temperature(np.array([[0.5, 0.5]]), temperature)
