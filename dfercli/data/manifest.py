"""The manifest: one CSV line a clip, and beside it a JSON file with what all lines share.

Labels are words, never numbers: public code numbers the classes in three different orders. The
fold in which a clip is tested is a column, so a clip cannot be in train and test at once.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from dfercli.data.spec import check_inside_root
from dfercli.errors import DataError
from dfercli.files import write_json, write_text

COLUMNS = ("clip_id", "path", "n_frames", "label", "test_fold")
Split = Literal["train", "test"]


@dataclass(frozen=True)
class Manifest:
    """A dataset ready for training.

    Attributes:
        dataset: Its name.
        rows: A line a clip with at least the columns of `COLUMNS`: unique `clip_id`; `path` of its
            folder of frames below the root; `n_frames` in it; `label`, a class word; `test_fold`,
            0 for clips that always train. `group` is optional.
        class_names: The K classes in the order of tables and logits.
        crop: How the faces were cropped, or None where the dataset's own crops are used.
        root: Where the data was when the manifest was written.
        num_folds: Folds that one's own videos were dealt to; None where the folds are official.
    """

    dataset: str
    rows: pd.DataFrame
    class_names: tuple[str, ...]
    crop: dict[str, Any] | None
    root: str
    num_folds: int | None = None

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds that can be tested."""
        return tuple(sorted(int(fold) for fold in set(self.rows["test_fold"]) - {0}))

    def select(self, fold: int, split: Split) -> pd.DataFrame:
        """Give the rows of one side of a fold.

        Raises:
            DataError: The manifest has no such fold.
        """
        if fold not in self.folds:
            known = ", ".join(map(str, self.folds))
            raise DataError(f"no fold {fold} in manifest {self.dataset}; its folds: {known}")
        tested = self.rows["test_fold"] == fold
        return self.rows[tested if split == "test" else ~tested].reset_index(drop=True)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that change with any clip, label, fold or class, and with the crop."""
        columns = self.rows[list(COLUMNS)].astype(str)
        lines = sorted("\t".join(values) for values in columns.itertuples(index=False))
        crop = json.dumps(self.crop, sort_keys=True)
        text = "\n".join([crop, *self.class_names, *lines]) + "\n"
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def side_file(path: Path) -> Path:
    """Give the path of the JSON file beside a manifest's CSV."""
    return path.with_suffix(".json")


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
        "root": manifest.root,
        "class_names": list(manifest.class_names),
        "crop": manifest.crop,
        "num_folds": manifest.num_folds,
    }
    write_json(side_file(path), shared)
    write_text(path, manifest.rows.to_csv(index=False, lineterminator="\n"))


def read_manifest(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises:
        DataError: It is missing or does not hold together; the message names the line.
    """
    if not path.is_file():
        raise DataError(f"no manifest {path}; `dfer preprocess` writes it")
    side = side_file(path)
    try:
        shared = json.loads(side.read_text(encoding="utf-8"))
        dataset, root = shared["dataset"], shared["root"]
        class_names, crop = tuple(shared["class_names"]), shared["crop"]
        num_folds = shared.get("num_folds")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"cannot use {side} ({error!r}); remove it and its CSV, and run `dfer preprocess`"
        ) from error
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}".splitlines()[0]) from error
    if Path(dataset).name != dataset:
        raise DataError(f"{side}: dataset {dataset!r} is no plain name; run folders are called so")
    check_rows(rows, class_names, str(path))
    return Manifest(
        dataset,
        rows.astype({"n_frames": int, "test_fold": int}),
        class_names,
        crop,
        root,
        num_folds,
    )


def check_rows(rows: pd.DataFrame, class_names: tuple[str, ...], where: str) -> None:
    """Refuse rows that do not hold together.

    Raises:
        DataError: A column is missing; a clip is listed twice, has an unknown label, no frame, an
            odd fold, or a path that leaves the data root.
    """
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise DataError(f"{where} has no column {missing[0]!r}; it needs {','.join(COLUMNS)}")
    if rows.empty:
        raise DataError(f"{where} lists no clip; run `dfer preprocess` again")
    seen: set[str] = set()
    for index, row in enumerate(rows.itertuples(index=False)):
        line = f"{where} line {index + 2}"
        check_inside_root(str(row.path), line)
        if row.label not in class_names:
            known = ", ".join(class_names)
            raise DataError(f"{line}: label {row.label!r} is none of the classes {known}")
        if row.clip_id in seen:
            raise DataError(f"{line}: clip {row.clip_id!r} is listed twice")
        if not str(row.n_frames).isdecimal() or int(str(row.n_frames)) < 1:
            raise DataError(f"{line}: n_frames is {row.n_frames!r}; it must be 1 or more")
        if not str(row.test_fold).isdecimal():
            raise DataError(f"{line}: test_fold is {row.test_fold!r}; it must be 0, 1, 2 ...")
        seen.add(str(row.clip_id))
