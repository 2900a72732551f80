"""Confidence intervals and tests by resampling: bootstrap over clips or groups, and McNemar."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dfercli.errors import ConfigError, DataError, require_at_least
from dfercli.metrics.scores import divide, mean_of_known

CHUNK_NUMBERS = 4_000_000
"""Numbers that are held at a time: 32 MB (our choice)."""


class Cells:
    """Which cell each clip of a model is in: of its fold, its class, and whether it is right."""

    def __init__(
        self, labels: np.ndarray, predicted: np.ndarray, folds: np.ndarray, num_classes: int
    ) -> None:
        labels, predicted = np.asarray(labels), np.asarray(predicted)
        check_lengths(labels=labels, predicted=predicted, folds=np.asarray(folds))
        _check_clips(labels, num_classes)
        names, fold = np.unique(np.asarray(folds), return_inverse=True)
        self.shape = (len(names), num_classes, 2)
        self.size = int(np.prod(self.shape))
        self.cells = np.ravel_multi_index(
            (fold, labels.astype(np.int64), (labels == predicted).astype(np.int64)), self.shape
        )
        self.counts = np.bincount(self.cells, minlength=self.size).astype(np.float64)

    def measure(self, counts: np.ndarray) -> np.ndarray:
        """Give mean WAR and UAR, (D, 2), of the counts in the cells of D draws, (D, C)."""
        counts = counts.reshape(-1, *self.shape)
        right, total = counts[..., 1], counts.sum(axis=-1)  # (D, F, K)
        wars = divide(right.sum(axis=-1), total.sum(axis=-1))  # (D, F)
        uars = mean_of_known(divide(right, total))
        return mean_of_known(np.stack([wars, uars], axis=1))


def resample(
    models: Sequence[Cells],
    measure: Callable[[np.ndarray], np.ndarray],
    groups: np.ndarray | None,
    draws: int,
    seed: int,
) -> np.ndarray:
    """Draw clips or groups with replacement and measure each draw.

    Args:
        models: Each model's cells, of the same clips.
        measure: Gives figures, (D, M), of the counts in the cells of all models, (D, C).
        groups: (N,) group of each clip; None draws clips.
        draws: Times that the clips are drawn.
        seed: Of the draws.

    Returns:
        (draws, M) figures; nan where there is a single clip or group to draw.

    Raises:
        DataError: Not a group for each clip.
        ConfigError: No draw.
    """
    require_at_least("draws", draws, 1)
    kinds, numbers = _count_units(models, groups)
    total = numbers.sum()
    if total == 1:
        return np.full_like(measure(kinds), np.nan)
    generator = np.random.default_rng(seed)
    size = max(1, CHUNK_NUMBERS // max(kinds.shape))
    figures = []
    for start in range(0, draws, size):
        drawn = generator.multinomial(total, numbers / total, size=min(size, draws - start))
        figures.append(measure(drawn @ kinds))
    return np.concatenate(figures)


def _count_units(
    models: Sequence[Cells], groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Give the kinds of units that are drawn, (U, C) clips in each cell, and how many, (U,)."""
    starts = np.cumsum([0, *(model.size for model in models)])
    cells = np.stack([m.cells + start for m, start in zip(models, starts, strict=False)], axis=1)
    if groups is None:
        found, numbers = np.unique(cells, axis=0, return_counts=True)
        kinds = np.zeros((len(found), starts[-1]))
        np.put_along_axis(kinds, found, 1.0, axis=1)
        return kinds, numbers
    unit = number_groups(groups, len(cells))
    kinds = np.zeros((unit.max() + 1, starts[-1]))
    np.add.at(kinds, (unit[:, None], cells), 1.0)
    kinds, numbers = np.unique(kinds, axis=0, return_counts=True)
    return kinds[::-1], numbers[::-1]  # as above: groups of one draw what clips draw


def number_groups(groups: np.ndarray, num_clips: int) -> np.ndarray:
    """Return the number of each clip's group, (N,), from 0.

    Raises:
        DataError: Not one group for each clip.
    """
    groups = np.asarray(groups)
    if len(groups) != num_clips:
        raise DataError(f"{num_clips} clips and {len(groups)} groups; it must be one each")
    missing = sum(name is None or name != name for name in groups.tolist())
    if missing:
        raise DataError(f"{missing} of {num_clips} clips have no group")
    return np.unique(groups, return_inverse=True)[1]


def check_lengths(**columns: np.ndarray) -> None:
    """Raise a DataError when the columns are not as long as each other."""
    if len({len(column) for column in columns.values()}) > 1:
        said = ", ".join(f"{len(column)} {name}" for name, column in columns.items())
        raise DataError(f"not one of each for every clip: {said}")


def _check_clips(labels: np.ndarray, num_classes: int) -> None:
    if len(labels) == 0:
        raise DataError("no clip to draw from")
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        raise DataError(f"class {labels[wrong][0]} is not one of 0 to {num_classes - 1}")


SAME = 1e-12
"""Differences under it are rounding: equal figures, added up in another order."""


@dataclass(frozen=True)
class Interval:
    """Where a figure lies.

    Attributes:
        low: Lower end; nan where a single clip or group leaves nothing to draw.
        high: Upper end; the same.
        level: Share of draws between the two, in (0, 1).
    """

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class FoldIntervals:
    """Intervals of a model's mean over folds, as fractions.

    Attributes:
        war: Of WAR.
        uar: Of UAR.
        units: Groups, or clips where there are no groups, that they stand on.
        method: `bootstrap`, or `t` for Student's t over the groups.
    """

    war: Interval
    uar: Interval
    units: int
    method: str = "bootstrap"


@dataclass(frozen=True)
class McNemar:
    """Clips that only one of two models named rightly.

    Attributes:
        only_a: Clips that A named rightly and B did not.
        only_b: The reverse.
        p_value: Exact and two-sided, of both being as likely.
    """

    only_a: int
    only_b: int
    p_value: float


@dataclass(frozen=True)
class Difference:
    """Model A minus model B on the same clips, as fractions.

    Attributes:
        war: Difference of the means over folds of WAR.
        uar: The same of UAR.
        war_interval: Of `war`.
        uar_interval: Of `uar`.
        war_p: Two-sided p-value of no difference; nan where a single clip or group was tested.
        uar_p: The same of UAR.
        units: Groups, or clips where there are no groups, that all of this stands on.
        method: `bootstrap`, or `t` for Student's t over the groups.
    """

    war: float
    uar: float
    war_interval: Interval
    uar_interval: Interval
    war_p: float
    uar_p: float
    units: int
    method: str = "bootstrap"


def bootstrap_folds(
    labels: np.ndarray,
    predicted: np.ndarray,
    folds: np.ndarray,
    num_classes: int,
    groups: np.ndarray | None = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> FoldIntervals:
    """Give percentile intervals of a model's WAR and UAR, each the mean over folds.

    A fold that a draw leaves empty does not count in that draw, nor a class in a fold's UAR. The
    order of the clips and the names of the groups change nothing.

    Args:
        labels: (N,) int, true classes.
        predicted: (N,) int, predicted classes.
        folds: (N,) fold that tested each clip.
        num_classes: K.
        groups: (N,) group of each clip, of any one type; may span folds. None draws clips.
        draws: Times that the clips are drawn.
        seed: Of the draws.
        level: Share of draws inside the interval, in (0, 1).

    Raises:
        DataError: No clip, not as many of one as of the other, a class out of range, or a clip
            without a group.
        ConfigError: No draw, or a level that is no share.
    """
    model = Cells(labels, predicted, folds, num_classes)
    figures = resample([model], model.measure, groups, draws, seed)
    war, uar = (_interval(column, level) for column in figures.T)
    return FoldIntervals(war, uar, units=_count(labels, groups))


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> McNemar:
    """Test whether two models name as many clips rightly, from those that only one did.

    Args:
        right_a: (N,) bool, whether A named each clip rightly.
        right_b: (N,) bool, the same of B, of the same clips.

    Raises:
        DataError: Not as many clips of one as of the other.

    Source: McNemar, Psychometrika 12 (1947), in its exact form: a two-sided binomial test with
        p = 1/2. With no such clip the p-value is 1.
    """
    right_a, right_b = np.asarray(right_a, dtype=bool), np.asarray(right_b, dtype=bool)
    check_lengths(right_a=right_a, right_b=right_b)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a == only_b:  # also none at all, which the test refuses
        return McNemar(only_a, only_b, 1.0)
    from scipy.stats import binomtest  # takes a second to import, and only needed here

    return McNemar(only_a, only_b, float(binomtest(only_a, only_a + only_b, 0.5).pvalue))


def paired_bootstrap(
    labels: np.ndarray,
    predicted_a: np.ndarray,
    predicted_b: np.ndarray,
    folds_a: np.ndarray,
    folds_b: np.ndarray,
    num_classes: int,
    groups: np.ndarray | None = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """Compare two models on the same clips, drawn for both alike.

    The p-value is the percentile interval's: 1 minus the level at which it would end at 0, with
    one draw added so that it is never 0 (Davison and Hinkley, Bootstrap Methods and their
    Application, 1997, section 4.2).

    Args:
        labels: (N,) int, true classes.
        predicted_a: (N,) int, what A predicted.
        predicted_b: (N,) int, what B predicted.
        folds_a: (N,) fold that tested each clip of A; the mean is over them.
        folds_b: (N,) the same of B, which may have been dealt otherwise.
        num_classes: K.
        groups: (N,) group of each clip, of any one type; may span folds. None draws clips.
        draws: Times that the clips are drawn.
        seed: Of the draws.
        level: Share of draws inside the intervals, in (0, 1).

    Raises:
        DataError: As `bootstrap_folds`.
        ConfigError: As `bootstrap_folds`.
    """
    a = Cells(labels, predicted_a, folds_a, num_classes)
    b = Cells(labels, predicted_b, folds_b, num_classes)
    figures = resample([a, b], partial(_subtract, a, b), groups, draws, seed)
    war, uar = _subtract(a, b, np.concatenate([a.counts, b.counts])[None])[0].tolist()
    wars, uars = figures.T
    return Difference(
        war,
        uar,
        _interval(wars, level),
        _interval(uars, level),
        _p_value(wars),
        _p_value(uars),
        _count(labels, groups),
    )


def _subtract(a: Cells, b: Cells, counts: np.ndarray) -> np.ndarray:
    """Give A minus B of WAR and UAR, (D, 2), of counts in A's cells and then in B's."""
    differences = a.measure(counts[:, : a.size]) - b.measure(counts[:, a.size :])
    return np.where(np.abs(differences) < SAME, 0.0, differences)


def check_level(level: float) -> None:
    """Refuse a level of an interval that is not between 0 and 1.

    Raises:
        ConfigError: It is not.
    """
    if not 0 < level < 1:
        raise ConfigError(f"the level of an interval is {level}; it must lie between 0 and 1")


def _count(labels: np.ndarray, groups: np.ndarray | None) -> int:
    return len(labels) if groups is None else len(np.unique(np.asarray(groups)))


def _interval(figures: np.ndarray, level: float) -> Interval:
    check_level(level)
    low, high = np.quantile(figures, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(low, high, level)


def _p_value(differences: np.ndarray) -> float:
    if np.isnan(differences).any():
        return float("nan")
    least = min((differences <= 0).sum(), (differences >= 0).sum())
    return float(min(1.0, 2 * (least + 1) / (len(differences) + 1)))
