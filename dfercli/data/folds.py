"""Folds: assigning clips to them, and holding out training clips for validation."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from dfercli.config import ALL_DATA, DataConfig, RunConfig
from dfercli.data.manifest import Manifest, read_manifest
from dfercli.errors import DataError
from dfercli.text import count_of

NUM_FOLDS = 5
"""Default number of folds, as in DFEW and MAFW."""

FOLD_SEED = 0
"""Seed that breaks ties when folds are assigned (our choice)."""

TRIES = 20
"""Orders of groups that are tried when clips are held out (our choice)."""

TOLERANCE = 1e-12
"""Errors of a held-out part that differ by less are equal."""

VAL_STREAM = 7
"""Separates the random numbers of the validation split from others with the same seed."""

Part = Literal["train", "val", "test"]
"""What a run uses a clip for: training, choosing an epoch, or testing."""


def open_manifest(data: DataConfig) -> Manifest:
    """Read the manifest of a run, with folds by group if `folds_by` asks for them.

    Raises:
        DataError: The manifest is inconsistent, or has no groups to split by.
    """
    return choose_folds(read_manifest(Path(data.manifest)), data.folds_by)


def choose_folds(manifest: Manifest, folds_by: str) -> Manifest:
    """Return a manifest with its `official` folds, or with folds by `group`.

    Raises:
        DataError: The manifest has no groups, or too few of them.
    """
    return manifest if folds_by == "official" else split_by_group(manifest)


def check_labels(manifest: Manifest) -> None:
    """Refuse to train on clips of a single class.

    Raises:
        DataError: All clips have the same label.
    """
    labels = manifest.rows["label"].unique().tolist()
    if len(labels) < 2:
        raise DataError(
            f"all clips of manifest {manifest.dataset} have the label {labels[0]!r}; add clips of "
            "another class"
        )


def name_groups(rows: pd.DataFrame) -> list[str]:
    """Return the unit of each clip that must not be split: its group, or else the clip itself.

    A prefix distinguishes a clip from a group of the same name.
    """
    clips = [f"clip {clip_id}" for clip_id in rows["clip_id"]]
    if "group" not in rows.columns:
        return clips
    groups = rows["group"].fillna("").astype(str)
    return [f"group {group}" if group else clip for group, clip in zip(groups, clips, strict=True)]


def split_by_group(manifest: Manifest) -> Manifest:
    """Assign all clips of a manifest to new folds such that no group is in two of them.

    A clip without a group is a group of its own. The number of folds stays; a manifest with a
    single test fold gets five.

    Raises:
        DataError: No clip of the manifest has a group, or there are too few groups.
    """
    rows = manifest.rows
    if "group" not in rows.columns or (rows["group"].fillna("").astype(str) == "").all():
        reason = "only clips without a group" if "group" in rows.columns else "no column group"
        raise DataError(
            f"the manifest of {manifest.dataset} has {reason}; add groups, or remove "
            f"--folds-by group"
        )
    num_folds = len(manifest.folds) if len(manifest.folds) > 1 else NUM_FOLDS
    names = name_groups(rows)
    num_groups = len(set(names))
    if num_groups < num_folds:
        raise DataError(
            f"the manifest of {manifest.dataset} has {count_of(num_groups, 'group')}, too few for "
            f"{num_folds} folds; add groups, or remove --folds-by group"
        )
    folds = assign_folds(rows["label"].tolist(), names, num_folds)
    rows = rows.assign(test_fold=[folds[name] for name in names])
    return replace(manifest, rows=rows, num_folds=num_folds)


def select_rows(manifest: Manifest, part: Part, run: RunConfig) -> pd.DataFrame:
    """Return the rows of a manifest that a run uses for one purpose.

    Raises:
        DataError: The manifest has no such fold, or too few clips to hold some out.
    """
    if part == "test":
        return manifest.select(run.fold, "test")
    rows = manifest.select(run.fold, "train")
    if run.train.val_fraction == 0 or run.fold == ALL_DATA:
        return rows if part == "train" else rows.iloc[:0]
    held_out = hold_out(rows, run.train.val_fraction, run.seed)
    return rows[held_out if part == "val" else ~held_out].reset_index(drop=True)


def hold_out(rows: pd.DataFrame, fraction: float, seed: int) -> np.ndarray:
    """Choose clips to hold out: the same share of each class, without splitting a group.

    Groups are visited in a random order. A group is held out if that brings the held-out share of
    the classes closer to `fraction` and leaves each class a clip to train on. Without groups the
    held-out counts are the rounded shares. An order can start with a large group that keeps better
    ones out, so several orders are tried and the first of the best results is used.
    The result is (N,) bool.

    Raises:
        DataError: There are too few clips to hold any out.
    """
    classes, labels = np.unique(rows["label"].to_numpy(str), return_inverse=True)
    units, members = np.unique(name_groups(rows), return_inverse=True)
    counts = np.zeros((len(units), len(classes)))
    np.add.at(counts, (members, labels), 1)
    totals = counts.sum(axis=0)
    rng = np.random.default_rng([seed, VAL_STREAM])
    least_error = _share_error(np.round(fraction * totals), totals, fraction)
    best, best_error = np.zeros(len(units), dtype=bool), np.inf
    for _ in range(TRIES):
        chosen = _hold_out_in_order(rng.permutation(len(units)), counts, fraction)
        error = _share_error(counts[chosen].sum(axis=0), totals, fraction)
        if error < best_error - TOLERANCE:
            best, best_error = chosen, error
        if best_error <= least_error + TOLERANCE:
            break  # as close as whole clips allow; without groups the first order gets there
    if not best.any():
        raise DataError(
            f"cannot hold out {fraction:.0%} of {count_of(len(units), 'group')} (or clips) for "
            f"validation; add clips, or remove --val-fraction"
        )
    return best[members]


def _hold_out_in_order(order: np.ndarray, counts: np.ndarray, fraction: float) -> np.ndarray:
    """Return which units are held out if they are visited in this order.

    `counts` are (U, K) clips of each class in each unit; the result is (U,) bool.
    """
    totals = counts.sum(axis=0)
    target, held_out = fraction * totals, np.zeros(len(totals))
    chosen = np.zeros(len(counts), dtype=bool)
    for unit in order:
        more = held_out + counts[unit]
        change = ((target - more) ** 2 - (target - held_out) ** 2) / totals**2
        if change.sum() < 0 and (more < totals).all():
            held_out, chosen[unit] = more, True
    return chosen


def _share_error(held_out: np.ndarray, totals: np.ndarray, fraction: float) -> float:
    """Return the squared distance of the classes' held-out shares from a fraction."""
    return float((((fraction * totals - held_out) / totals) ** 2).sum())


def assign_folds(
    labels: Sequence[str],
    groups: Sequence[str],
    num_folds: int,
    fixed: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Assign groups to folds 1 to `num_folds`, largest first, each where its classes are rarest.

    Of folds where they are equally rare, the one with the fewest videos gets the group. Groups in
    `fixed` keep their folds.

    Raises:
        DataError: There are fewer groups than folds.
    """
    classes = {name: index for index, name in enumerate(sorted(set(labels)))}
    counts: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(len(classes)))
    for label, group in zip(labels, groups, strict=True):
        counts[group][classes[label]] += 1
    if len(counts) < num_folds:
        lower = f", or use --num-folds {len(counts)}" if len(counts) > 1 else ""
        raise DataError(
            f"{count_of(len(counts), 'group')} (or videos, without a column group) cannot be split "
            f"into {num_folds} folds; add videos{lower}"
        )
    folds = {group: fold for group, fold in (fixed or {}).items() if group in counts}
    fold_counts = np.zeros((num_folds, len(classes)))
    for group, fold in folds.items():
        if fold:  # fold 0, set by the user, is always trained on
            fold_counts[fold - 1] += counts[group]
    order = np.random.default_rng(FOLD_SEED).permutation(sorted(counts.keys() - folds.keys()))
    for group in sorted(map(str, order), key=lambda group: -counts[group].sum()):
        # Squares grow fastest where a class is common already.
        growth = ((fold_counts + counts[group]) ** 2 - fold_counts**2).sum(axis=1)
        # Of equals the smallest fold: an empty fold is always among them, so none stays empty.
        fold = int(np.lexsort((fold_counts.sum(axis=1), growth))[0])
        fold_counts[fold] += counts[group]
        folds[group] = fold + 1
    return folds
