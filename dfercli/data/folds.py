"""Who is tested when: folds that are dealt, and the part of the training clips that is held out."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from dfercli.config import DataConfig, RunConfig
from dfercli.data.manifest import Manifest, read_manifest
from dfercli.errors import DataError

NUM_FOLDS = 5
"""Folds unless others are asked for: as many as DFEW and MAFW have."""

VAL_STREAM = 7
"""Keeps the draw of the validation part apart from all others that begin with the seed."""

Part = Literal["train", "val", "test"]
"""What a clip is for in a run: it is learnt from, an epoch is chosen by it, or it is tested."""


def open_manifest(data: DataConfig) -> Manifest:
    """Read the manifest of a run's data, with the folds that were asked for.

    Raises:
        DataError: It does not hold together, or has no groups to keep apart.
    """
    manifest = read_manifest(Path(data.manifest))
    return manifest if data.folds_by == "official" else deal_by_group(manifest)


def deal_by_group(manifest: Manifest) -> Manifest:
    """Deal all clips of a manifest to folds anew, so that no group is in two of them.

    There are as many folds as before, or five where one part was tested and one only trained.

    Raises:
        DataError: The manifest has no groups, or too few.
    """
    groups = manifest.rows.get("group")
    if groups is None or (groups.astype(str) == "").any():
        lacking = "no column group" if groups is None else "clips without a group"
        raise DataError(
            f"the manifest of {manifest.dataset} has {lacking}: nothing says which clips show one "
            f"person; add it, or leave out --folds-by group"
        )
    num_folds = len(manifest.folds) if len(manifest.folds) > 1 else NUM_FOLDS
    names = groups.astype(str).tolist()
    folds = assign_folds(manifest.rows["label"].tolist(), names, num_folds)
    rows = manifest.rows.assign(test_fold=[folds[name] for name in names])
    return replace(manifest, rows=rows, num_folds=num_folds)


def select_rows(manifest: Manifest, part: Part, run: RunConfig) -> pd.DataFrame:
    """Give the rows of a manifest that a run uses for one purpose.

    Raises:
        DataError: The manifest has no such fold, or too few clips to hold some out.
    """
    if part == "test":
        return manifest.select(run.fold, "test")
    rows = manifest.select(run.fold, "train")
    if run.train.val_fraction == 0:
        return rows if part == "train" else rows.iloc[:0]
    held = hold_out(rows, run.train.val_fraction, run.seed)
    return rows[held if part == "val" else ~held].reset_index(drop=True)


def hold_out(rows: pd.DataFrame, fraction: float, seed: int) -> np.ndarray:
    """Choose clips to hold out: the same share of each class, and no group in part.

    Groups come in an order drawn by the seed; one is held out if that brings the classes' counts
    nearer to their shares. Clips without a group are taken one by one, so that their counts are
    the shares rounded.

    Args:
        rows: Of a manifest, (N,).
        fraction: Share of the clips.
        seed: Of the order.

    Returns:
        (N,) bool.

    Raises:
        DataError: There are too few clips: none was held out, or none is left.
    """
    classes, labels = np.unique(rows["label"].to_numpy(str), return_inverse=True)
    names = rows["group"] if "group" in rows.columns else rows["clip_id"]
    units, members = np.unique(names.to_numpy(str), return_inverse=True)
    counts = np.zeros((len(units), len(classes)))
    np.add.at(counts, (members, labels), 1)
    wanted, held = fraction * counts.sum(axis=0), np.zeros(len(classes))
    chosen = np.zeros(len(units), dtype=bool)
    for unit in np.random.default_rng([seed, VAL_STREAM]).permutation(len(units)):
        more = held + counts[unit]
        if ((wanted - more) ** 2).sum() < ((wanted - held) ** 2).sum():
            held, chosen[unit] = more, True
    if chosen.all() or not chosen.any():
        raise DataError(
            f"{len(units)} groups (or clips) cannot be parted into {fraction:.0%} to choose an "
            f"epoch by and the rest to train on; leave out --val-fraction"
        )
    return chosen[members]


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
            f"{len(counts)} groups (or videos, without a column group) cannot fill {num_folds} "
            f"folds; add videos or lower --num-folds"
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
