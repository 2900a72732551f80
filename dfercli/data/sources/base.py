"""What every dataset provides: labelled videos, classes and folds; and lists that users type."""

import codecs
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from dfercli.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

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


def read_list(path: Path, needed: Sequence[str], begins: str, quoted: str) -> "pd.DataFrame":
    """Read a list as text, without spaces around; its columns in lower case.

    Args:
        path: Of the CSV file, which is there.
        needed: Columns that it must have.
        begins: Its first line as it should be, for an empty file.
        quoted: What may have a comma in it, for lines that are too long.

    Raises:
        DataError: It is empty, not in UTF-8, not CSV, or lacks a column.
    """
    import pandas as pd

    try:
        with path.open("rb") as stream:
            encoding = find_encoding(stream.read(4))
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding=encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8; save it as CSV in UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty; it begins with {begins}") from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().splitlines()[0].rpartition("C error: ")[2]
        raise DataError(
            f"cannot read {path}: {reason}; is a comma in a {quoted}? quote it"
        ) from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas names lines by what is left over
        raise DataError(f"{path}: the lines have more fields than the header; name each column")
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r}, its first line reads "
            f"{','.join(table.columns)!r}; it needs {','.join(needed)}, with commas and in UTF-8"
        )
    table = table.apply(lambda column: column.str.strip())
    return table[(table != "").any(axis=1)]  # spreadsheets leave lines of commas


def find_encoding(content: bytes) -> str:
    """Return the encoding of a text by its byte order mark; UTF-8 where it has none."""
    marks = {
        codecs.BOM_UTF32_LE: "utf-32",  # begins like that of UTF-16
        codecs.BOM_UTF32_BE: "utf-32",
        codecs.BOM_UTF16_LE: "utf-16",
        codecs.BOM_UTF16_BE: "utf-16",
    }
    return next((name for mark, name in marks.items() if content.startswith(mark)), "utf-8-sig")


def normalise_words(words: "pd.Series") -> "pd.Series":
    """Give words without outer and double spaces, and with one code for each letter.

    macOS and others write accents as letters of their own.
    """
    return words.str.normalize("NFC").str.split().str.join(" ")
