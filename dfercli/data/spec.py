"""What every dataset gives: its labelled videos, its classes and its folds."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from dfercli.errors import DataError

BASIC_EXPRESSIONS = (
    "happiness",
    "sadness",
    "neutral",
    "anger",
    "surprise",
    "disgust",
    "fear",
)
"""The seven classes of DFEW and FERV39k, in DFEW's official order (Jiang et al., 2020)."""


@dataclass(frozen=True)
class Source:
    """One labelled video as the dataset's authors hand it out.

    Attributes:
        clip_id: Its name, unique in the dataset.
        path: Where it is below the dataset's root, in POSIX form.
        class_name: Its expression.
        test_fold: The fold in which it is tested; 0 for one that always trains.
        group: Who or what must not be in train and test at once, such as a person.
    """

    clip_id: str
    path: str
    class_name: str
    test_fold: int
    group: str | None = None


def check_inside_root(path: str, where: str) -> None:
    """Refuse a path that could leave the data root.

    Raises:
        DataError: The path is absolute, has a drive or backslashes, goes up, or names nothing.
    """
    pure = PurePosixPath(path)
    if not pure.name or pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path[:3]:
        raise DataError(
            f"{where}: path {path!r} leaves the data root; give it relative, with / and without .."
        )


def order_classes(class_names: Iterable[str]) -> tuple[str, ...]:
    """Sort classes: the basic expressions in their usual order, then others by name."""
    rank = {name: index for index, name in enumerate(BASIC_EXPRESSIONS)}
    return tuple(sorted(set(class_names), key=lambda name: (rank.get(name, len(rank)), name)))
