"""How far a figure, or the difference of two models, can be trusted: bootstrap and McNemar.

The figure is the field's: each fold's WAR or UAR, then their plain mean. Clips are drawn with
replacement from all folds together; where clips belong together (cut from one film, or showing one
person) whole groups are drawn instead, as their clips are right and wrong together.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3, percentile
interval; Field and Welsh, Bootstrapping clustered data (2007), section 3, drawing of groups.
What was trained is held fixed: another seed's training is not in these intervals. Where a fold has
few groups, a bootstrap is too narrow: `student.py` chooses between it and Student's t.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from dfercli.errors import ConfigError
from dfercli.metrics.draws import Cells, check_lengths, resample

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
