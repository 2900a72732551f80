"""Calibration of confidences: reliability, temperatures, and risk against coverage."""

from dataclasses import dataclass

import numpy as np

from dfercli.errors import ConfigError, DataError, require_at_least
from dfercli.metrics.intervals import check_lengths
from dfercli.metrics.scores import divide

NUM_BINS = 15
"""Source: Guo et al. (2017), section 5."""

SMALLEST_PROB = float(np.finfo(np.float32).tiny)
"""Value that replaces a probability of 0 before a logarithm: the least normal float32 number, since
models run in single precision."""

TEMPERATURE_BOUNDS = (0.1, 10.0)
"""Range of fitted temperatures (our choice)."""

SUM_TOLERANCE = 1e-3
"""How far a clip's probabilities may be from adding up to 1, for the rounding of half precision."""

LEAST_CLIPS = 100
LEAST_ERRORS = 20
"""Held-out clips, and errors among them, that a temperature needs (our choice): that of a
calibrated model, the best of 20 epochs, then lies between 0.7 and 1.4 in 95 % of cases."""

PRIOR_SD = 0.5
"""Standard deviation of the prior of log T around 0 (our choice): T lies between 0.38 and 2.7 with
95 %. It counts for about as much as eight clips."""


@dataclass(frozen=True)
class ReliabilityBins:
    """Clips by confidence, in M bins of equal width, each including its upper edge.

    Edges are (M + 1,) from 0 to 1. Mean confidence and accuracy are (M,), nan for an empty bin;
    `count` is (M,) int64.
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray


def reliability_bins(
    probs: np.ndarray, labels: np.ndarray, num_bins: int = NUM_BINS
) -> ReliabilityBins:
    """Sort clips into bins by confidence, for a reliability diagram.

    `probs` are (N, K), `labels` (N,) true classes.

    Raises:
        DataError: There are no clips, a row is not a distribution, or the labels do not fit.
        ConfigError: `num_bins` is below 1.

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
    """Return the mean gap between confidence and accuracy of the bins, weighted by their clips.

    See `reliability_bins` for the arguments and errors.

    Source: Guo et al. (2017), section 2, equation 3.
    """
    bins = reliability_bins(probs, labels, num_bins)
    gaps = np.abs(bins.accuracy - bins.confidence)
    return float(np.nansum(gaps * bins.count) / bins.count.sum())


def negative_log_likelihood(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean of -log of the true class's probability, in nats.

    A probability of 0 counts as `SMALLEST_PROB`, so one clip costs at most 87.3 (36.0 in
    scikit-learn's `log_loss`, from the spacing of double precision). See `reliability_bins` for the
    arguments and errors.
    """
    probs, labels = _check(probs, labels)
    return float(-_log(_of_label(probs, labels)).mean())


def brier_score(probs: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean over clips of the summed squared errors of all classes' probabilities.

    It lies in [0, 2] and is 0 at best: not halved, as first published. See `reliability_bins` for
    the arguments and errors.

    Source: Brier, Monthly Weather Review 78 (1950), equation 2.
    """
    probs, labels = _check(probs, labels)
    return float(((probs - np.eye(probs.shape[1])[labels]) ** 2).sum(axis=1).mean())


def fit_temperature(probs: np.ndarray, labels: np.ndarray, prior_sd: float | None = None) -> float:
    """Return the temperature within `TEMPERATURE_BOUNDS` that maximises the likelihood of clips.

    The clips, with probabilities (N, K) and labels (N,), must not be evaluated afterwards. The
    temperature is above 1 for an overconfident model, and 1 if all probabilities are equal.
    `prior_sd` is the standard deviation of a normal prior of log T around 0. Without a prior, the
    result is the lower bound if every clip is right, and the upper bound if the true classes are on
    average no more likely than the others.

    Raises:
        DataError: As `reliability_bins`.

    Source: Guo et al. (2017), section 4.2; the prior is our choice. Fitted on log-probabilities,
    which differ from logits by a constant per clip that the softmax cancels.
    """
    probs, labels = _check(probs, labels)
    logs = _log(probs)
    of_label = _of_label(logs, labels)
    # The likelihood is concave in 1/T, so its slopes at both ends tell whether it has a maximum.
    if (logs == logs[:, :1]).all():
        return 1.0
    if prior_sd is None and (of_label == logs.max(axis=1)).all():
        return TEMPERATURE_BOUNDS[0]
    if prior_sd is None and of_label.mean() <= logs.mean():
        return TEMPERATURE_BOUNDS[1]
    penalty = 0.0 if prior_sd is None else 0.5 / (prior_sd**2 * len(logs))
    from scipy.optimize import minimize_scalar  # half a second to import

    def loss(log_temperature: float) -> float:
        scaled = logs / np.exp(log_temperature)
        top = scaled.max(axis=1)
        # Not scipy's logsumexp: its last digit differs, and with it the published temperatures.
        norm = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        fit = float((norm - _of_label(scaled, labels)).mean())
        return fit + penalty * log_temperature**2

    low, high = np.log(TEMPERATURE_BOUNDS)
    options = {"xatol": 1e-9}
    result = minimize_scalar(loss, bounds=(low, high), method="bounded", options=options)
    return float(np.exp(min((result.x, low, high), key=loss)))


def apply_temperature(probs: np.ndarray, temperature: float) -> np.ndarray:
    """Divide the logits of probabilities (..., K) by a temperature, as float64.

    A temperature above 1 makes them less confident. The most probable class stays the same.

    Raises:
        ConfigError: The temperature is not a finite number above 0.
    """
    if not (0 < temperature < np.inf):
        raise ConfigError(f"the temperature is {temperature}; it must be a number above 0")
    from scipy.special import softmax  # 0.2 s to import

    scaled = _log(np.asarray(probs, dtype=np.float64)) / temperature
    return np.asarray(softmax(scaled, axis=-1))


def risk_coverage(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the error rate among the most confident clips, for a growing number of them.

    `confidence` is (N,) on any scale, `right` (N,) bool. Clips of equal confidence are added
    together, so that their order does not matter. Returns the coverage, (S,) fraction of the clips
    included, rising to 1, and the risk, (S,) error rate among them, for S distinct confidences.

    Raises:
        DataError: There are no clips, the two differ in length, or a confidence is nan.

    Source: Geifman and El-Yaniv, Selective Classification for Deep Neural Networks (NeurIPS 2017),
    section 2.
    """
    confidence, right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=bool)
    check_lengths(confidence=confidence, right=right)
    if len(confidence) == 0 or np.isnan(confidence).any():
        raise DataError("a risk-coverage curve needs clips, and a confidence for each clip")
    steps, step = np.unique(-confidence, return_inverse=True)
    included = np.bincount(step, minlength=len(steps)).cumsum()
    wrong = np.bincount(step, ~right, len(steps)).cumsum()
    return included / len(confidence), wrong / included


def area_under_risk_coverage(confidence: np.ndarray, right: np.ndarray) -> float:
    """Return the mean risk over all coverages: 0 at best, the error rate for random confidences.

    See `risk_coverage` for the arguments and errors.

    Source: Geifman et al., Bias-Reduced Uncertainty Estimation (ICLR 2019): the mean of the risk
        at each clip. Clips of equal confidence all have the risk of their last.
    """
    coverage, risk = risk_coverage(confidence, right)
    return float((risk * np.diff(coverage, prepend=0.0)).sum())


@dataclass(frozen=True)
class TemperatureFit:
    """A temperature fitted to held-out clips; None if it was refused.

    `remark` is the reason for the refusal, or a warning.
    """

    temperature: float | None
    clips: int
    remark: str = ""


def fit_calibration(probs: np.ndarray, labels: np.ndarray, balance: str = "none") -> TemperatureFit:
    """Fit a temperature to held-out clips, or refuse if it would not be reliable.

    `probs` are (N, K), `labels` (N,) true classes. Unless `balance`, how training balanced the
    classes, is `none`, the probabilities are those of equally frequent classes, which no
    temperature corrects.

    Raises:
        DataError: As `reliability_bins`.
    """
    clips = len(labels)
    errors = int((np.argmax(probs, axis=1) != labels).sum()) if clips else 0
    refusal = ""
    if balance != "none":
        refusal = (
            f"not calibrated: with --balance {balance} the probabilities are those of equally "
            f"frequent classes; train without it for calibrated ones"
        )
    elif clips < LEAST_CLIPS or errors < LEAST_ERRORS:
        refusal = (
            f"not calibrated: {clips} held-out clips, {errors} of them wrong; a temperature needs "
            f"{LEAST_CLIPS}, {LEAST_ERRORS} of them wrong: raise --val-fraction or add clips"
        )
    if refusal:
        return TemperatureFit(None, clips, refusal)
    temperature = fit_temperature(probs, labels, PRIOR_SD)
    low, high = TEMPERATURE_BOUNDS
    if low * 1.001 < temperature < high / 1.001:
        return TemperatureFit(temperature, clips)
    warning = f"the temperature is {temperature:g}, the limit of its range: check the reliability"
    return TemperatureFit(temperature, clips, warning)


def _check(probs: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities as float64 and labels as int64; refuses what is not a distribution."""
    probs, labels = np.asarray(probs, dtype=np.float64), np.asarray(labels, dtype=np.int64)
    if probs.ndim != 2 or 0 in probs.shape or labels.shape != probs.shape[:1]:
        raise DataError(f"probabilities {probs.shape} and labels {labels.shape} do not match")
    sums = probs.sum(axis=1)
    wrong = ~((probs >= 0).all(axis=1) & (np.abs(sums - 1) <= SUM_TOLERANCE))  # catches nan
    if wrong.any():
        raise DataError(f"{wrong.sum()} of {len(probs)} rows are not probabilities that sum to 1")
    if labels.min() < 0 or labels.max() >= probs.shape[1]:
        raise DataError(
            f"labels range from {labels.min()} to {labels.max()} with {probs.shape[1]} classes"
        )
    return probs, labels


def _of_label(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return each clip's value of its true class, (N,)."""
    return np.take_along_axis(values, labels[:, None], axis=1)[:, 0]


def _log(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs, SMALLEST_PROB))
