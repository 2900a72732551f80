"""One's own videos: a folder with `labels.csv` (path, label and, where it matters, group)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from dfercli.data.spec import Choices, Listing, Source, check_inside_root, order_classes
from dfercli.errors import DataError

LABELS_FILE = "labels.csv"


MEDIA = ()

OFFICIAL = None


def read_sources(root: Path, choices: Choices) -> Listing:
    """Read `labels.csv` and deal its videos, or folders of frames, to folds.

    Folds hold about equally many videos of each class. Videos of one group stay in one fold, and
    videos that are added later do not move the others.

    Args:
        root: Folder with `labels.csv`, whose paths are relative to it.
        choices: `num_folds`, `known_folds`; `adopt` where frames are face crops already.

    Raises:
        DataError: There is no `labels.csv`, or it does not hold together.
    """
    where = root / LABELS_FILE
    table = _read_labels(where)
    clip_ids = [_name_clip(root, path) for path in table["path"]]
    repeated = [clip_id for clip_id, count in Counter(clip_ids).items() if count > 1]
    if repeated:
        raise DataError(f"{where}: {repeated[0]!r} is listed twice; keep one line for each video")
    _check_apart(clip_ids, where)
    _check_spelling(table["label"], where)
    has_groups = "group" in table.columns
    groups = list(table["group"]) if has_groups else clip_ids
    folds = _deal(root, list(table["label"]), groups, clip_ids, choices)
    sources = tuple(
        Source(clip_id, path, label, folds[group], group if has_groups else None)
        for clip_id, path, label, group in zip(
            clip_ids, table["path"], table["label"], groups, strict=True
        )
    )
    return Listing(
        sources,
        order_classes(table["label"]),
        "crops" if choices.adopt else "videos",
        "frames" if choices.adopt else "videos",
        (f"lists: {LABELS_FILE} ({len(sources):,} clips)",),
        num_folds=choices.num_folds,
    )


def _name_clip(root: Path, path: str) -> str:
    """Give the path without the suffix of a video; a folder of frames has none."""
    pure = PurePosixPath(path)
    return str(pure if (root / path).is_dir() else pure.with_suffix(""))


def _deal(
    root: Path, labels: list[str], groups: list[str], clip_ids: list[str], choices: Choices
) -> dict[str, int]:
    known = choices.known_folds
    if known and max(known.values()) > choices.num_folds:
        raise DataError(
            f"the manifest of {root} has {max(known.values())} folds, not {choices.num_folds}; "
            f"remove it to deal the videos anew"
        )
    settled = {
        group: known[clip] for group, clip in zip(groups, clip_ids, strict=True) if clip in known
    }
    return assign_folds(labels, groups, choices.num_folds, settled=settled)


def assign_folds(
    labels: Sequence[str],
    groups: Sequence[str],
    num_folds: int,
    seed: int = 0,
    settled: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Deal groups to folds 1 to `num_folds`, largest first, each where its classes are rarest.

    Where they are equally rare, the fold of the fewest videos gets it.

    Args:
        labels: (N,) class of each video.
        groups: (N,) group of each video.
        num_folds: How many folds; at most as many as there are groups.
        seed: Decides between equals.
        settled: Groups whose fold is fixed.

    Raises:
        DataError: There are fewer groups than folds.
    """
    classes = {name: index for index, name in enumerate(sorted(set(labels)))}
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(classes)))
    for label, group in zip(labels, groups, strict=True):
        counts[group][classes[label]] += 1
    if len(counts) < num_folds:
        raise DataError(
            f"{len(counts)} groups cannot fill {num_folds} folds; add videos or lower --num-folds"
        )
    folds = {group: fold for group, fold in (settled or {}).items() if group in counts}
    held = np.zeros((num_folds, len(classes)))
    for group, fold in folds.items():
        if fold:  # 0, set by hand, always trains
            held[fold - 1] += counts[group]
    order = np.random.default_rng(seed).permutation(sorted(counts.keys() - folds.keys()))
    for group in sorted(map(str, order), key=lambda group: -counts[group].sum()):
        # Squares grow fastest where a class is plentiful already.
        growth = ((held + counts[group]) ** 2 - held**2).sum(axis=1)
        # Among equals the smallest: an empty fold is always among them, so none stays empty.
        fold = int(np.lexsort((held.sum(axis=1), growth))[0])
        held[fold] += counts[group]
        folds[group] = fold + 1
    return folds


def _check_apart(clip_ids: Sequence[str], where: Path) -> None:
    """Refuse a video whose frames would lie among those of another: `a/b.mp4` beside `a.mp4`."""
    known = set(clip_ids)
    for clip_id in clip_ids:
        for above in map(str, PurePosixPath(clip_id).parents):
            if above in known:
                raise DataError(
                    f"{where}: {clip_id!r} is in a folder named like video {above!r}; rename one"
                )


def _check_spelling(labels: Iterable[str], where: Path) -> None:
    """Refuse two classes that differ in upper and lower case alone."""
    spelt: dict[str, str] = {}
    for label in labels:
        first = spelt.setdefault(label.casefold(), label)
        if first != label:
            raise DataError(f"{where}: labels {first!r} and {label!r} are one word; spell it alike")


def _read_labels(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(
            f"no {path}; write one with the columns path,label and, to keep people apart, group"
        )
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}".splitlines()[0]) from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas names lines by what is left over
        raise DataError(f"{path}: the lines have more fields than the header; name each column")
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in ("path", "label") if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r}, its first line reads "
            f"{','.join(table.columns)!r}; it needs path,label, with commas and in UTF-8"
        )
    table = table.apply(lambda column: column.str.strip())
    if table.empty:
        raise DataError(f"{path} lists no video; add a line for each")
    for index, row in enumerate(table.itertuples(index=False)):
        where = f"{path} line {index + 2}"
        check_inside_root(row.path, where)
        if not row.label:
            raise DataError(f"{where}: no label for {row.path}; name its expression")
        if not getattr(row, "group", True):
            raise DataError(f"{where}: no group for {row.path}; name it, or drop the column")
    return table
