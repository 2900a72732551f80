"""Calibration of confidences: reliability, temperatures, and risk against coverage."""

from dataclasses import dataclass

import numpy as np

from dfercli.errors import ConfigError, DataError, require_at_least
from dfercli.metrics.bootstrap import check_lengths
from dfercli.metrics.scores import divide

NUM_BINS = 15
"""Bins of Guo et al. (2017), section 5."""

SMALLEST_PROB = float(np.finfo(np.float32).tiny)
"""What a probability of 0 counts as where its logarithm is taken: the least that single precision,
in which models run, tells apart from 0 at full accuracy."""

TEMPERATURE_BOUNDS = (0.1, 10.0)
"""Where a temperature is looked for (our choice): beyond them a figure says no more."""

SUM_TOLERANCE = 1e-3
"""How far the probabilities of a clip may be from adding up to 1: half precision rounds so."""


@dataclass(frozen=True)
class ReliabilityBins:
    """Clips by confidence, in M bins of equal width.

    Attributes:
        edges: (M + 1,) from 0 to 1; a bin holds its upper edge, not its lower one.
        confidence: (M,) mean confidence of a bin's clips; nan for an empty bin.
        accuracy: (M,) share of a bin's clips that are right; nan for an empty bin.
        count: (M,) int64, clips in a bin.
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def reliability_bins(
    probs: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS
) -> ReliabilityBins:
    """Sort clips into bins by confidence, as a reliability diagram draws them.

    Args:
        probs: (N, K) probabilities.
        labels: (N,) int, true classes.
        num_bins: M.

    Raises:
        DataError: No clip, rows that are no probabilities, or labels that do not fit them.
        ConfigError: No bin.

    Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), section 2.
    """
    require_at_least("bins", num_bins, 1)
    probs, labels = _check(probs, labels)
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    edges = np.linspace(0.0, 1.0, num_bins + 1)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    count = np.bincount(index, minlength=num_bins)
    return ReliabilityBins(
        edges=edges,
        confidence=divide(np.bincount(index, confidence, num_bins), count),
        accuracy=divide(np.bincount(index, right, num_bins), count),
        count=count,
    )


def expected_calibration_error(
    probs: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS
) -> float:
    """Give the mean distance of confidence and accuracy, over bins weighted by their clips.

    Args:
        probs: (N, K) probabilities; of each clip only the largest matters.
        labels: (N,) int, true classes.
        num_bins: Bins of equal width.

    Returns:
        A fraction in [0, 1].

    Raises:
        DataError: As `reliability_bins`.
        ConfigError: As `reliability_bins`.

    Source: Guo et al. (2017), section 2, equation 3.
    """
    bins = reliability_bins(probs, labels, num_bins)
    gaps = np.abs(bins.accuracy - bins.confidence)
    return float(np.nansum(gaps * bins.count) / bins.count.sum())


def negative_log_likelihood(probs: np.ndarray, labels: np.ndarray) -> float:
    """Give the mean of -log of the true class's probability, in nats.

    Args:
        probs: (N, K) probabilities; 0 counts as `SMALLEST_PROB`, so one clip costs 87.3 at most
            (scikit-learn's `log_loss` stops at 36.0, double precision's spacing).
        labels: (N,) int, true classes.

    Raises:
        DataError: As `reliability_bins`.
    """
    probs, labels = _check(probs, labels)
    return float(-_log(_of_label(probs, labels)).mean())


def brier_score(probs: np.ndarray, labels: np.ndarray) -> float:
    """Give the mean over clips of the squared errors of all classes' probabilities.

    Args:
        probs: (N, K) probabilities.
        labels: (N,) int, true classes.

    Returns:
        In [0, 2], 0 at best: not halved, as first published.

    Raises:
        DataError: As `reliability_bins`.

    Source: Brier, Monthly Weather Review 78 (1950), equation 2.
    """
    probs, labels = _check(probs, labels)
    return float(((probs - np.eye(probs.shape[1])[labels]) ** 2).sum(axis=1).mean())


def fit_temperature(probs: np.ndarray, labels: np.ndarray, prior_sd: float | None = None) -> float:
    """Return the temperature that makes these clips likeliest, within `TEMPERATURE_BOUNDS`.

    Above 1 the model is too sure, below 1 not sure enough. Where every clip is right the likeliest
    has no end, and the lower bound is given; where the true classes are no likelier than others on
    average it is the upper one. Where all probabilities are equal nothing can be told: 1.

    Args:
        probs: (N, K) probabilities; not of the clips that are then judged.
        labels: (N,) int, true classes.
        prior_sd: Standard deviation of a normal prior of log T around 0, with which the likeliest
            always has an end; None is plain maximum likelihood.

    Raises:
        DataError: As `reliability_bins`.

    Source: Guo et al. (2017), section 4.2; the prior is our choice. Fitted on log-probabilities,
        which differ from logits by a constant per clip that softmax takes out again.
    """
    probs, labels = _check(probs, labels)
    logs = _log(probs)
    of_label = _of_label(logs, labels)
    # In 1/T the likelihood is concave, so its slopes at both ends tell whether it peaks between.
    if (logs == logs[:, :1]).all():
        return 1.0
    if prior_sd is None and (of_label == logs.max(axis=1)).all():
        return TEMPERATURE_BOUNDS[0]
    if prior_sd is None and of_label.mean() <= logs.mean():
        return TEMPERATURE_BOUNDS[1]
    penalty = 0.0 if prior_sd is None else 0.5 / (prior_sd**2 * len(logs))
    from scipy.optimize import minimize_scalar  # half a second to import, and only needed here

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        top = scaled.max(axis=1)
        norm = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        fit = float((norm - _of_label(scaled, labels)).mean())
        return fit + penalty * log_temperature**2

    low, high = np.log(TEMPERATURE_BOUNDS)
    options = {"xatol": 1e-9}
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options=options)
    return float(np.exp(min((found.x, low, high), key=loss)))


def apply_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Make probabilities softer (above 1) or sharper (below 1); which is largest stays.

    Args:
        probs: (..., K) probabilities.
        temperature: What their logits are divided by.

    Returns:
        (..., K) float64.

    Raises:
        ConfigError: The temperature is not a number above 0.
    """
    if not (0 < temperature < np.inf):
        raise ConfigError(f"the temperature is {temperature}; it must be a number above 0")
    scaled = _log(np.asarray(probs, dtype=np.float64)) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the errors among the surest clips, the surest first and more and more of them.

    Clips of equal confidence are let in together, so their order does not matter.

    Args:
        confidence: (N,) how sure the model is of each clip; any scale.
        right: (N,) bool, whether it is right.

    Returns:
        Coverage, (S,) share of the clips let in, rising to 1; and risk, (S,) share of wrong ones
        among them; S distinct confidences.

    Raises:
        DataError: No clip, not as many of one as of the other, or a confidence that is no number.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks (NeurIPS 2017),
        section 2.
    """
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    check_lengths(confidence=confidence, right=right)
    if len(confidence) == 0 or np.isnan(confidence).any():
        raise DataError("a risk-coverage curve needs a clip, and a number for each")
    steps, step = np.unique(-confidence, return_inverse=True)
    admitted = np.bincount(step, minlength=len(steps)).cumsum()
    wrong = np.bincount(step, ~right, len(steps)).cumsum()
    return admitted / len(confidence), wrong / admitted


def area_under_risk_coverage(confidence: np.ndarray, right: np.ndarray) -> float:
    """Give the mean risk over all coverages, in [0, 1]: 0 at best, the share of errors by chance.

    Args:
        confidence: (N,) how sure the model is of each clip; any scale.
        right: (N,) bool, whether it is right.

    Raises:
        DataError: As `risk_coverage`.

    Source: Geifman et al., Bias-Reduced Uncertainty Estimation (ICLR 2019): the mean of the risk
        at each clip. Clips of equal confidence all have the risk of their last.
    """
    coverage, risk = risk_coverage(confidence, right)
    return float((risk * np.diff(coverage, prepend=0.0)).sum())


def _check(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give probabilities in float64 and labels as integers, once they are what they must be."""
    probs, labels = np.asarray(probs, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if probs.ndim != 2 or 0 in probs.shape or labels.shape != probs.shape[:1]:
        raise DataError(f"probabilities {probs.shape} and labels {labels.shape} do not fit")
    sums = probs.sum(axis=1)
    wrong = ~((probs >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE))  # also where nan
    if wrong.any():
        raise DataError(f"{wrong.sum()} of {len(probs)} rows are no probabilities of classes")
    if labels.min() < 0 or labels.max() >= probs.shape[1]:
        raise DataError(f"labels are {labels.min()} to {labels.max()} of {probs.shape[1]} classes")
    return probs, labels


def _of_label(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Give each clip's value at its true class, (N,)."""
    return np.take_along_axis(values, labels[:, None], axis=1)[:, 0]


def _log(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs, SMALLEST_PROB))


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
