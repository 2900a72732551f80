"""One's own videos: a folder with `labels.csv` (path, label and, where it matters, group)."""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from dfercli.data.folds import NUM_FOLDS, assign_folds
from dfercli.data.sources.base import (
    Choices,
    Listing,
    Source,
    check_inside_root,
    normalise_words,
    order_classes,
    read_list,
)
from dfercli.errors import DataError
from dfercli.owned import has_controls
from dfercli.text import count_of

LABELS_FILE = "labels.csv"

DEMO_FILE = "demo.json"
"""Settings of a demo, in its folder."""

DEMO_SETTINGS = ("persons", "takes", "seed", "version")

MEDIA = ()

OFFICIAL = None


def read_sources(root: Path, choices: Choices) -> Listing:
    """Read `labels.csv` and deal its videos, or folders of frames, to folds.

    Folds hold about equally many videos of each class. Videos of one group stay in one fold, and
    videos that are added later do not move the others. One that is unusable and was never dealt
    gets fold 0.

    Args:
        root: Folder with `labels.csv`, whose paths are relative to it.
        choices: `num_folds`, `known_folds`, `unusable`; `adopt` where frames are face crops.

    Raises:
        DataError: There is no `labels.csv`, or it does not hold together.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}; give the folder of the videos as --root")
    where = root / LABELS_FILE
    table = _read_labels(where)
    clip_ids = [_name_clip(root, path) for path in table["path"]]
    _check_names(clip_ids, list(table["path"]), where)
    _check_apart(clip_ids, where)
    _check_spelling(table["label"], "labels", where)
    has_groups = "group" in table.columns
    if has_groups:
        _check_spelling(table["group"], "groups", where)
    groups = list(table["group"]) if has_groups else clip_ids
    folds = _deal(root, list(table["label"]), groups, clip_ids, choices)
    sources = tuple(
        Source(
            clip_id,
            str(PurePosixPath(path)) if choices.adopt else path,  # as it will be in the manifest
            label,
            folds.get(group, 0),
            group if has_groups else None,
        )
        for clip_id, path, label, group in zip(
            clip_ids, table["path"], table["label"], groups, strict=True
        )
    )
    class_names = order_classes(table["label"])
    taken = [f"lists: {LABELS_FILE} ({count_of(len(sources), 'clip')})"]
    if len(class_names) == 1:
        taken.append(
            f"all clips are labelled {class_names[0]!r}: nothing to tell apart, so nothing can be "
            f"trained on them alone"
        )
    return Listing(
        sources,
        class_names,
        "crops" if choices.adopt else "videos",
        "frames" if choices.adopt else "videos",
        tuple(taken),
        num_folds=choices.num_folds or NUM_FOLDS,
        drawn=is_demo(root),
    )


def is_demo(root: Path) -> bool:
    """Return whether a folder holds the drawn videos that `dfer demo` made."""
    try:
        record = json.loads((root / DEMO_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and set(DEMO_SETTINGS) <= record.keys()


def _name_clip(root: Path, path: str) -> str:
    """Give the path without the suffix of a video; a folder of frames has none."""
    pure = PurePosixPath(path)
    try:
        is_folder = (root / path).is_dir()
    except OSError:  # no path at all: too long
        is_folder = False
    return str(pure) if is_folder else str(pure).removesuffix(pure.suffix)


def _deal(
    root: Path, labels: list[str], groups: list[str], clip_ids: list[str], choices: Choices
) -> dict[str, int]:
    known, num_folds = choices.known_folds, choices.num_folds or NUM_FOLDS
    if known and max(known.values()) > num_folds:
        raise DataError(
            f"the manifest of {root} has a clip of test_fold {max(known.values())}, and "
            f"{num_folds} folds; correct it, or remove it to deal the videos anew"
        )
    settled = {
        group: known[clip] for group, clip in zip(groups, clip_ids, strict=True) if clip in known
    }
    usable = [i for i, clip in enumerate(clip_ids) if clip not in choices.unusable]
    labels, groups = [labels[i] for i in usable], [groups[i] for i in usable]
    return settled | assign_folds(labels, groups, num_folds, settled=settled)


def _check_apart(clip_ids: Sequence[str], where: Path) -> None:
    """Refuse a video whose frames would lie among those of another: `a/b.mp4` beside `a.mp4`."""
    known = set(clip_ids)
    for clip_id in clip_ids:
        for above in map(str, PurePosixPath(clip_id).parents):
            if above in known:
                raise DataError(
                    f"{where}: {clip_id!r} is in a folder named like video {above!r}; rename one"
                )


def _check_names(clip_ids: Sequence[str], paths: Sequence[str], where: Path) -> None:
    """Refuse a video that is listed twice, and two that only their suffix tells apart."""
    seen: dict[str, str] = {}
    for clip_id, path in zip(clip_ids, paths, strict=True):
        if clip_id not in seen:
            seen[clip_id] = path
            continue
        first = seen[clip_id]
        if first == path:
            raise DataError(f"{where}: {path!r} is listed twice; keep one line for each video")
        raise DataError(f"{where}: {first!r} and {path!r} have one name, {clip_id!r}; rename one")


def _check_spelling(words: Iterable[str], what: str, where: Path) -> None:
    """Refuse two classes or groups that differ in upper and lower case alone."""
    spelt: dict[str, str] = {}
    for word in words:
        first = spelt.setdefault(word.casefold(), word)
        if first != word:
            raise DataError(f"{where}: {what} {first!r} and {word!r} are one word; spell it alike")


def _find_spelling(root: Path, path: str) -> str:
    """Return a path as the disk has it: macOS and others keep accents as letters of their own."""
    forms = (path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD")))
    try:
        return next((form for form in forms if (root / form).exists()), path)
    except OSError:  # no path at all: too long
        return path


def _read_labels(path: Path) -> pd.DataFrame:
    """Read and check the list: path, label, and group where there is one, of each video."""
    if not path.is_file():
        raise DataError(
            f"no {path}; write one with the columns path,label and, to keep people apart, group"
        )
    table = read_list(path, ("path", "label"), "path,label,group", "path")
    if table.empty:
        raise DataError(f"{path} lists no video; add a line for each")
    for index, row in zip(table.index, table.itertuples(index=False), strict=True):
        where = f"{path} line {index + 2}"
        check_inside_root(str(row.path), where)
        if has_controls(f"{row.label}{getattr(row, 'group', '')}"):
            raise DataError(f"{where}: a control character in a label or group; remove it")
        if not row.label:
            raise DataError(f"{where}: no label for {row.path}; name its expression")
        if not getattr(row, "group", True):
            raise DataError(f"{where}: no group for {row.path}; name it, or drop the column")
    words = {name: normalise_words(table[name]) for name in ("label", "group") if name in table}
    paths = [_find_spelling(path.parent, text) for text in table["path"]]
    return table.assign(path=paths, **words).reset_index(drop=True)
