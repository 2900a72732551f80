"""Drawing clips, or groups of them, with replacement: what the bootstrap stands on.

Clips of one fold and class that are both right, or both wrong, are exchangeable. So a draw is a
multinomial count over such cells, exactly, and costs next to nothing however many clips there are.
"""

from collections.abc import Callable, Sequence

import numpy as np

from dfercli.errors import DataError, require_at_least
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
