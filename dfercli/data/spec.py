"""What every dataset gives: its labelled videos, its classes and its folds."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

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

MAX_FOLD = 999
"""Largest number of a fold (our choice)."""

Media = Literal["videos", "crops", "frames"]
"""Whether a dataset's clips are to be cropped (videos, or folders of whole frames), are face crops
already, or are frames of which only a look tells."""


@dataclass(frozen=True)
class Source:
    """One labelled video as the dataset's authors hand it out.

    Attributes:
        clip_id: Its name, unique in the dataset.
        path: Where its file, or the folder of its frames, is below the dataset's root, in POSIX
            form; None where it is listed and not there.
        class_name: Its expression.
        test_fold: The fold in which it is tested; 0 for one that always trains.
        group: Who or what must not be in train and test at once, such as a person; empty where
            nobody has named it, None where nothing names any.
    """

    clip_id: str
    path: str | None
    class_name: str
    test_fold: int
    group: str | None = None


@dataclass(frozen=True)
class Choices:
    """What a user may choose about a dataset.

    Attributes:
        media: Which of its media to take, by the names that the dataset's module lists as `MEDIA`;
            None takes the usual one.
        adopt: Whether frames are face crops already; None where nobody has said.
        num_folds: Folds to deal videos to, for datasets that come without; None takes as many as
            they were dealt to before, or the usual number.
        known_folds: Fold by clip id where it is settled already.
        unusable: Clips that count for no fold, since they have no crops.
    """

    media: str | None = None
    adopt: bool | None = None
    num_folds: int | None = None
    known_folds: Mapping[str, int] = field(default_factory=dict)
    unusable: Collection[str] = ()


@dataclass(frozen=True)
class Listing:
    """What a dataset's lists and folders hold.

    Attributes:
        sources: Every listed clip.
        class_names: The K classes in the order of tables and logits.
        media: Whether the clips are to be cropped.
        media_name: What the authors call these media, whatever their folder is called here.
        taken: Which lists and folders were taken, a line each.
        deviations: What differs from the official lists, a line each, the gravest first.
        num_folds: Folds that the clips were dealt to; None where the folds are official.
        remarks: What was asked for, and every table of figures has to repeat all the same.
        answers: What to say about `frames`, when asked.
        drawn: Whether it shows the drawn people of `dfer demo`.
        where: Folder of these media below the root, as it was found.
    """

    sources: tuple[Source, ...]
    class_names: tuple[str, ...]
    media: Media
    media_name: str
    taken: tuple[str, ...] = ()
    deviations: tuple[str, ...] = ()
    num_folds: int | None = None
    remarks: tuple[str, ...] = ()
    answers: str = "--adopt to use them as they are, or --crop"
    drawn: bool = False
    where: str = ""


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def describe_clips(
    class_names: Sequence[str], labels: Iterable[str], test_folds: Iterable[int]
) -> str:
    """Say how many clips there are of each class, and in each fold."""
    counts, folds = Counter(labels), Counter(test_folds)
    classes = ", ".join(f"{name} {counts[name]:,}" for name in class_names)
    dealt = ", ".join(f"{fold}: {count:,}" for fold, count in sorted(folds.items()))
    return f"{sum(counts.values()):,} ({classes}); by test fold {dealt}"


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
