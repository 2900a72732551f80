"""How far a figure can be trusted where there are few groups: Student's t over the groups.

A mean over folds is a sum over groups: each adds its correct clips, weighted by one over the clips
of their fold (for UAR: of their fold and class, and the fold's classes). So its variance follows
from how far the groups lie from the mean, without drawing anything. That is what a bootstrap needs
many groups in each fold for: with one person per fold, a draw that leaves a person out leaves out
the fold too, and one that has a person twice still counts the fold once, so the figures of the
draws vary too little. `benchmarks/intervals.py` prints how often both hold the truth.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dfercli.metrics.bootstrap import (
    SAME,
    Cells,
    Difference,
    FoldIntervals,
    Interval,
    bootstrap_folds,
    check_level,
    number_groups,
    paired_bootstrap,
)

ENOUGH_GROUPS = 20
"""Groups (or clips, where there are no groups) that each fold must have for a bootstrap: with m of
them it makes an interval too narrow by a factor of about sqrt(1 - 1/m), 2.5 % at 20 (our choice).
"""


def estimate_folds(
    labels: np.ndarray,
    predicted: np.ndarray,
    folds: np.ndarray,
    num_classes: int,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> FoldIntervals:
    """Return intervals of a model's WAR and UAR: by a bootstrap, or by Student's t over few groups.

    Args:
        labels: (N,) int, true classes.
        predicted: (N,) int, predicted classes.
        folds: (N,) fold that tested each clip.
        num_classes: K.
        groups: (N,) group of each clip, of any one type; may span folds. None takes clips.
        level: Of the intervals, in (0, 1).

    Raises:
        DataError: As `bootstrap_folds`.
        ConfigError: The level is not between 0 and 1.
    """
    if has_enough_groups([folds], groups):
        return bootstrap_folds(labels, predicted, folds, num_classes, groups, level=level)
    model = Cells(labels, predicted, folds, num_classes)
    figures = model.measure(model.counts)[0]
    parts = _split(model, groups)
    war, uar = (
        _interval(figure, part, level, (0.0, 1.0))
        for figure, part in zip(figures.tolist(), parts, strict=True)
    )
    return FoldIntervals(war, uar, units=len(parts[0].weights), method="t")


def compare_models(
    labels: np.ndarray,
    predicted_a: np.ndarray,
    predicted_b: np.ndarray,
    folds_a: np.ndarray,
    folds_b: np.ndarray,
    num_classes: int,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> Difference:
    """Compare two models on the same clips: by a paired bootstrap, or Student's t over few groups.

    Args:
        labels: (N,) int, true classes.
        predicted_a: (N,) int, what A predicted.
        predicted_b: (N,) int, what B predicted.
        folds_a: (N,) fold that tested each clip of A; the mean is over them.
        folds_b: (N,) the same of B, which may have other folds.
        num_classes: K.
        groups: (N,) group of each clip, of any one type; may span folds. None takes clips.
        level: Of the intervals, in (0, 1).

    Raises:
        DataError: As `bootstrap_folds`.
        ConfigError: The level is not between 0 and 1.
    """
    columns = labels, predicted_a, predicted_b, folds_a, folds_b, num_classes, groups
    if has_enough_groups([folds_a, folds_b], groups):
        return paired_bootstrap(*columns, level=level)
    a = Cells(labels, predicted_a, folds_a, num_classes)
    b = Cells(labels, predicted_b, folds_b, num_classes)
    figures = (a.measure(a.counts) - b.measure(b.counts))[0]
    figures = np.where(np.abs(figures) < SAME, 0.0, figures).tolist()
    parts = [
        _Parts(in_a.weights, in_a.residuals - in_b.residuals)
        for in_a, in_b in zip(_split(a, groups), _split(b, groups), strict=True)
    ]
    of_war, of_uar = (
        (figure, _interval(figure, part, level, (-1.0, 1.0)), _p_value(figure, part))
        for figure, part in zip(figures, parts, strict=True)
    )
    return Difference(
        war=of_war[0],
        uar=of_uar[0],
        war_interval=of_war[1],
        uar_interval=of_uar[1],
        war_p=of_war[2],
        uar_p=of_uar[2],
        units=len(parts[0].weights),
        method="t",
    )


def has_enough_groups(every: Sequence[np.ndarray], groups: np.ndarray | None) -> bool:
    """Return whether each fold has groups enough to draw from.

    Args:
        every: (N,) fold of each clip, for each model.
        groups: (N,) group of each clip; None counts clips.
    """
    for folds in every:
        fold = np.unique(np.asarray(folds), return_inverse=True)[1]
        unit = np.arange(len(fold)) if groups is None else number_groups(groups, len(fold))
        pairs = np.unique(np.stack([fold, unit], axis=1), axis=0)
        if len(pairs) == 0 or np.bincount(pairs[:, 0]).min() < ENOUGH_GROUPS:
            return False
    return True


@dataclass(frozen=True)
class _Parts:
    """What each of G groups adds to a figure.

    Attributes:
        weights: (G,) share of the figure that is the group's; they add up to 1.
        residuals: (G,) how far the group moves the figure; they add up to 0.
    """

    weights: np.ndarray
    residuals: np.ndarray

    @property
    def variance(self) -> float:
        """Variance of the figure; exact for groups whose variances go by their weights.

        Source: MacKinnon and White, Some heteroskedasticity-consistent covariance matrix estimators
            with improved finite sample properties (1985), HC2, for a weighted mean.
        """
        return float((self.residuals**2 / (1 - self.weights)).sum())

    @property
    def freedom(self) -> float:
        """Degrees of freedom: the effective number of groups (Kish, 1965) minus 1."""
        return float(1 / (self.weights**2).sum() - 1)


def _split(model: Cells, groups: np.ndarray | None) -> tuple[_Parts, _Parts]:
    """Return what each group adds to the WAR and to the UAR."""
    fold, label, right = np.unravel_index(model.cells, model.shape)
    unit = np.arange(len(label)) if groups is None else number_groups(groups, len(label))
    total = model.counts.reshape(model.shape).sum(axis=-1)  # (F, K)
    num_folds, tested = len(total), (total > 0).sum(axis=1)
    of_war = 1 / (num_folds * total.sum(axis=1)[fold])
    of_uar = 1 / (num_folds * tested[fold] * total[fold, label])

    def add_up(shares: np.ndarray) -> _Parts:
        weights = np.bincount(unit, shares)
        figures = np.bincount(unit, shares * right)
        residuals = figures - weights * figures.sum()
        return _Parts(weights, np.where(np.abs(residuals) < SAME, 0.0, residuals))

    return add_up(of_war), add_up(of_uar)


def _interval(figure: float, parts: _Parts, level: float, bounds: tuple[float, float]) -> Interval:
    check_level(level)
    if len(parts.weights) == 1:
        return Interval(float("nan"), float("nan"), level)
    from scipy.stats import t  # takes a second to import, and only needed here

    half = float(t.ppf((1 + level) / 2, parts.freedom)) * parts.variance**0.5
    least, most = bounds
    return Interval(max(least, figure - half), min(most, figure + half), level)


def _p_value(difference: float, parts: _Parts) -> float:
    if len(parts.weights) == 1:
        return float("nan")
    if difference == 0:
        return 1.0
    least = 2.0 ** (1 - len(parts.weights))  # all groups on one side, as a test of signs has it
    if parts.variance == 0:
        return least
    from scipy.stats import t

    return float(2 * t.sf(abs(difference) / parts.variance**0.5, parts.freedom))
