"""A temperature that may be applied: regularised, and refused where too little stands behind it.

The likeliest temperature of six clips can be 0.01, which makes 55:45 into certainty. So the fit has
a prior at 1, and needs clips and errors. What is left is a bias where the clips that fit it also
chose the epoch: they were lucky there, so the temperature comes out low and the model looks more
reliable than it is. `benchmarks/temperature.py` prints how much.
"""

from dataclasses import dataclass

import numpy as np

from dfercli.metrics.calibration import TEMPERATURE_BOUNDS, fit_temperature

LEAST_CLIPS = 100
LEAST_ERRORS = 20
"""Held-out clips, and wrong ones among them, that a temperature needs (our choice): with them that
of a calibrated model, the best of 20 epochs, lies between 0.7 and 1.4 in 95 % of cases."""

PRIOR_SD = 0.5
"""Standard deviation of log T before anything is known, around T = 1 (our choice): 95 % between
0.38 and 2.7. It counts for about as much as eight clips."""


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature of held-out clips, or why there is none.

    Attributes:
        temperature: What logits are divided by; None where it is refused.
        clips: Held-out clips.
        remark: Why it is refused, or what to beware of; empty where nothing is to be said.
    """

    temperature: float | None
    clips: int
    remark: str = ""


def fit_calibration(probs: np.ndarray, labels: np.ndarray, balance: str = "none") -> TemperatureFit:
    """Fit a temperature to held-out clips, unless nothing that holds would come of it.

    Args:
        probs: (N, K) probabilities.
        labels: (N,) int, true classes.
        balance: How the training balanced its classes: unless it is `none`, the probabilities are
            those of equally frequent classes, which no temperature turns into those of the clips.

    Raises:
        DataError: As `fit_temperature`.
    """
    clips = len(labels)
    if balance != "none":
        return TemperatureFit(
            None,
            clips,
            f"not calibrated: with --balance {balance} the probabilities are those of equally "
            f"frequent classes; train without it for calibrated ones",
        )
    errors = int((np.argmax(probs, axis=1) != labels).sum()) if clips else 0
    if clips < LEAST_CLIPS or errors < LEAST_ERRORS:
        return TemperatureFit(
            None,
            clips,
            f"not calibrated: {clips} held-out clips, {errors} of them wrong; a temperature needs "
            f"{LEAST_CLIPS}, {LEAST_ERRORS} of them wrong: raise --val-fraction or add clips",
        )
    found = fit_temperature(probs, labels, PRIOR_SD)
    low, high = TEMPERATURE_BOUNDS
    remark = ""
    if not low * 1.001 < found < high / 1.001:
        remark = f"the temperature is {found:g}, a bound of the search: look at the reliability"
    return TemperatureFit(found, clips, remark)
