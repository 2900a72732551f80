"""How far results can be trusted: tests between two variants, and calibration of probabilities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dfercli.data.folds import name_groups
from dfercli.errors import DataError
from dfercli.evaluation.results import Results
from dfercli.metrics.calibration import (
    ReliabilityBins,
    apply_temperature,
    area_under_risk_coverage,
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
    risk_coverage,
)
from dfercli.metrics.intervals import compare_models, mcnemar
from dfercli.runs.predictions import fit_held_out, name_classes, probs_of


def compare(ours: Results, theirs: Results, protocol: str) -> dict[str, Any]:
    """Compare two variants on the same test clips; their folds may differ.

    Returns:
        `war` and `uar`, ours minus theirs; `war_interval` and `uar_interval` at 95 %; `war_p` and
        `uar_p`; the `method` (`bootstrap`, or `t` for few groups) and the number of groups or clips
        (`units`); and `only_a`, `only_b`, `mcnemar_p` of McNemar's test.

    Raises:
        DataError: The variants have different classes, or did not test the same clips.
    """
    if ours.class_names != theirs.class_names:
        raise DataError(
            f"{ours.name} and {theirs.name} have different classes and cannot be compared"
        )
    a, b = (results.pool(protocol).set_index("clip_id") for results in (ours, theirs))
    only_a, only_b = len(a.index.difference(b.index)), len(b.index.difference(a.index))
    if only_a or only_b:
        raise DataError(
            f"{ours.name} and {theirs.name} were tested on different clips: {only_a:,} only in the "
            f"first, {only_b:,} only in the second; select the same folds with --folds, or train "
            f"the missing ones"
        )
    b = b.loc[a.index]
    (labels, predicted_a), (labels_b, predicted_b) = map(name_classes, (a, b))
    if (labels != labels_b).any():
        raise DataError(f"{ours.name} and {theirs.name} have different labels for some clips")
    groups = np.array(name_groups(a.reset_index())) if "group" in a.columns else None
    folds = a["fold"].to_numpy(), b["fold"].to_numpy()
    num_classes = len(ours.class_names)
    paired = compare_models(labels, predicted_a, predicted_b, *folds, num_classes, groups)
    test = mcnemar(predicted_a == labels, predicted_b == labels)
    return {
        "war": paired.war,
        "war_interval": [paired.war_interval.low, paired.war_interval.high],
        "war_p": paired.war_p,
        "uar": paired.uar,
        "uar_interval": [paired.uar_interval.low, paired.uar_interval.high],
        "uar_p": paired.uar_p,
        "method": paired.method,
        "units": paired.units,
        "only_a": test.only_a,
        "only_b": test.only_b,
        "mcnemar_p": test.p_value,
    }


@dataclass(frozen=True)
class Confidence:
    """Probabilities (N, K) on the test clips of all folds, and the true classes (N,)."""

    probs: np.ndarray
    labels: np.ndarray

    @cached_property
    def ece(self) -> float:
        """Expected calibration error, in [0, 1]."""
        return expected_calibration_error(self.probs, self.labels)

    @cached_property
    def nll(self) -> float:
        """Negative log-likelihood in nats."""
        return negative_log_likelihood(self.probs, self.labels)

    @cached_property
    def brier(self) -> float:
        """Brier score, in [0, 2]."""
        return brier_score(self.probs, self.labels)

    @cached_property
    def bins(self) -> ReliabilityBins:
        """Clips by confidence."""
        return reliability_bins(self.probs, self.labels)

    @cached_property
    def risk_coverage(self) -> tuple[np.ndarray, np.ndarray]:
        """Rising shares of decided clips, and the share of errors among each."""
        return risk_coverage(self.probs.max(axis=1), self.probs.argmax(axis=1) == self.labels)

    @cached_property
    def area(self) -> float:
        """Area under the risk-coverage curve."""
        right = self.probs.argmax(axis=1) == self.labels
        return area_under_risk_coverage(self.probs.max(axis=1), right)

    def risk_at(self, coverage: float) -> float:
        """Return the error rate among the most confident share of the clips."""
        shares, risks = self.risk_coverage
        return float(risks[min(int(np.searchsorted(shares, coverage - 1e-9)), len(risks) - 1)])


@dataclass(frozen=True)
class Calibration:
    """A model's confidence before and after temperature scaling.

    Temperatures are by fold, without refused folds; `remarks` say why some were refused or are
    doubtful. `after` is None if the temperature of any fold was refused.
    """

    temperatures: Mapping[int, float]
    remarks: Sequence[str]
    before: Confidence
    after: Confidence | None

    @property
    def mean_temperature(self) -> float | None:
        """Mean over folds; None if the temperature of any fold was refused."""
        return None if self.after is None else float(np.mean(list(self.temperatures.values())))


def calibrate(results: Results, protocol: str) -> Calibration:
    """Fit one temperature per fold on its held-out clips, and apply it to its test clips.

    Raises:
        DataError: No clips were held out.
    """
    if not results.held_out:
        raise DataError(
            f"{results.name} has no held-out clips to calibrate on; train it with --val-fraction"
        )
    temperatures, remarks, before, after, labels = {}, [], [], [], []
    for fold, table in results.predictions[protocol].items():
        run = results.runs.get(fold)
        balance = run.record.config.train.balance if run else "none"
        fit = fit_held_out(results.held_out[protocol][fold], balance)
        if fit.remark:
            remarks.append(fit.remark)
        before.append(probs_of(table))
        labels.append(name_classes(table)[0])
        if fit.temperature is not None:
            temperatures[fold] = fit.temperature
            after.append(apply_temperature(before[-1], fit.temperature))
    all_labels, all_fitted = np.concatenate(labels), len(after) == len(before)
    return Calibration(
        temperatures,
        list(dict.fromkeys(remarks)),
        Confidence(np.concatenate(before), all_labels),
        Confidence(np.concatenate(after), all_labels) if all_fitted else None,
    )


def measure_confidence(results: Results, protocol: str) -> Confidence:
    """Return the confidence of a model on the test clips of all folds, as predicted."""
    tables = results.predictions[protocol].values()
    probs = np.concatenate([probs_of(table) for table in tables])
    return Confidence(probs, np.concatenate([name_classes(table)[0] for table in tables]))
