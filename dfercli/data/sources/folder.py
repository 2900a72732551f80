"""The user's own videos: a folder with `labels.csv`.

Its columns are path, label, optionally group, and any further properties of the people.
"""

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
    read_user_list,
)
from dfercli.errors import DataError
from dfercli.files import has_controls
from dfercli.text import count_of

LABELS_FILE = "labels.csv"

DEMO_FILE = "demo.json"
"""Settings of a demo, in its folder."""

DEMO_SETTINGS = ("persons", "takes", "seed", "version")

MEDIA = ()

OFFICIAL = None

NOT_TRAITS = ("clip_id", "path", "n_frames", "label", "test_fold", "group", "coverage")
"""Columns of `labels.csv` that are not properties of people: a manifest has its own."""

UNNAMED = "unnamed: "
"""Beginning of the name that pandas gives to a column without one, in lower case."""


def read_sources(root: Path, choices: Choices) -> Listing:
    """Read `labels.csv` and assign its videos, or folders of frames, to folds.

    Each fold has about the same number of videos per class. Videos of one group share a fold, and
    new videos do not move existing ones. An unusable video that never had a fold gets fold 0. Of
    the choices, all but `media` are used.

    Raises:
        DataError: `labels.csv` is missing or inconsistent.
    """
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist; set --root to the folder of the videos")
    list_path = root / LABELS_FILE
    table = _read_labels(list_path)
    paths, labels = list(table["path"]), list(table["label"])
    clip_ids = [_name_clip(root, path) for path in paths]
    _check_names(clip_ids, paths, list_path)
    _check_nesting(clip_ids, list_path)
    _check_spelling(labels, "labels", list_path)
    groups = list(table["group"]) if "group" in table.columns else None
    if groups is not None:
        _check_spelling(groups, "groups", list_path)
    units = clip_ids if groups is None else groups
    folds = _assign_folds(root, labels, units, clip_ids, choices)
    names = _find_traits(table, list_path)
    traits = [dict(zip(names, row, strict=True)) for row in table[names].to_numpy().tolist()]
    sources = tuple(
        Source(
            clip_id,
            str(PurePosixPath(path)) if choices.adopt else path,  # as it will be in the manifest
            label,
            folds.get(unit, 0),
            None if groups is None else unit,
            properties,
        )
        for clip_id, path, label, unit, properties in zip(
            clip_ids, paths, labels, units, traits, strict=True
        )
    )
    class_names = order_classes(labels)
    taken = [f"lists: {LABELS_FILE} ({count_of(len(sources), 'clip')})"]
    if names:
        taken.append(f"further columns, for `dfer eval --by`: {', '.join(names)}")
    if len(class_names) == 1:
        taken.append(
            f"all clips have the label {class_names[0]!r}; training needs at least two classes"
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
    """Return whether a folder contains the drawn videos of `dfer demo`."""
    try:
        record = json.loads((root / DEMO_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and set(DEMO_SETTINGS) <= record.keys()


def _name_clip(root: Path, path: str) -> str:
    """Return the path without the suffix of a video; a folder of frames has none."""
    pure = PurePosixPath(path)
    try:
        is_folder = (root / path).is_dir()
    except OSError:  # the name is too long to exist
        is_folder = False
    return str(pure) if is_folder else str(pure).removesuffix(pure.suffix)


def _assign_folds(
    root: Path, labels: list[str], units: list[str], clip_ids: list[str], choices: Choices
) -> dict[str, int]:
    """Return the fold of each unit: a group, or a clip where there are no groups."""
    known, num_folds = choices.known_folds, choices.num_folds or NUM_FOLDS
    if known and max(known.values()) > num_folds:
        raise DataError(
            f"the manifest of {root} has {num_folds} folds, but a clip with test_fold "
            f"{max(known.values())}; correct it, or delete it to assign all folds again"
        )
    fixed = {unit: known[clip] for unit, clip in zip(units, clip_ids, strict=True) if clip in known}
    usable = [i for i, clip in enumerate(clip_ids) if clip not in choices.unusable]
    labels, units = [labels[i] for i in usable], [units[i] for i in usable]
    return fixed | assign_folds(labels, units, num_folds, fixed)


def _find_traits(table: pd.DataFrame, where: Path) -> list[str]:
    """Return the names of the columns that describe people, and check them."""
    names = [
        name
        for name in table.columns
        if name and name not in NOT_TRAITS and not name.startswith(UNNAMED)
    ]
    for name in names:
        if has_controls(name) or table[name].map(has_controls).any():
            raise DataError(f"{where}: a control character in column {name!r}; remove it")
    return names


def _check_nesting(clip_ids: Sequence[str], where: Path) -> None:
    """Refuse a video whose frames would lie among those of another: `a/b.mp4` beside `a.mp4`."""
    names = set(clip_ids)
    for clip_id in clip_ids:
        for parent in map(str, PurePosixPath(clip_id).parents):
            if parent in names:
                raise DataError(
                    f"{where}: {clip_id!r} is in a folder with the name of video {parent!r}; "
                    f"rename one of them"
                )


def _check_names(clip_ids: Sequence[str], paths: Sequence[str], where: Path) -> None:
    """Refuse a video that is listed twice, and two that differ only in their suffix."""
    first_paths: dict[str, str] = {}
    for clip_id, path in zip(clip_ids, paths, strict=True):
        if clip_id not in first_paths:
            first_paths[clip_id] = path
            continue
        first = first_paths[clip_id]
        if first == path:
            raise DataError(f"{where}: {path!r} is listed twice; remove one of the lines")
        raise DataError(
            f"{where}: {first!r} and {path!r} share the name {clip_id!r}; rename one of them"
        )


def _check_spelling(words: Iterable[str], what: str, where: Path) -> None:
    """Refuse two classes or groups that differ only in upper and lower case."""
    spellings: dict[str, str] = {}
    for word in words:
        first = spellings.setdefault(word.casefold(), word)
        if first != word:
            raise DataError(
                f"{where}: {what} {first!r} and {word!r} differ only in case; use one spelling"
            )


def _find_spelling(root: Path, path: str) -> str:
    """Return a path as the disk spells it; macOS, for one, decomposes accented letters."""
    forms = (path, *(unicodedata.normalize(form, path) for form in ("NFC", "NFD")))
    try:
        return next((form for form in forms if (root / form).exists()), path)
    except OSError:  # the name is too long to exist
        return path


def _read_labels(path: Path) -> pd.DataFrame:
    """Read and check the list, with the columns path, label and optionally group."""
    if not path.is_file():
        raise DataError(
            f"{path} does not exist; create it with the columns path,label and optionally group"
        )
    table = read_user_list(path, ("path", "label"), "path,label,group", "path")
    if table.empty:
        raise DataError(f"{path} lists no videos; add one line per video")
    for index, row in zip(table.index, table.itertuples(index=False), strict=True):
        where = f"{path} line {index + 2}"
        check_inside_root(str(row.path), where)
        if has_controls(f"{row.label}{getattr(row, 'group', '')}"):
            raise DataError(f"{where}: a control character in a label or group; remove it")
        if not row.label:
            raise DataError(f"{where}: {row.path} has no label; add its expression")
        if not getattr(row, "group", True):
            raise DataError(f"{where}: {row.path} has no group; add it, or remove the column")
    words = {name: normalise_words(table[name]) for name in table.columns if name != "path"}
    paths = [_find_spelling(path.parent, text) for text in table["path"]]
    return table.assign(path=paths, **words).reset_index(drop=True)
