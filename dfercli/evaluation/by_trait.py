"""Results by a property of the people in the clips: sex, age, race, or any column of a manifest."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dfercli.data.folds import name_groups
from dfercli.data.manifest import COLUMNS, VOTES, read_manifest
from dfercli.errors import DataError
from dfercli.evaluation.results import Results
from dfercli.evaluation.tables import (
    LABELS,
    METRICS,
    UNTRAINED_NOTE,
    dataset_notes,
    protocol_notes,
)
from dfercli.metrics.intervals import FoldIntervals, estimate_folds
from dfercli.metrics.scores import confusion_matrix, summarise_folds
from dfercli.runs.predictions import classes_of, name_classes
from dfercli.tables import Column, Document, Table

UNKNOWN_VALUE = "unknown"

NOT_TRAITS = (*COLUMNS, "group", "coverage")
"""Columns of a manifest that are not properties of people."""

BAND = 10
"""Years in one group of ages (our choice)."""

GAP_NOTE = (
    "gap: highest minus lowest group; its interval assumes independent groups (Zou and Donner, "
    "2008) and ignores that they were chosen as the extremes"
)


@dataclass(frozen=True)
class _Group:
    """The pooled results of one group: clips, people, scores and their intervals, recalls (K,)."""

    name: str
    clips: int
    people: int
    war: float
    uar: float
    intervals: FoldIntervals
    recalls: np.ndarray


def trait_document(results: Results, trait: str, manifest: Path) -> Document:
    """Return tables of WAR, UAR and recalls for each group of people, and the gaps between groups.

    The folds are pooled, so that each clip counts once. Numbers such as ages are grouped by ten. If
    nothing was trained, the only model is reported once, as that of the last epoch.

    Args:
        results: The variant.
        trait: A column of the manifest, such as `sex`.
        manifest: The manifest of the data.

    Raises:
        DataError: The manifest has no such column, or lacks a tested clip.
    """
    values = _read_trait(manifest, trait)
    tables = []
    data = {}
    for protocol in ["last"] if results.untrained else results.predictions:
        pooled = results.pool(protocol)
        groups = _split(pooled, values, manifest)
        tables.append(_scores_table(trait, results, protocol, groups))
        tables.append(_recalls_table(trait, results.class_names, protocol, groups))
        data[protocol] = {group.name: _to_data(group, results.class_names) for group in groups}
    return Document(tables, results.provenance, {"by": trait, "protocols": data})


def _read_trait(path: Path, trait: str) -> dict[str, str]:
    """Return the group of each clip."""
    rows = read_manifest(path).rows
    known = [c for c in rows.columns if c not in NOT_TRAITS and not c.startswith(VOTES)]
    if trait not in known:
        listed = ", ".join(known) or "none"
        raise DataError(
            f"{path} has no column {trait!r} to group by; its columns for this: {listed}. To add "
            f"one for your own videos, add it to labels.csv and run `dfer preprocess` again"
        )
    texts = rows[trait].fillna("").astype(str).str.strip()
    numbers = pd.to_numeric(texts.where(texts != ""), errors="coerce")
    if texts[texts != ""].size and numbers.notna().sum() == (texts != "").sum():
        low = (numbers // BAND * BAND).astype("Int64")
        texts = (low.astype(str) + "–" + (low + BAND - 1).astype(str)).where(numbers.notna(), "")
    names = texts.replace("", UNKNOWN_VALUE)
    return dict(zip(rows["clip_id"], names, strict=True))


def _split(pooled: pd.DataFrame, values: dict[str, str], manifest: Path) -> list[_Group]:
    names = pooled["clip_id"].map(values)
    if names.isna().any():
        clip = pooled["clip_id"][names.isna()].iloc[0]
        raise DataError(
            f"{manifest} has no clip {clip!r}, which was tested; prepare the data again"
        )
    groups = []
    for name in sorted(names.unique(), key=lambda name: (name == UNKNOWN_VALUE, name)):
        table = pooled[names == name]
        labels, predicted = name_classes(table)
        num_classes = len(classes_of(table))
        units = np.array(name_groups(table)) if "group" in table.columns else None
        folds = np.ones(len(table), dtype=int)
        summary = summarise_folds([1], [confusion_matrix(labels, predicted, num_classes)])
        groups.append(
            _Group(
                name,
                len(table),
                len(table if units is None else set(units)),
                summary.pooled_war,
                summary.pooled_uar,
                estimate_folds(labels, predicted, folds, num_classes, units),
                summary.recalls[0],
            )
        )
    return groups


def _scores_table(trait: str, results: Results, protocol: str, groups: list[_Group]) -> Table:
    columns = [Column(trait, "text"), Column("clips", "count"), Column("people", "count")]
    for title in METRICS.values():
        columns += [Column(name, "percent", title) for name in ("mean", "95 % from", "to")]
    rows: list[list[Any]] = []
    for group in groups:
        row: list[Any] = [group.name, group.clips, group.people]
        for metric in METRICS:
            interval = getattr(group.intervals, metric)
            row += [getattr(group, metric), interval.low, interval.high]
        rows.append(row)
    notes = ["all folds pooled, each clip once; 95 %: over people, or clips without groups"]
    compared = [group for group in groups if group.name != UNKNOWN_VALUE]
    if len(compared) > 1:
        gaps = [value for metric in METRICS for value in _find_gap(compared, metric)]
        rows.append(["gap", None, None, *gaps])
        notes.append(GAP_NOTE)
    title = f"{results.title} by {trait}, {LABELS[protocol]}"
    notes += [UNTRAINED_NOTE] if results.untrained else protocol_notes([protocol])
    notes += dataset_notes(results.kind)
    return Table(title, columns, rows, notes)


def _find_gap(groups: list[_Group], metric: str) -> tuple[float, float, float]:
    """Return the difference of the extreme groups and its interval."""
    high = max(groups, key=lambda group: float(getattr(group, metric)))
    low = min(groups, key=lambda group: float(getattr(group, metric)))
    a, b = getattr(high, metric), getattr(low, metric)
    of_a, of_b = getattr(high.intervals, metric), getattr(low.intervals, metric)
    below = np.hypot(a - of_a.low, of_b.high - b)
    above = np.hypot(of_a.high - a, b - of_b.low)
    return a - b, a - b - below, a - b + above


def _recalls_table(
    trait: str, class_names: list[str], protocol: str, groups: list[_Group]
) -> Table:
    compared = [group for group in groups if group.name != UNKNOWN_VALUE]
    columns = [Column("recall", "text")]
    columns += [Column(group.name, "percent", trait) for group in groups]
    columns.append(Column("gap", "percent"))
    rows: list[list[Any]] = []
    for at, name in enumerate(class_names):
        known = [group.recalls[at] for group in compared if not np.isnan(group.recalls[at])]
        gap = max(known) - min(known) if len(known) > 1 else None
        rows.append([name, *(group.recalls[at] for group in groups), gap])
    return Table(f"recalls by {trait}, {LABELS[protocol]}", columns, rows)


def _to_data(group: _Group, class_names: list[str]) -> dict[str, Any]:
    data: dict[str, Any] = {"clips": group.clips, "people": group.people}
    for metric in METRICS:
        interval = getattr(group.intervals, metric)
        data |= {
            metric: getattr(group, metric),
            f"{metric}_interval": [interval.low, interval.high],
        }
    return data | {"recalls": dict(zip(class_names, group.recalls, strict=True))}
