"""How far figures can be trusted: two variants on the same clips, and a model's own confidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from dfercli.data.folds import name_groups
from dfercli.errors import DataError
from dfercli.evaluation.results import Results
from dfercli.metrics import (
    ReliabilityBins,
    apply_temperature,
    area_under_risk_coverage,
    brier_score,
    compare_models,
    expected_calibration_error,
    mcnemar,
    negative_log_likelihood,
    reliability_bins,
    risk_coverage,
)
from dfercli.runs.predictions import name_classes, probs_of
from dfercli.training.selection import fit_held_out


def compare(ours: Results, theirs: Results, protocol: str) -> dict[str, Any]:
    """Compare two variants on the clips that both tested, in whatever folds.

    Returns:
        `war` and `uar`, ours minus theirs; `war_interval`, `uar_interval` at 95 %, `war_p`,
        `uar_p`, how these were found (`method`: `bootstrap`, or `t` over few groups) and over how
        many groups or clips (`units`); `only_a`, `only_b`, `mcnemar_p` of McNemar's test.

    Raises:
        DataError: They have other classes, or did not test the same clips.
    """
    if ours.class_names != theirs.class_names:
        raise DataError(f"{ours.name} and {theirs.name} have other classes; nothing to compare")
    a, b = (each.pool(protocol).set_index("clip_id") for each in (ours, theirs))
    lacking = len(a.index.difference(b.index)), len(b.index.difference(a.index))
    if any(lacking):
        raise DataError(
            f"{ours.name} and {theirs.name} did not test the same clips: {lacking[0]:,} are only "
            f"in the first, {lacking[1]:,} only in the second; choose alike with --folds, or train "
            f"what is missing"
        )
    b = b.loc[a.index]
    (labels, predicted_a), (labels_b, predicted_b) = map(name_classes, (a, b))
    if (labels != labels_b).any():
        raise DataError(f"{ours.name} and {theirs.name} label some clips otherwise")
    groups = np.array(name_groups(a.reset_index())) if "group" in a.columns else None
    folds = a["fold"].to_numpy(), b["fold"].to_numpy()
    num_classes = len(ours.class_names)
    found = compare_models(labels, predicted_a, predicted_b, *folds, num_classes, groups)
    test = mcnemar(predicted_a == labels, predicted_b == labels)
    return {
        "war": found.war,
        "war_interval": [found.war_interval.low, found.war_interval.high],
        "war_p": found.war_p,
        "uar": found.uar,
        "uar_interval": [found.uar_interval.low, found.uar_interval.high],
        "uar_p": found.uar_p,
        "method": found.method,
        "units": found.units,
        "only_a": test.only_a,
        "only_b": test.only_b,
        "mcnemar_p": test.p_value,
    }


@dataclass(frozen=True)
class Confidence:
    """How sure a model is of the test clips of all folds, and how right.

    Attributes:
        probs: (N, K) probabilities.
        labels: (N,) int, true classes.
    """

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
        """Share of clips that are decided, rising, and the share of wrong ones among them."""
        return risk_coverage(self.probs.max(axis=1), self.probs.argmax(axis=1) == self.labels)

    @cached_property
    def area(self) -> float:
        """Area under the curve of risk against coverage."""
        right = self.probs.argmax(axis=1) == self.labels
        return area_under_risk_coverage(self.probs.max(axis=1), right)

    def risk_at(self, coverage: float) -> float:
        """Give the share of wrong ones among the surest clips, at least so many of all."""
        shares, risks = self.risk_coverage
        return float(risks[min(int(np.searchsorted(shares, coverage - 1e-9)), len(risks) - 1)])


@dataclass(frozen=True)
class Calibration:
    """A model's confidence before and after temperature scaling.

    Attributes:
        temperatures: By fold, fitted on its held-out clips; those of folds that are not refused.
        remarks: Why a temperature is refused or to be doubted, once each.
        before: As predicted.
        after: At these temperatures; None where that of some fold is refused.
    """

    temperatures: Mapping[int, float]
    remarks: Sequence[str]
    before: Confidence
    after: Confidence | None

    @property
    def mean_temperature(self) -> float | None:
        """Mean over folds; None where that of some fold is refused."""
        return None if self.after is None else float(np.mean(list(self.temperatures.values())))


def calibrate(results: Results, protocol: str) -> Calibration:
    """Fit a temperature a fold on its held-out clips, and apply it to its test clips.

    Raises:
        DataError: No clips were held out.
    """
    if not results.held_out:
        raise DataError(f"{results.name} held no clips out to calibrate by; train: --val-fraction")
    temperatures, remarks, before, after, labels = {}, [], [], [], []
    for fold, table in results.predictions[protocol].items():
        run = results.runs.get(fold)
        balance = run.record.config.train.balance if run else "none"
        found = fit_held_out(results.held_out[protocol][fold], balance)
        remarks += [found.remark] * (found.remark != "")
        before.append(probs_of(table))
        labels.append(name_classes(table)[0])
        if found.temperature is not None:
            temperatures[fold] = found.temperature
            after.append(apply_temperature(before[-1], found.temperature))
    every, whole = np.concatenate(labels), len(after) == len(before)
    return Calibration(
        temperatures,
        list(dict.fromkeys(remarks)),
        Confidence(np.concatenate(before), every),
        Confidence(np.concatenate(after), every) if whole else None,
    )


def measure_confidence(results: Results, protocol: str) -> Confidence:
    """Give a model's confidence in the test clips of all folds, as predicted."""
    tables = results.predictions[protocol].values()
    probs = np.concatenate([probs_of(table) for table in tables])
    return Confidence(probs, np.concatenate([name_classes(table)[0] for table in tables]))
