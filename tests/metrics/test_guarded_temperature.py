"""A temperature that may be applied: regularised, refused where little stands behind it."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from dfercli.metrics.calibration import (
    LEAST_CLIPS,
    LEAST_ERRORS,
    PRIOR_SD,
    TEMPERATURE_BOUNDS,
    TemperatureFit,
    fit_calibration,
    fit_temperature,
)

ROOT = Path(__file__).parents[2]


def _two_classes(rights, wrongs, odds):
    """Clips of class 0 at some odds for it, of which some are of class 1."""
    probs = np.tile([odds / (1 + odds), 1 / (1 + odds)], (rights + wrongs, 1))
    return probs, np.array([0] * rights + [1] * wrongs)


def test_the_prior_pulls_towards_1_by_hand():
    # 15 of 20 right at odds of 9: likeliest is 9 ** (1 / T) = 3, T = 2. With the prior the slope of
    # the mean loss by log T is 0: (15 / 20 - s) * log(9) / T + log(T) / (20 * PRIOR_SD ** 2) = 0,
    # where s is the probability at T.
    probs, labels = _two_classes(15, 5, 9.0)
    assert fit_temperature(probs, labels) == pytest.approx(2, rel=1e-6)
    found = fit_temperature(probs, labels, PRIOR_SD)
    assert 1 < found < 2
    scaled = np.log(9) / found
    slope = (0.75 - 1 / (1 + np.exp(-scaled))) * scaled + np.log(found) / (20 * PRIOR_SD**2)
    assert slope == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
def test_with_a_prior_six_clips_make_no_certainty(labels):
    # The likeliest has no end: it made 55:45 into 99.9999998 %.
    probs = np.tile([0.55, 0.45], (6, 1))
    assert fit_temperature(probs, np.array(labels)) in TEMPERATURE_BOUNDS
    assert 0.7 < fit_temperature(probs, np.array(labels), PRIOR_SD) < 1.4


def test_much_data_outweighs_the_prior():
    probs, labels = _two_classes(1500, 500, 9.0)
    assert fit_temperature(probs, labels, PRIOR_SD) == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize(
    ("rights", "wrongs", "refused"),
    [(5, 1, True), (79, 20, True), (81, 19, True), (80, 20, False), (400, 50, False)],
)
def test_too_few_clips_or_errors_are_refused_in_one_line(rights, wrongs, refused):
    probs, labels = _two_classes(rights, wrongs, 4.0)
    found = fit_calibration(probs, labels)
    clips = rights + wrongs
    if refused:
        assert found == TemperatureFit(
            None,
            clips,
            f"not calibrated: {clips} held-out clips, {wrongs} of them wrong; a temperature needs "
            f"{LEAST_CLIPS}, {LEAST_ERRORS} of them wrong: raise --val-fraction or add clips",
        )
    else:
        expected = fit_temperature(probs, labels, PRIOR_SD)
        assert found == TemperatureFit(expected, clips, "")


@pytest.mark.parametrize("balance", ["prior", "oversample"])
def test_probabilities_of_balanced_classes_are_refused(balance):
    found = fit_calibration(*_two_classes(400, 100, 4.0), balance)
    assert found.temperature is None
    assert found.remark.startswith(f"not calibrated: with --balance {balance} the probabilities")


def test_a_bound_of_the_search_is_warned_of():
    # Odds of e**80, half of 10,000 wrong: hardly anything would be soft enough.
    found = fit_calibration(*_two_classes(5000, 5000, np.exp(80)))
    assert found.temperature == pytest.approx(TEMPERATURE_BOUNDS[1])
    assert found.remark == "the temperature is 10, the limit of its range: check the reliability"


@pytest.mark.parametrize("signal", [1.5, 2.2, 3.0])
@pytest.mark.parametrize("clips", [21, 40, 100, 450])
def test_a_calibrated_model_keeps_a_temperature_near_1_or_gets_none(clips, signal, monkeypatch):
    # The best of 20 epochs in 100 runs; `python benchmarks/temperature.py` has more.
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    found = importlib.import_module("temperature").measure(clips, signal, 100)
    assert found["near_or_refused"] >= 0.95 - 0.02
    assert found["refused"] == 1 or clips >= 100
