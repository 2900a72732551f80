"""Risk and coverage: by hand, with ties, and against a plain loop."""

import math

import numpy as np
import pytest

from dfercli.errors import DataError
from dfercli.metrics.calibration import area_under_risk_coverage, risk_coverage

# Surest first: 0.9 right, 0.8 wrong, 0.8 right, 0.3 wrong; the two of 0.8 come in together.
CONFIDENCE = np.array([0.8, 0.3, 0.9, 0.8])
RIGHT = np.array([True, False, True, False])


def test_ties_come_in_together_by_hand():
    coverage, risk = risk_coverage(CONFIDENCE, RIGHT)
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert risk == pytest.approx([0, 1 / 3, 1 / 2], abs=1e-15)
    # 1/4 * 0 + 1/2 * 1/3 + 1/4 * 1/2 = 1/6 + 1/8.
    assert area_under_risk_coverage(CONFIDENCE, RIGHT) == pytest.approx(7 / 24, abs=1e-15)


def test_the_order_of_clips_does_not_matter():
    rng = np.random.default_rng(0)
    confidence, right = rng.integers(0, 5, 60) / 5, rng.random(60) < 0.7
    coverage, risk = risk_coverage(confidence, right)
    assert len(coverage) == 5
    for _ in range(5):
        order = rng.permutation(60)
        moved = risk_coverage(confidence[order], right[order])
        assert np.array_equal(moved[0], coverage)
        assert np.array_equal(moved[1], risk)


def test_without_ties_it_is_the_mean_risk_over_clips():
    rng = np.random.default_rng(1)
    confidence, right = rng.random(80), rng.random(80) < 0.6
    ranked = right[np.argsort(-confidence)]
    risks = [np.mean(~ranked[: n + 1]) for n in range(80)]
    coverage, risk = risk_coverage(confidence, right)
    assert risk == pytest.approx(risks, abs=1e-15)
    assert coverage == pytest.approx(np.arange(1, 81) / 80, abs=1e-15)
    assert area_under_risk_coverage(confidence, right) == pytest.approx(np.mean(risks), abs=1e-12)


def test_only_the_order_of_confidence_matters():
    area = area_under_risk_coverage(CONFIDENCE, RIGHT)
    assert area_under_risk_coverage(np.log(CONFIDENCE) * 7, RIGHT) == area


@pytest.mark.parametrize(
    ("confidence", "right", "area"),
    [
        ([0.5], [True], 0.0),
        ([0.5], [False], 1.0),
        ([0.9, 0.5, 0.1], [True, True, True], 0.0),
        ([0.9, 0.5, 0.1], [False, False, False], 1.0),
        ([0.5, 0.5, 0.5, 0.5], [True, False, True, True], 0.25),  # it cannot tell: the error rate
        ([0.9, 0.1], [True, False], 0.25),  # at best: 0 for the first, 1/2 for both
        ([0.9, 0.1], [False, True], 0.75),  # at worst
        ([math.inf, -math.inf], [True, False], 0.25),
    ],
)
def test_ends(confidence, right, area):
    assert area_under_risk_coverage(np.array(confidence), np.array(right)) == area


@pytest.mark.parametrize(
    ("confidence", "right", "said"),
    [
        ([], [], "needs clips"),
        ([math.nan, 0.5], [True, True], "a confidence for each"),
        ([0.5], [True, False], "1 confidence, 2 right"),
    ],
)
def test_what_does_not_hold_together_is_refused(confidence, right, said):
    with pytest.raises(DataError, match=said):
        risk_coverage(np.array(confidence), np.array(right))
