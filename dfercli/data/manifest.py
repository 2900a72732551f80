"""The manifest: one CSV line per clip, and a JSON file with what all lines share."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from dfercli.config import ALL_DATA
from dfercli.data.sources.base import MAX_FOLD, check_inside_root, describe_clips
from dfercli.errors import DataError
from dfercli.files import write_json, write_text
from dfercli.owned import check_plain_name, check_recorded_file, has_controls
from dfercli.system_errors import explain_system_error

JOINT = "//"


def join_folders(folders: Iterable[str]) -> str:
    """Return the path of a clip whose frames lie in these folders, relative to the data root."""
    return JOINT.join(folders)


def clip_folders(root: Path, path: str) -> list[Path]:
    """Return the folders of a clip, by its path in the manifest."""
    return [root / folder for folder in path.split(JOINT)]


COLUMNS = ("clip_id", "path", "n_frames", "label", "test_fold")
Split = Literal["train", "test"]

UNFINISHED = "unfinished"
"""Entry of the JSON file while the CSV beside it may be that of an earlier call."""

ODD_PATH = rf"^$|^[./]|\.\.|[\\:]|{JOINT}"
"""A path without any of these stays below the root for certain."""


@dataclass(frozen=True)
class Manifest:
    """A dataset ready for training.

    Attributes:
        dataset: Its name.
        rows: One line per clip with at least the columns of `COLUMNS`: unique `clip_id`; `path` of
            its folder of frames below the root, or of several as `clip_folders` joins them;
            `n_frames` in it; `label`, a class word; `test_fold`, 0 for clips that always train.
            Optional are `group` and `coverage`, the share of the video's frames that show the
            face, in [0, 1].
        class_names: The K classes in the order of tables and logits.
        crop: How the faces were cropped, or None where the dataset's own crops are used.
        root: Where the data was when the manifest was written.
        num_folds: Folds that one's own videos were dealt to; None where the folds are official.
        kind: Public name of the kind of dataset that it was made of.
        deviations: What differs from the official lists, a line each, the gravest first.
        drawn: Whether it shows the drawn people of `dfer demo`, and no real faces.
        left_out: Test fold by clip id of one's own videos that have no crops now, so that they
            come back to it; 0 for those that were never dealt.
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
        """Whether figures on it are not figures on the official data."""
        return bool(self.deviations)

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that can be tested."""
        return tuple(sorted(set(self.rows["test_fold"].unique().tolist()) - {0}))

    def describe(self) -> str:
        """Say how many clips there are of each class, and in each fold."""
        return describe_clips(self.class_names, self.rows["label"], self.rows["test_fold"])

    def remarks(self) -> list[str]:
        """Say what somebody who trains on it should know, a line each."""
        idle = sorted(set(range(1, (self.num_folds or 0) + 1)) - set(self.folds))
        names = ", ".join(map(str, idle))
        emptied = f"no clip is left to be tested in fold {names}; remove the manifest to deal anew"
        partial = say_partial(self.deviations) if self.partial else ""
        return [remark for remark in (partial, emptied if idle else "") if remark]

    def select(self, fold: int, split: Split) -> pd.DataFrame:
        """Return the rows of one side of a fold; `ALL_DATA` has all rows on its training side.

        Raises:
            DataError: The manifest has no such fold.
        """
        if fold == ALL_DATA:
            return self.rows.iloc[:0] if split == "test" else self.rows.reset_index(drop=True)
        if fold not in self.folds:
            known = ", ".join(map(str, self.folds))
            raise DataError(f"no fold {fold} in manifest {self.dataset}; its folds: {known}")
        tested = self.rows["test_fold"] == fold
        return self.rows[tested if split == "test" else ~tested].reset_index(drop=True)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with any clip, label, fold or class, and with the crop."""
        columns = [self.rows[name].astype(str).tolist() for name in COLUMNS]
        lines = sorted(map("\t".join, zip(*columns, strict=True)))
        crop = json.dumps(self.crop, sort_keys=True)
        text = "\n".join([crop, *self.class_names, *lines]) + "\n"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def mark_partial(title: str, deviations: Sequence[str]) -> str:
    """Add to the title of figures that their data is partial, where it is."""
    return f"{title}\n{say_partial(deviations)}" if deviations else title


def say_partial(deviations: Sequence[str]) -> str:
    """Say in one line how data is partial."""
    more = f"; {len(deviations) - 1} more" if len(deviations) > 1 else ""
    return f"PARTIAL DATA: {deviations[0]}{more}"


def review_file(path: Path, ending: str) -> Path:
    """Give the path of what a person should look at, in a folder beside a manifest's CSV."""
    return path.parent / "review" / f"{path.stem}{ending}"


def side_file(path: Path) -> Path:
    """Give the path of the JSON file beside a manifest's CSV."""
    return path.with_suffix(".json")


def check_side_file(path: Path) -> None:
    """Refuse to replace a JSON file beside a manifest's CSV that dfer did not write.

    Raises:
        DataError: A file is there, and is none.
    """
    check_recorded_file(side_file(path), ("dataset", "class_names", "root"))


def find_manifest(folder: Path, dataset: str | None) -> Path:
    """Give the manifest of a dataset; without a name, the one that was written last.

    Raises:
        DataError: There is none.
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
    """Write the CSV and its side file, each as a whole, after the checks of `read_manifest`."""
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
    write_json(side_file(path), shared | {UNFINISHED: True})  # until the CSV is there too
    write_text(path, manifest.rows.to_csv(index=False, lineterminator="\n"))
    write_json(side_file(path), shared)


def read_manifest(path: Path, unfinished: bool = False) -> Manifest:
    """Read and check a manifest.

    Args:
        path: The CSV.
        unfinished: Read it too where dfer was killed as it wrote the two files: they may describe
            crops of different recipes, while the folds in the CSV hold.

    Raises:
        DataError: It is missing or does not hold together; the message names the line.
    """
    if not path.is_file():
        raise DataError(f"no manifest {path}; `dfer preprocess` writes it")
    shared = _read_side_file(side_file(path), unfinished)
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}".splitlines()[0]) from error
    check_rows(rows, shared["class_names"], str(path))
    numbers = {"n_frames": int, "test_fold": int, "coverage": float}
    kept = {name: kind for name, kind in numbers.items() if name in rows.columns}
    return Manifest(rows=rows.astype(kept), **shared)


def _read_side_file(side: Path, unfinished: bool) -> dict[str, Any]:
    """Give the fields of a manifest that all its lines share; older files lack some."""
    try:
        if not side.is_file():
            raise FileNotFoundError(side.name)
        entries = json.loads(side.read_text(encoding="utf-8"))
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
        raise DataError(f"cannot read {side}: {explain_system_error(error)}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"cannot use {side} ({error!r}); remove it and its CSV, and run `dfer preprocess`"
        ) from error
    if entries.get(UNFINISHED) and not unfinished:
        raise DataError(f"{side} and its CSV were not both written; run `dfer preprocess` again")
    check_plain_name(str(shared["dataset"]), f"{side}: dataset")
    return shared


def _read_texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(text, str) for text in values):
        raise TypeError(f"{values!r} is no list of texts")
    if any(has_controls(text) for text in values):
        raise ValueError("a text in it has a control character")
    return tuple(values)


def _read_fold(value: Any) -> int | None:
    """Return the number of a fold, or of folds; None where there is none."""
    if value is None or (type(value) is int and 0 <= value <= MAX_FOLD):
        return value
    raise ValueError(f"{value!r} is no number from 0 to {MAX_FOLD}")


def check_rows(rows: pd.DataFrame, class_names: tuple[str, ...], where: str) -> None:
    """Refuse rows that do not hold together; the first line that does not is named.

    Raises:
        DataError: A column is missing; a clip is listed twice, has an unknown label, no frame, an
            odd fold, a coverage that is no number, or a path that leaves the data root.
    """
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise DataError(f"{where} has no column {missing[0]!r}; it needs {','.join(COLUMNS)}")
    if rows.empty:
        raise DataError(f"{where} lists no clip; run `dfer preprocess` again")
    faults = _find_faults(rows, class_names)
    found = np.argwhere(np.column_stack([fault.lines for fault in faults]))
    first, which = found[0] if len(found) else (len(rows), 0)
    odd = np.flatnonzero(rows["path"].astype(str).str.contains(ODD_PATH))
    for index in odd[odd <= first]:
        for folder in str(rows["path"].iloc[index]).split(JOINT):
            check_inside_root(folder, f"{where} line {index + 2}")
    if len(found):
        fault = faults[which]
        (value,) = rows[fault.column].iloc[[first]].tolist()
        raise DataError(f"{where} line {first + 2}: {fault.before} {value!r}{fault.after}")


@dataclass(frozen=True)
class _Fault:
    """What lines may have wrong in a column, which do, and the words around the value."""

    column: str
    lines: pd.Series
    before: str
    after: str


def _find_faults(rows: pd.DataFrame, class_names: tuple[str, ...]) -> list[_Fault]:
    """Search each column but the paths, in the order in which one line's faults are told."""
    strange = ~rows["label"].isin(class_names)
    repeated = rows["clip_id"].astype(str).duplicated()
    no_frames = ~rows["n_frames"].astype(str).str.fullmatch("0*[1-9][0-9]*")
    no_fold = ~rows["test_fold"].astype(str).str.fullmatch("[0-9]+")
    too_many = rows["n_frames"].astype(str).str.fullmatch("0*[1-9][0-9]{9,}")
    too_high = rows["test_fold"].astype(str).str.fullmatch("0*[1-9][0-9]{3,}")
    faults = [
        _Fault("label", strange, "label", f" is none of the classes {', '.join(class_names)}"),
        _Fault("clip_id", repeated, "clip", " is listed twice"),
        _Fault("n_frames", no_frames, "n_frames is", "; it must be 1 or more"),
        _Fault("test_fold", no_fold, "test_fold is", "; it must be 0, 1, 2 ..."),
        _Fault("n_frames", too_many, "n_frames is", "; no clip has so many"),
        _Fault("test_fold", too_high, "test_fold is", f"; the highest is {MAX_FOLD}"),
    ]
    if "coverage" in rows.columns:
        no_number = pd.to_numeric(rows["coverage"], errors="coerce").isna()
        faults.append(_Fault("coverage", no_number, "coverage is", "; it must be a number"))
    return faults
