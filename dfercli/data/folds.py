"""Who is tested when: folds that are dealt, and the part of the training clips that is held out."""

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
"""Folds unless others are asked for: as many as DFEW and MAFW have."""

TRIES = 20
"""Orders in which groups are tried for holding some out (our choice)."""

SAME_MISS = 1e-12
"""Misses that differ by less are equal."""

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


def check_labels(manifest: Manifest) -> None:
    """Refuse to train on clips of a single class.

    Raises:
        DataError: All clips have the same label.
    """
    labels = manifest.rows["label"].unique().tolist()
    if len(labels) < 2:
        raise DataError(
            f"all clips of manifest {manifest.dataset} are labelled {labels[0]!r}: nothing to tell "
            f"apart; add clips of another class"
        )


def name_groups(rows: pd.DataFrame) -> list[str]:
    """Give what must not be parted of each clip: its group, or itself where it has none.

    Args:
        rows: Of a manifest, (N,).

    Returns:
        (N,) names; their beginnings keep a clip apart from a group that is called alike.
    """
    clips = [f"clip {clip_id}" for clip_id in rows["clip_id"]]
    if "group" not in rows.columns:
        return clips
    groups = rows["group"].fillna("").astype(str)
    return [f"group {group}" if group else clip for group, clip in zip(groups, clips, strict=True)]


def deal_by_group(manifest: Manifest) -> Manifest:
    """Deal all clips of a manifest to folds anew, so that no group is in two of them.

    A clip without a group is dealt by itself. There are as many folds as before, or five where
    one part was tested and one only trained.

    Raises:
        DataError: No clip of the manifest has a group, or there are too few groups.
    """
    rows = manifest.rows
    if "group" not in rows.columns or (rows["group"].fillna("").astype(str) == "").all():
        lacking = "only clips without a group" if "group" in rows.columns else "no column group"
        raise DataError(
            f"the manifest of {manifest.dataset} has {lacking}: nothing says which clips show one "
            f"person; add it, or leave out --folds-by group"
        )
    num_folds = len(manifest.folds) if len(manifest.folds) > 1 else NUM_FOLDS
    names = name_groups(rows)
    found = len(set(names))
    if found < num_folds:
        raise DataError(
            f"the manifest of {manifest.dataset} has {count_of(found, 'group')}, too few for "
            f"{num_folds} folds; name more, or leave out --folds-by group"
        )
    folds = assign_folds(rows["label"].tolist(), names, num_folds)
    dealt = rows.assign(test_fold=[folds[name] for name in names])
    return replace(manifest, rows=dealt, num_folds=num_folds)


def select_rows(manifest: Manifest, part: Part, run: RunConfig) -> pd.DataFrame:
    """Give the rows of a manifest that a run uses for one purpose.

    Raises:
        DataError: The manifest has no such fold, or too few clips to hold some out.
    """
    if part == "test":
        return manifest.select(run.fold, "test")
    rows = manifest.select(run.fold, "train")
    if run.train.val_fraction == 0 or run.fold == ALL_DATA:
        return rows if part == "train" else rows.iloc[:0]
    held = hold_out(rows, run.train.val_fraction, run.seed)
    return rows[held if part == "val" else ~held].reset_index(drop=True)


def hold_out(rows: pd.DataFrame, fraction: float, seed: int) -> np.ndarray:
    """Choose clips to hold out: the same share of each class, and no group in part.

    Groups come in an order drawn by the seed; one is held out if that brings the held-out shares
    of the classes nearer to `fraction`, whatever their sizes, and leaves each class a clip to
    train on. Clips without a group are taken one by one, so that where there are no groups the
    counts are the shares rounded. An order can begin with a large group that keeps better ones
    out, so several are tried; the nearest is taken, and the first among equals.

    Args:
        rows: Of a manifest, (N,).
        fraction: Share of the clips.
        seed: Of the order.

    Returns:
        (N,) bool.

    Raises:
        DataError: There are too few clips: none can be held out.
    """
    classes, labels = np.unique(rows["label"].to_numpy(str), return_inverse=True)
    units, members = np.unique(name_groups(rows), return_inverse=True)
    counts = np.zeros((len(units), len(classes)))
    np.add.at(counts, (members, labels), 1)
    totals = counts.sum(axis=0)
    rng = np.random.default_rng([seed, VAL_STREAM])
    least = _miss(np.round(fraction * totals), totals, fraction)
    chosen, miss = np.zeros(len(units), dtype=bool), np.inf
    for _ in range(TRIES):
        held = _hold_in_order(rng.permutation(len(units)), counts, fraction)
        away = _miss(counts[held].sum(axis=0), totals, fraction)
        if away < miss - SAME_MISS:
            chosen, miss = held, away
        if miss <= least + SAME_MISS:
            break  # as near as whole clips can be: always so where there are no groups
    if not chosen.any():
        raise DataError(
            f"{count_of(len(units), 'group')} (or clips) cannot be parted into {fraction:.0%} to "
            f"choose an epoch by and the rest to train on; leave out --val-fraction"
        )
    return chosen[members]


def _hold_in_order(order: np.ndarray, counts: np.ndarray, fraction: float) -> np.ndarray:
    """Return which units are held out, (U,) bool, if they are taken in this order.

    Args:
        order: Of the U units.
        counts: (U, K) clips of each class in each unit.
        fraction: Share of the clips.
    """
    totals = counts.sum(axis=0)
    wanted, held = fraction * totals, np.zeros(len(totals))
    chosen = np.zeros(len(counts), dtype=bool)
    for unit in order:
        more = held + counts[unit]
        change = ((wanted - more) ** 2 - (wanted - held) ** 2) / totals**2
        if change.sum() < 0 and (more < totals).all():
            held, chosen[unit] = more, True
    return chosen


def _miss(held: np.ndarray, totals: np.ndarray, fraction: float) -> float:
    """Return how far the held-out shares of the classes are from a fraction, squared and summed."""
    return float((((fraction * totals - held) / totals) ** 2).sum())


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
        groups_there = count_of(len(counts), "group")
        lower = f", or give --num-folds {len(counts)}" if len(counts) > 1 else ""
        raise DataError(
            f"{groups_there} (or videos, without a column group) cannot fill {num_folds} folds; "
            f"add videos{lower}"
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
