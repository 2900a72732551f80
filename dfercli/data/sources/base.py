"""What every dataset provides: labelled videos, classes and folds; and CSV lists by users.

A list by users is `labels.csv` of own videos, or `groups.csv`, which gives groups to the clips of a
dataset with official lists.
"""

import codecs
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from dfercli.errors import DataError
from dfercli.text import count_of

if TYPE_CHECKING:
    import pandas as pd

BASIC_EXPRESSIONS = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
"""The seven classes of DFEW and FERV39k, in DFEW's official order (Jiang et al., 2020)."""

MAX_FOLD = 999
"""Largest number of a fold (our choice)."""

Media = Literal["videos", "crops", "frames"]
"""What the clips of a dataset are: videos (or folders of whole frames) to crop, face crops, or
frames that have to be looked at to tell."""


@dataclass(frozen=True)
class Source:
    """One labelled video as the authors of a dataset distribute it.

    Attributes:
        clip_id: Its name, unique in the dataset.
        path: Its file, or the folder of its frames, relative to the dataset's root in POSIX form;
            None if it is listed but missing.
        class_name: Its expression.
        test_fold: The fold in which it is tested; 0 for a clip that is only trained on.
        group: What must not be in both train and test, such as a person; empty if this clip has no
            group, None if the dataset has no groups.
        traits: Properties of the person, such as `sex`; columns of the manifest.
        votes: Number of raters who chose each class; empty without votes.
    """

    clip_id: str
    path: str | None
    class_name: str
    test_fold: int
    group: str | None = None
    traits: Mapping[str, str] = field(default_factory=dict)
    votes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Choices:
    """What a user can choose about a dataset.

    Attributes:
        media: Which media to use, one of the names in `MEDIA` of the dataset's module; None uses
            the default.
        adopt: Whether frames are face crops already; None if the user did not say.
        num_folds: Number of folds, for datasets without official ones; None keeps the number of
            the existing manifest, or the default.
        known_folds: Existing test folds by clip id.
        unusable: Clips without crops, which do not count when folds are assigned.
    """

    media: str | None = None
    adopt: bool | None = None
    num_folds: int | None = None
    known_folds: Mapping[str, int] = field(default_factory=dict)
    unusable: Collection[str] = ()


@dataclass(frozen=True)
class Listing:
    """The content of a dataset's lists and folders.

    Attributes:
        sources: Every listed clip.
        class_names: The K classes in the order of tables and logits.
        media: Whether the clips have to be cropped.
        media_name: What the authors call these media, whatever the folder is called here.
        taken: The lists and folders that were used, one line each.
        deviations: Differences from the official lists, one line each, the gravest first.
        num_folds: Number of folds that we assigned; None if the folds are official.
        remarks: Choices of the user that every table of results repeats.
        answers: Options that resolve media `frames`.
        drawn: Whether the videos are the drawn ones of `dfer demo`.
        where: Folder of the media, relative to the root.
        packed: Archive and name in it of videos that have yet to be unpacked, by their path.
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
    packed: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def describe_clips(
    class_names: Sequence[str], labels: Iterable[str], test_folds: Iterable[int]
) -> str:
    """Return the number of clips per class and per test fold, in one line."""
    counts, folds = Counter(labels), Counter(test_folds)
    classes = ", ".join(f"{name} {counts[name]:,}" for name in class_names)
    fold_sizes = ", ".join(f"{fold}: {count:,}" for fold, count in sorted(folds.items()))
    return f"{sum(counts.values()):,} ({classes}); by test fold {fold_sizes}"


def check_inside_root(path: str, where: str) -> None:
    """Refuse a path that could leave the data root.

    Raises:
        DataError: The path is absolute, has a drive or backslashes, contains `..`, or is empty.
    """
    pure = PurePosixPath(path)
    if not pure.name or pure.is_absolute() or ".." in pure.parts or "\\" in path or ":" in path[:3]:
        raise DataError(
            f"{where}: path {path!r} leaves the data root; use a relative path with / and no .."
        )


def order_classes(class_names: Iterable[str]) -> tuple[str, ...]:
    """Sort classes: the basic expressions in their usual order, then others by name."""
    rank = {name: index for index, name in enumerate(BASIC_EXPRESSIONS)}
    return tuple(sorted(set(class_names), key=lambda name: (rank.get(name, len(rank)), name)))


def read_user_list(
    path: Path, required: Sequence[str], first_line: str, quoted: str
) -> "pd.DataFrame":
    """Read an existing CSV file as text, with stripped cells and lower-case column names.

    `first_line` is the expected header, and `quoted` a column that may contain a comma: both are
    for error messages.

    Raises:
        DataError: The file is empty, not UTF-8, not CSV, or lacks a required column.
    """
    import pandas as pd

    try:
        with path.open("rb") as stream:
            encoding = find_encoding(stream.read(4))
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding=encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8; save it as CSV in UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty; its first line must be {first_line}") from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().splitlines()[0].rpartition("C error: ")[2]
        raise DataError(
            f"cannot read {path}: {reason}; put each {quoted} that contains a comma in quotes"
        ) from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas uses surplus fields as the index
        raise DataError(
            f"{path}: the lines have more fields than the header; add the missing column names"
        )
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r}; its first line is {','.join(table.columns)!r}, "
            f"but must contain {','.join(required)}, separated by commas and in UTF-8"
        )
    table = table.apply(lambda column: column.str.strip())
    return table[(table != "").any(axis=1)]  # spreadsheets leave lines of commas


def find_encoding(content: bytes) -> str:
    """Return the encoding that a byte order mark indicates; UTF-8 without one."""
    marks = {
        codecs.BOM_UTF32_LE: "utf-32",  # begins like that of UTF-16
        codecs.BOM_UTF32_BE: "utf-32",
        codecs.BOM_UTF16_LE: "utf-16",
        codecs.BOM_UTF16_BE: "utf-16",
    }
    return next((name for mark, name in marks.items() if content.startswith(mark)), "utf-8-sig")


def normalise_words(words: "pd.Series") -> "pd.Series":
    """Normalise whitespace and Unicode, so that equal words compare equal.

    macOS, for one, writes accents as separate characters.
    """
    return words.str.normalize("NFC").str.split().str.join(" ")


GROUPS_FILE = "groups.csv"
"""Optional file in the dataset's root folder."""

GROUP_COLUMNS = ("clip_id", "group")


def add_groups(listing: Listing, root: Path) -> Listing:
    """Return the listing with the groups of `groups.csv`, if the file exists.

    A clip that the file does not list gets an empty group.

    Raises:
        DataError: `groups.csv` cannot be read, lists a clip twice, without a group, or one that
            the official lists do not contain.
    """
    path = root / GROUPS_FILE
    if not path.is_file():
        return listing
    groups = _read_groups(path)
    clip_ids = [source.clip_id for source in listing.sources]
    unknown = sorted(groups.keys() - set(clip_ids))
    if unknown:
        more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise DataError(
            f"{path}: no clip {unknown[0]!r}{more} in the official lists; correct or remove these "
            f"lines (clip ids look like {clip_ids[0]!r})"
        )
    sources = tuple(replace(s, group=groups.get(s.clip_id, "")) for s in listing.sources)
    line = (
        f"groups: {GROUPS_FILE} ({count_of(len(set(groups.values())), 'group')}, "
        f"{len(groups):,} of {len(clip_ids):,} clips)"
    )
    return replace(listing, sources=sources, taken=(*listing.taken, line))


def _read_groups(path: Path) -> dict[str, str]:
    """Return the group of each listed clip."""
    table = read_user_list(path, GROUP_COLUMNS, ",".join(GROUP_COLUMNS), "group")
    table = table[[*GROUP_COLUMNS]].apply(normalise_words)
    if table.empty:
        raise DataError(f"{path} lists no clips; add one line per clip, or remove the file")
    repeated = table["clip_id"][table["clip_id"].duplicated()]
    if len(repeated):
        raise DataError(
            f"{path}: clip {repeated.iloc[0]!r} is listed twice; remove one of the lines"
        )
    empty = table["clip_id"][table["group"] == ""]
    if len(empty):
        raise DataError(
            f"{path}: clip {empty.iloc[0]!r} has no group; add it, or remove the line to make the "
            f"clip a group of its own"
        )
    return dict(zip(table["clip_id"], table["group"], strict=True))
