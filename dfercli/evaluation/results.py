"""Results of finished runs and of checkpoints, all computed from predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dfercli.config import UNTRAINED
from dfercli.data.folds import name_groups
from dfercli.errors import CheckpointError
from dfercli.metrics.intervals import FoldIntervals, estimate_folds
from dfercli.metrics.scores import FoldSummary, summarise_folds
from dfercli.runs.lookup import find_variant_folds
from dfercli.runs.predictions import classes_of, confusion_of, name_classes, read_tested
from dfercli.runs.provenance import describe_runs
from dfercli.runs.run_folder import (
    FinishedRun,
    Protocol,
    check_same_settings,
    list_deviations,
    protocols_of,
)


@dataclass(frozen=True)
class Results:
    """The predictions of one variant, or of one checkpoint, on one dataset.

    Tables of predictions are by protocol (or `checkpoint`), then by fold; `held_out` is empty if no
    clips were held out. Deviations are from the official lists, one sentence each. A checkpoint has
    no runs. `others` are other variants of the dataset that have a finished fold, `kind` is the
    public name of its kind of dataset.
    """

    name: str
    dataset: str
    predictions: dict[str, dict[int, pd.DataFrame]]
    held_out: dict[str, dict[int, pd.DataFrame]]
    provenance: dict[str, str]
    deviations: list[str]
    runs: dict[int, FinishedRun] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    kind: str = "folder"

    @property
    def untrained(self) -> bool:
        """Whether the method trains nothing, so that all protocols are the same model."""
        return any(run.record.config.model.method in UNTRAINED for run in self.runs.values())

    @property
    def epochs(self) -> frozenset[int]:
        """The number of epochs of each run, each number once; empty for a checkpoint."""
        return frozenset(run.record.config.train.epochs for run in self.runs.values())

    @property
    def title(self) -> str:
        """Its name in the title of a table."""
        return f"{self.dataset}/{self.name}" if self.runs else f"{self.name} on {self.dataset}"

    @property
    def class_names(self) -> list[str]:
        """The K classes."""
        tables = next(iter(self.predictions.values()))
        return classes_of(next(iter(tables.values())))

    @cached_property
    def summaries(self) -> dict[str, FoldSummary]:
        """Summary over folds by protocol."""
        return {name: _summarise(tables) for name, tables in self.predictions.items()}

    @cached_property
    def intervals(self) -> dict[str, FoldIntervals]:
        """95 % intervals of the means over folds, by protocol: bootstrap, or Student's t.

        They are over groups if the data has groups, because clips of one person are similar.
        """
        return {name: _resample(self.pool(name)) for name in self.predictions}

    def pool(self, protocol: str) -> pd.DataFrame:
        """Return the predictions of all folds in one table, with a column `fold`."""
        tables = self.predictions[protocol]
        with_fold = [table.assign(fold=fold) for fold, table in tables.items()]
        return pd.concat(with_fold, ignore_index=True)


def read_results(
    runs: Path,
    dataset: str | None = None,
    variant: str | None = None,
    folds: Sequence[int] | None = None,
) -> Results:
    """Read the predictions of a variant's finished folds.

    None stands for the dataset or the variant finished last, and for all finished folds.

    Raises:
        CheckpointError: No such run is finished, one of the folds is not, or two folds were trained
            with different settings.
        DataError: Predictions are missing, damaged, or belong to another run.
    """
    finished, others = find_variant_folds(runs, dataset or "*", variant or "*")
    folder = next(iter(finished.values())).path.parent
    missing = set(folds or ()) - finished.keys()
    if missing:
        raise CheckpointError(f"fold {min(missing)} of {folder} is not finished; train it first")
    chosen = {fold: run for fold, run in finished.items() if fold in (folds or finished)}
    check_same_settings(chosen)
    first = next(iter(chosen.values())).record
    protocols = protocols_of(first.config.train.val_fraction)
    has_validation = "val" in protocols
    return Results(
        folder.name,
        folder.parent.name,
        {name: _read_folds(chosen, name) for name in protocols},
        {name: _read_folds(chosen, name, True) for name in protocols if has_validation},
        describe_runs([run.record for run in chosen.values()]),
        list_deviations(chosen.values()),
        chosen,
        others,
        first.config.data.kind or Results.kind,
    )


def summarise_runs(runs: Mapping[int, FinishedRun], protocol: Protocol) -> FoldSummary:
    """Summarise the predictions of finished runs by fold, at the epoch of a protocol.

    Raises:
        DataError: Predictions are missing, damaged, or belong to another run.
    """
    return _summarise(_read_folds(runs, protocol))


def _read_folds(
    runs: Mapping[int, FinishedRun], protocol: Protocol, held_out: bool = False
) -> dict[int, pd.DataFrame]:
    return {fold: read_tested(run, protocol, held_out) for fold, run in runs.items()}


def _summarise(tables: Mapping[int, pd.DataFrame]) -> FoldSummary:
    return summarise_folds(list(tables), [confusion_of(table) for table in tables.values()])


def _resample(pooled: pd.DataFrame) -> FoldIntervals:
    labels, predicted = name_classes(pooled)
    groups = np.array(name_groups(pooled)) if "group" in pooled.columns else None
    num_classes = len(classes_of(pooled))
    return estimate_folds(labels, predicted, pooled["fold"].to_numpy(), num_classes, groups)
