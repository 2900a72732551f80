"""The manifest: a CSV file with one line per clip, and a JSON file with what all lines share."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from dfercli.config import ALL_DATA
from dfercli.data.sources.base import MAX_FOLD, check_inside_root, describe_clips
from dfercli.errors import DataError, explain_system_error
from dfercli.files import (
    check_plain_name,
    check_recorded_file,
    has_controls,
    hash_text,
    write_json,
    write_text,
)

JOINT = "//"
"""Separates the folders in the path of a clip whose frames lie in several."""

COLUMNS = ("clip_id", "path", "n_frames", "label", "test_fold")

VOTES = "votes:"
"""Start of the names of optional columns: the number of raters who chose a class."""

Split = Literal["train", "test"]

MAX_VOTES = 10**9
"""Largest number of votes for a class (our choice)."""

UNFINISHED = "unfinished"
"""Entry of the JSON file while the CSV file may still be that of an earlier call."""

SUSPECT_PATH = rf"^$|^[./]|\.\.|[\\:]|{JOINT}"
"""A path without a match certainly stays below the root; others are checked one by one."""


def join_folders(folders: Iterable[str]) -> str:
    """Return the path of a clip whose frames lie in these folders, relative to the data root."""
    return JOINT.join(folders)


def clip_folders(root: Path, path: str) -> list[Path]:
    """Return the folders of a clip, given its path in the manifest."""
    return [root / folder for folder in path.split(JOINT)]


@dataclass(frozen=True)
class Manifest:
    """A dataset that is ready for training.

    Attributes:
        dataset: Its name.
        rows: One row per clip with at least the columns of `COLUMNS`: unique `clip_id`; `path`, its
            folder of frames below the root, or several as `join_folders` joins them; `n_frames`;
            `label`, the class name; `test_fold`, 0 for clips that are only trained on. Optional are
            `group`; `coverage`, the share of the video's frames that show the face, in [0, 1]; and
            one column per class with the votes of raters, such as `votes:anger`.
        class_names: The K classes in the order of tables and logits.
        crop: How the faces were cropped, or None if the dataset's own crops are used.
        root: Folder of the data when the manifest was written.
        num_folds: Number of folds that we assigned; None if the folds are official.
        kind: Public name of the kind of dataset.
        deviations: Differences from the official lists, one line each, the gravest first.
        left_out: Test fold by clip id of own videos without crops, for when they get some; 0 for
            videos that never had a fold.
        drawn: Whether it shows the drawn people of `dfer demo` instead of real faces.
    """

    dataset: str
    rows: pd.DataFrame
    class_names: tuple[str, ...]
    crop: dict[str, Any] | None
    root: str
    num_folds: int | None = None
    kind: str = "folder"
    deviations: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    drawn: bool = False

    @property
    def partial(self) -> bool:
        """Whether results on it are not results on the official data."""
        return bool(self.deviations)

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that can be tested."""
        return tuple(sorted(set(self.rows["test_fold"].unique().tolist()) - {0}))

    def describe(self) -> str:
        """Return the number of clips per class and per fold, in one line."""
        return describe_clips(self.class_names, self.rows["label"], self.rows["test_fold"])

    def remarks(self) -> list[str]:
        """Return what a user who trains on it should know, one line each."""
        remarks = [describe_deviations(self.deviations)] if self.partial else []
        empty = sorted(set(range(1, (self.num_folds or 0) + 1)) - set(self.folds))
        if empty:
            names = ", ".join(map(str, empty))
            remarks.append(
                f"no test clips are left in fold {names}; delete the manifest to assign folds again"
            )
        return remarks

    def select(self, fold: int, split: Split) -> pd.DataFrame:
        """Return the rows of one split of a fold; `ALL_DATA` has all rows in its train split.

        Raises:
            DataError: The manifest has no such fold.
        """
        if fold == ALL_DATA:
            return self.rows.iloc[:0] if split == "test" else self.rows.reset_index(drop=True)
        if fold not in self.folds:
            known = ", ".join(map(str, self.folds))
            raise DataError(f"no fold {fold} in manifest {self.dataset}; its folds: {known}")
        in_test = self.rows["test_fold"] == fold
        return self.rows[in_test if split == "test" else ~in_test].reset_index(drop=True)

    def label_shares(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the share of the votes for each class, (N, K) float32, of some of its rows.

        A clip without votes has only its label.

        Raises:
            DataError: The manifest has no votes, or votes for an unknown class.
        """
        names = [name.removeprefix(VOTES) for name in rows.columns if name.startswith(VOTES)]
        if not names:
            raise DataError(
                f"manifest {self.dataset} has no votes; remove --labels votes, or prepare CREMA-D "
                f"with its tabulatedVotes.csv"
            )
        if unknown := sorted(set(names) - set(self.class_names)):
            raise DataError(
                f"manifest {self.dataset} has a column {VOTES}{unknown[0]}, which is not one of "
                f"the classes {', '.join(self.class_names)}"
            )
        votes = np.zeros((len(rows), len(self.class_names)))
        for index, name in enumerate(self.class_names):
            if name in names:
                votes[:, index] = pd.to_numeric(rows[f"{VOTES}{name}"]).fillna(0)
        hard = rows["label"].to_numpy(str)[:, None] == np.array(self.class_names)
        votes = np.where(votes.any(axis=1, keepdims=True), votes, hard)
        return (votes / votes.sum(axis=1, keepdims=True)).astype(np.float32)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with any clip, label, fold or class, and with the crop."""
        columns = [self.rows[name].astype(str).tolist() for name in COLUMNS]
        lines = sorted(map("\t".join, zip(*columns, strict=True)))
        crop = json.dumps(self.crop, sort_keys=True)
        return hash_text("\n".join([crop, *self.class_names, *lines]) + "\n")[:12]

    @property
    def votes_fingerprint(self) -> str:
        """Twelve hex digits that change with the votes of any clip.

        Raises:
            DataError: As for `label_shares`.
        """
        shares = dict(zip(self.rows["clip_id"], self.label_shares(self.rows).tolist(), strict=True))
        return hash_text(json.dumps(shares, sort_keys=True))[:12]


def mark_partial(title: str, deviations: Sequence[str]) -> str:
    """Return the title of a table, with a second line if its data is partial."""
    return f"{title}\n{describe_deviations(deviations)}" if deviations else title


def describe_deviations(deviations: Sequence[str]) -> str:
    """Return one line that says how data is partial."""
    more = f"; {len(deviations) - 1} more" if len(deviations) > 1 else ""
    return f"PARTIAL DATA: {deviations[0]}{more}"


def review_file(path: Path, ending: str) -> Path:
    """Return the path of a file for people to review, in a folder beside a manifest."""
    return path.parent / "review" / f"{path.stem}{ending}"


def side_file(path: Path) -> Path:
    """Return the path of the JSON file beside a manifest's CSV file."""
    return path.with_suffix(".json")


def check_side_file(path: Path) -> None:
    """Raise a DataError if the JSON file beside a manifest exists and dfer did not write it."""
    check_recorded_file(side_file(path), ("dataset", "class_names", "root"))


def find_manifest(folder: Path, dataset: str | None) -> Path:
    """Return the manifest of a dataset; without a name, the newest one.

    Raises:
        DataError: There is no such manifest.
    """
    manifests = {path.stem: path for path in folder.glob("*.csv")}
    if not manifests:
        raise DataError(f"no manifest in {folder}; `dfer preprocess` writes one")
    if dataset is None:
        return max(manifests.values(), key=lambda path: path.stat().st_mtime)
    if dataset not in manifests:
        known = ", ".join(sorted(manifests))
        raise DataError(f"no manifest of {dataset!r} in {folder}; known: {known}")
    return manifests[dataset]


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Check a manifest and write its CSV and JSON files, each atomically.

    Raises:
        DataError: The rows are inconsistent, as in `check_rows`.
    """
    check_rows(manifest.rows, manifest.class_names, str(path))
    shared = {
        "dataset": manifest.dataset,
        "kind": manifest.kind,
        "root": manifest.root,
        "class_names": list(manifest.class_names),
        "crop": manifest.crop,
        "num_folds": manifest.num_folds,
        "drawn": manifest.drawn,
        "deviations": list(manifest.deviations),
        "left_out": dict(manifest.left_out),
    }
    write_json(side_file(path), shared | {UNFINISHED: True})  # until the CSV file is written too
    write_text(path, manifest.rows.to_csv(index=False, lineterminator="\n"))
    write_json(side_file(path), shared)


def read_manifest(path: Path, unfinished: bool = False) -> Manifest:
    """Read and check a manifest's CSV and JSON files.

    `unfinished` accepts a manifest that dfer was killed while writing: its two files may describe
    crops of different recipes, but its folds are valid.

    Raises:
        DataError: The manifest is missing or inconsistent; the message names the line.
    """
    if not path.is_file():
        raise DataError(f"no manifest {path}; `dfer preprocess` writes it")
    shared = _read_side_file(side_file(path), unfinished)
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}".splitlines()[0]) from error
    check_rows(rows, shared["class_names"], str(path))
    types = {"n_frames": int, "test_fold": int, "coverage": float}
    present = {name: type_ for name, type_ in types.items() if name in rows.columns}
    return Manifest(rows=rows.astype(present), **shared)


def _read_side_file(path: Path, unfinished: bool) -> dict[str, Any]:
    """Return the fields that all lines share; files of older versions lack some."""
    try:
        if not path.is_file():
            raise FileNotFoundError(path.name)
        entries = json.loads(path.read_text(encoding="utf-8"))
        shared = {
            "dataset": str(entries["dataset"]),
            "class_names": _read_texts(entries["class_names"]),
            "crop": None if entries["crop"] is None else dict(entries["crop"]),
            "root": str(entries["root"]),
            "num_folds": _read_fold(entries.get("num_folds")),
            "kind": str(entries.get("kind", Manifest.kind)),
            "deviations": _read_texts(entries.get("deviations", Manifest.deviations)),
            "drawn": entries.get("drawn", False) is True,
            "left_out": {clip: _read_fold(n) for clip, n in entries.get("left_out", {}).items()},
        }
    except PermissionError as error:
        raise DataError(f"cannot read {path}: {explain_system_error(error)}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"cannot use {path} ({error!r}); remove it and its CSV, and run `dfer preprocess`"
        ) from error
    if entries.get(UNFINISHED) and not unfinished:
        raise DataError(f"{path} and its CSV do not match; run `dfer preprocess` again")
    check_plain_name(str(shared["dataset"]), f"{path}: dataset")
    return shared


def _read_texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(text, str) for text in values):
        raise TypeError(f"{values!r} is not a list of texts")
    if any(has_controls(text) for text in values):
        raise ValueError("it contains a control character")
    return tuple(values)


def _read_fold(value: Any) -> int | None:
    """Return the number of a fold, or of folds."""
    if value is None or (type(value) is int and 0 <= value <= MAX_FOLD):
        return value
    raise ValueError(f"{value!r} is not a number from 0 to {MAX_FOLD}")


def check_rows(rows: pd.DataFrame, class_names: tuple[str, ...], where: str) -> None:
    """Check the rows of a manifest.

    Raises:
        DataError: A column is missing, or a line has a repeated clip, an unknown label, no frames,
            an invalid fold, a coverage or votes that are not numbers, or a path that leaves the
            data root. The message names the first such line.
    """
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise DataError(f"{where} has no column {missing[0]!r}; it needs {','.join(COLUMNS)}")
    if rows.empty:
        raise DataError(f"{where} lists no clips; run `dfer preprocess` again")
    checks = _check_columns(rows, class_names)
    faults = np.argwhere(np.column_stack([is_wrong for _, is_wrong, _ in checks]))
    first, check = faults[0] if len(faults) else (len(rows), 0)
    suspects = np.flatnonzero(rows["path"].astype(str).str.contains(SUSPECT_PATH))
    for index in suspects[suspects <= first]:
        for folder in str(rows["path"].iloc[index]).split(JOINT):
            check_inside_root(folder, f"{where} line {index + 2}")
    if len(faults):
        column, _, rest = checks[check]
        (value,) = rows[column].iloc[[first]].tolist()
        title = {"label": "label", "clip_id": "clip"}.get(column, f"{column} is")
        raise DataError(f"{where} line {first + 2}: {title} {value!r}{rest}")


def _check_columns(
    rows: pd.DataFrame, class_names: tuple[str, ...]
) -> list[tuple[str, pd.Series, str]]:
    """Check all columns but the path, in the order in which faults of one line are reported.

    Returns:
        Column, (N,) whether its value is wrong, and what to say after the value.
    """
    n_frames, test_fold = rows["n_frames"].astype(str), rows["test_fold"].astype(str)
    unknown, repeated = ~rows["label"].isin(class_names), rows["clip_id"].astype(str).duplicated()
    positive, too_many = "0*[1-9][0-9]*", "0*[1-9][0-9]{9,}"
    whole, too_high = "[0-9]+", "0*[1-9][0-9]{3,}"
    checks = [
        ("label", unknown, f" is not one of the classes {', '.join(class_names)}"),
        ("clip_id", repeated, " is listed twice"),
        ("n_frames", ~n_frames.str.fullmatch(positive), "; it must be 1 or more"),
        ("test_fold", ~test_fold.str.fullmatch(whole), "; it must be 0, 1, 2 ..."),
        ("n_frames", n_frames.str.fullmatch(too_many), "; it is too large"),
        ("test_fold", test_fold.str.fullmatch(too_high), f"; the highest is {MAX_FOLD}"),
    ]
    if "coverage" in rows.columns:
        not_numeric = pd.to_numeric(rows["coverage"], errors="coerce").isna()
        checks.append(("coverage", not_numeric, "; it must be a number"))
    for name in (name for name in rows.columns if name.startswith(VOTES)):
        votes = pd.to_numeric(rows[name], errors="coerce")
        invalid = (rows[name].astype(str) != "") & ~votes.between(0, MAX_VOTES)
        checks.append((name, invalid, f"; it must be a number from 0 to {MAX_VOTES:,}"))
    return checks
