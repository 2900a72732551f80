"""Confidence intervals and tests of WAR and UAR: bootstrap, Student's t over groups, McNemar.

A bootstrap needs many groups in each fold. With one person per fold, a draw without a person also
lacks the fold, and a draw with a person twice still counts the fold once, so the figures of the
draws vary too little. `estimate_folds` and `compare_models` therefore use Student's t if there are
few groups: a mean over folds is a sum over groups of their correct clips, each weighted by one over
the clips of its fold (for UAR: of its fold and class, and the fold's classes). Its variance follows
from the distances of the groups from the mean. `benchmarks/intervals.py` measures how often the
intervals of both methods contain the true value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dfercli.errors import ConfigError, DataError, require_at_least
from dfercli.metrics.scores import divide, mean_of_known

ENOUGH_GROUPS = 20
"""Groups (or clips, without groups) per fold from which the bootstrap is used: with m of them its
intervals are too narrow by a factor of about sqrt(1 - 1/m), 2.5 % at 20 (our choice)."""

CHUNK_NUMBERS = 4_000_000
"""Numbers held in memory at a time: 32 MB (our choice)."""

Method = Literal["bootstrap", "t"]

SAME = 1e-12
"""Smaller differences are rounding errors of equal figures."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval at a level in (0, 1); nan if there is only one clip or group."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class FoldIntervals:
    """Intervals of a model's mean WAR and UAR over folds, as fractions.

    `units` counts the groups, or clips without groups; `method` is `bootstrap`, or `t` for
    Student's t.
    """

    war: Interval
    uar: Interval
    units: int
    method: Method


@dataclass(frozen=True)
class Difference:
    """Model A minus model B on the same clips, as fractions, with intervals.

    `war_p` and `uar_p` are two-sided p-values of no difference, nan for a single clip or group.
    `units` and `method` are as in `FoldIntervals`.
    """

    war: float
    uar: float
    war_interval: Interval
    uar_interval: Interval
    war_p: float
    uar_p: float
    units: int
    method: Method


@dataclass(frozen=True)
class McNemar:
    """Clips that only one of two models classified correctly, and the exact two-sided p-value."""

    only_a: int
    only_b: int
    p_value: float


def estimate_folds(
    labels: np.ndarray,
    predicted: np.ndarray,
    folds: np.ndarray,
    num_classes: int,
    groups: np.ndarray | None = None,
    level: float = 0.95,
    method: Method | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> FoldIntervals:
    """Return intervals of a model's WAR and UAR, each the mean over folds.

    The bootstrap takes percentiles of the draws. A fold without clips in a draw is left out of that
    draw's mean, and a class without clips out of the fold's UAR. The result does not depend on the
    order of the clips or the names of the groups.

    Args:
        labels: (N,) int, true classes.
        predicted: (N,) int, predicted classes.
        folds: (N,) fold that tested each clip.
        num_classes: K.
        groups: (N,) group of each clip, of any type; groups may span folds. None draws clips.
        level: Confidence level, in (0, 1).
        method: `bootstrap`, or `t` for Student's t over the groups; None for the bootstrap unless
            there are few groups.
        draws: Number of draws of the bootstrap.
        seed: Seed of the draws.

    Raises:
        DataError: There are no clips, the columns differ in length, a class is out of range, or a
            clip has no group.
        ConfigError: `draws` is below 1, or `level` is outside (0, 1).
    """
    if method is None:
        method = "bootstrap" if has_enough_groups([folds], groups) else "t"
    models = [Cells(labels, predicted, folds, num_classes)]
    (war, uar), _ = _estimate(models, groups, level, method, draws, seed)
    return FoldIntervals(war, uar, _count_units(labels, groups), method)


def compare_models(
    labels: np.ndarray,
    predicted_a: np.ndarray,
    predicted_b: np.ndarray,
    folds_a: np.ndarray,
    folds_b: np.ndarray,
    num_classes: int,
    groups: np.ndarray | None = None,
    level: float = 0.95,
    method: Method | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Compare two models on the same clips, by the same draws; their folds may differ.

    The p-value of the bootstrap is 1 minus the level at which the percentile interval would end at
    0, with one draw added so that it is never 0 (Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, section 4.2). See `estimate_folds` for the arguments and errors.
    """
    if method is None:
        method = "bootstrap" if has_enough_groups([folds_a, folds_b], groups) else "t"
    a = Cells(labels, predicted_a, folds_a, num_classes)
    b = Cells(labels, predicted_b, folds_b, num_classes)
    intervals, p_values = _estimate([a, b], groups, level, method, draws, seed)
    units = _count_units(labels, groups)
    return Difference(*_figures([a, b]), *intervals, *p_values, units=units, method=method)


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> McNemar:
    """Test whether two models classify equally many clips correctly; `right_*` are (N,) bool.

    Raises:
        DataError: The two differ in length.

    Source: McNemar, Psychometrika 12 (1947), in its exact form: a two-sided binomial test with p =
    1/2. The p-value is 1 if the models are right on the same clips.
    """
    right_a, right_b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    check_lengths(right_a=right_a, right_b=right_b)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a == only_b:  # includes 0 clips, which binomtest refuses
        return McNemar(only_a, only_b, 1.0)
    from scipy.stats import binomtest  # takes a second to import

    return McNemar(only_a, only_b, float(binomtest(only_a, only_a + only_b, 0.5).pvalue))


def has_enough_groups(folds: Sequence[np.ndarray], groups: np.ndarray | None) -> bool:
    """Return whether each fold of each model has enough groups, or clips, for a bootstrap."""
    for of_clips in folds:
        fold = np.unique(np.asarray(of_clips), return_inverse=True)[1]
        unit = number_groups(groups, len(fold))
        pairs = np.unique(np.stack([fold, unit], axis=1), axis=0)
        if len(pairs) == 0 or np.bincount(pairs[:, 0]).min() < ENOUGH_GROUPS:
            return False
    return True


class Cells:
    """A model's clips in cells by fold, class, and whether the model is right."""

    def __init__(
        self, labels: np.ndarray, predicted: np.ndarray, folds: np.ndarray, num_classes: int
    ) -> None:
        labels, predicted = np.asarray(labels), np.asarray(predicted)
        check_lengths(labels=labels, predicted=predicted, folds=np.asarray(folds))
        if len(labels) == 0:
            raise DataError("there are no clips")
        wrong = (labels < 0) | (labels >= num_classes)
        if wrong.any():
            raise DataError(f"class {labels[wrong][0]} is not one of 0 to {num_classes - 1}")
        names, fold = np.unique(np.asarray(folds), return_inverse=True)
        self.shape = (len(names), num_classes, 2)
        self.size = int(np.prod(self.shape))
        self.cells = np.ravel_multi_index(
            (fold, labels.astype(np.int64), (labels == predicted).astype(np.int64)), self.shape
        )
        self.counts = np.bincount(self.cells, minlength=self.size).astype(np.float64)

    def measure(self, counts: np.ndarray) -> np.ndarray:
        """Return mean WAR and UAR, (D, 2), of the clips in each cell in D draws, (D, C)."""
        counts = counts.reshape(-1, *self.shape)
        right, total = counts[..., 1], counts.sum(axis=-1)  # (D, F, K)
        wars = divide(right.sum(axis=-1), total.sum(axis=-1))  # (D, F)
        uars = mean_of_known(divide(right, total))
        return mean_of_known(np.stack([wars, uars], axis=1))


def _measure(models: Sequence[Cells], counts: np.ndarray) -> np.ndarray:
    """Return WAR and UAR, (D, 2), of one model, or of the first of two minus the second.

    `counts` (D, C) are the clips in the cells of all models, in D draws.
    """
    if len(models) == 1:
        return models[0].measure(counts)
    a, b = models
    differences = a.measure(counts[:, : a.size]) - b.measure(counts[:, a.size :])
    return np.where(np.abs(differences) < SAME, 0.0, differences)


def _figures(models: Sequence[Cells]) -> tuple[float, float]:
    """Return WAR and UAR of all clips, as `_measure` does."""
    war, uar = _measure(models, np.concatenate([model.counts for model in models])[None])[0]
    return float(war), float(uar)


_Results = tuple[tuple[Interval, Interval], tuple[float, float]]
"""Intervals and p-values of WAR and UAR."""


def _estimate(
    models: Sequence[Cells],
    groups: np.ndarray | None,
    level: float,
    method: Method,
    draws: int,
    seed: int,
) -> _Results:
    """Return intervals and p-values of WAR and UAR."""
    if not 0 < level < 1:
        raise ConfigError(f"the confidence level is {level}; it must be between 0 and 1")
    if method == "t":
        return _use_student_t(models, groups, level)
    return _use_bootstrap(models, groups, level, draws, seed)


def _use_bootstrap(
    models: Sequence[Cells], groups: np.ndarray | None, level: float, draws: int, seed: int
) -> _Results:
    """Return intervals and p-values of WAR and UAR by percentiles of the draws."""
    wars, uars = resample(models, groups, draws, seed).T

    def find_interval(figures: np.ndarray) -> Interval:
        low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2]).tolist()
        return Interval(low, high, level)

    def find_p_value(differences: np.ndarray) -> float:
        if np.isnan(differences).any():
            return float("nan")
        least = min((differences <= 0).sum(), (differences >= 0).sum())
        return float(min(1.0, 2 * (least + 1) / (len(differences) + 1)))

    return (find_interval(wars), find_interval(uars)), (find_p_value(wars), find_p_value(uars))


def resample(
    models: Sequence[Cells], groups: np.ndarray | None, draws: int, seed: int
) -> np.ndarray:
    """Draw clips or groups with replacement, and measure each draw.

    Of two models on the same clips, the difference is measured. Returns (draws, 2) WAR and UAR; nan
    if there is only one clip or group.

    Raises:
        DataError: A clip has no group.
        ConfigError: `draws` is below 1.
    """
    require_at_least("draws", draws, 1)
    kinds, numbers = _count_kinds(models, groups)
    total = numbers.sum()
    if total == 1:
        return np.full((len(kinds), 2), np.nan)
    generator = np.random.default_rng(seed)
    size = max(1, CHUNK_NUMBERS // max(kinds.shape))
    figures = []
    for start in range(0, draws, size):
        drawn = generator.multinomial(total, numbers / total, size=min(size, draws - start))
        figures.append(_measure(models, drawn @ kinds))
    return np.concatenate(figures)


def _count_kinds(
    models: Sequence[Cells], groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return kinds of clips or groups, (U, C) clips per cell, and the number of each, (U,)."""
    starts = np.cumsum([0, *(model.size for model in models)])
    cells = np.stack([m.cells + start for m, start in zip(models, starts, strict=False)], axis=1)
    if groups is None:
        distinct, numbers = np.unique(cells, axis=0, return_counts=True)
        kinds = np.zeros((len(distinct), starts[-1]))
        np.put_along_axis(kinds, distinct, 1.0, axis=1)
        return kinds, numbers
    unit = number_groups(groups, len(cells))
    kinds = np.zeros((unit.max() + 1, starts[-1]))
    np.add.at(kinds, (unit[:, None], cells), 1.0)
    kinds, numbers = np.unique(kinds, axis=0, return_counts=True)
    return kinds[::-1], numbers[::-1]  # the order for clips: groups of one draw the same


@dataclass(frozen=True)
class _GroupParts:
    """Weight of each group in a figure, (G,) adding up to 1, and how far it moves it, (G,)."""

    weights: np.ndarray
    residuals: np.ndarray

    @property
    def variance(self) -> float:
        """Variance of the figure; exact if the groups' variances are proportional to the weights.

        Source: MacKinnon and White, Some heteroskedasticity-consistent covariance matrix estimators
            with improved finite sample properties (1985), HC2, for a weighted mean.
        """
        return float((self.residuals**2 / (1 - self.weights)).sum())

    @property
    def freedom(self) -> float:
        """Degrees of freedom: the effective number of groups (Kish, 1965) minus 1."""
        return float(1 / (self.weights**2).sum() - 1)


def _use_student_t(models: Sequence[Cells], groups: np.ndarray | None, level: float) -> _Results:
    """Return intervals and p-values of WAR and UAR by Student's t over the groups."""
    parts = _split(models[0], groups)
    if len(models) == 2:
        parts = [
            _GroupParts(a.weights, a.residuals - b.residuals)
            for a, b in zip(parts, _split(models[1], groups), strict=True)
        ]
    if len(parts[0].weights) == 1:
        unknown = Interval(float("nan"), float("nan"), level)
        return (unknown, unknown), (float("nan"), float("nan"))
    from scipy.stats import t  # takes a second to import

    lowest = -1.0 if len(models) == 2 else 0.0

    def find_interval(figure: float, part: _GroupParts) -> Interval:
        half = float(t.ppf((1 + level) / 2, part.freedom)) * part.variance**0.5
        return Interval(max(lowest, figure - half), min(1.0, figure + half), level)

    def find_p_value(difference: float, part: _GroupParts) -> float:
        if difference == 0:
            return 1.0
        if part.variance == 0:  # all groups differ by the same amount: as a sign test
            return float(2.0 ** (1 - len(part.weights)))
        return float(2 * t.sf(abs(difference) / part.variance**0.5, part.freedom))

    (war, uar), (of_war, of_uar) = _figures(models), parts
    return (
        (find_interval(war, of_war), find_interval(uar, of_uar)),
        (find_p_value(war, of_war), find_p_value(uar, of_uar)),
    )


def _split(model: Cells, groups: np.ndarray | None) -> list[_GroupParts]:
    """Return the contribution of each group to the WAR and to the UAR."""
    fold, label, right = np.unravel_index(model.cells, model.shape)
    unit = number_groups(groups, len(label))
    total = model.counts.reshape(model.shape).sum(axis=-1)  # (F, K)
    num_folds, tested = len(total), (total > 0).sum(axis=1)
    of_war = 1 / (num_folds * total.sum(axis=1)[fold])
    of_uar = 1 / (num_folds * tested[fold] * total[fold, label])

    def add_up(shares: np.ndarray) -> _GroupParts:
        weights = np.bincount(unit, shares)
        figures = np.bincount(unit, shares * right)
        residuals = figures - weights * figures.sum()
        return _GroupParts(weights, np.where(np.abs(residuals) < SAME, 0.0, residuals))

    return [add_up(of_war), add_up(of_uar)]


def number_groups(groups: np.ndarray | None, num_clips: int) -> np.ndarray:
    """Return each clip's group as a number from 0, (N,); without groups each clip is one.

    Raises:
        DataError: A clip has no group.
    """
    if groups is None:
        return np.arange(num_clips)
    groups = np.asarray(groups)
    if len(groups) != num_clips:
        raise DataError(f"{len(groups)} groups for {num_clips} clips; expected one per clip")
    missing = sum(name is None or name != name for name in groups.tolist())
    if missing:
        raise DataError(f"{missing} of {num_clips} clips have no group")
    return np.unique(groups, return_inverse=True)[1]


def _count_units(labels: np.ndarray, groups: np.ndarray | None) -> int:
    return len(labels) if groups is None else len(np.unique(np.asarray(groups)))


def check_lengths(**columns: np.ndarray) -> None:
    """Raise a DataError if the columns differ in length."""
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{len(column)} {name}" for name, column in columns.items())
        raise DataError(f"the columns differ in length: {lengths}")
