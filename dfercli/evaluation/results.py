"""Figures of finished runs and of checkpoints, all of them made from predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from dfercli.config import UNTRAINED, ComputeConfig, DataConfig, RunConfig
from dfercli.data.dataset import build_dataset, check_frames
from dfercli.data.folds import name_groups, open_manifest
from dfercli.data.loaders import build_test_loader
from dfercli.device import resolve_compute
from dfercli.errors import CheckpointError
from dfercli.metrics import FoldIntervals, FoldSummary, estimate_folds, summarise_folds
from dfercli.runs.checkpoint import check_fits, load_checkpoint, unseen_folds
from dfercli.runs.lookup import find_folds, find_newest_run, find_runs
from dfercli.runs.predictions import (
    classes_of,
    confusion_of,
    name_classes,
    predict_clips,
    read_tested,
)
from dfercli.runs.provenance import (
    UNKNOWN,
    describe_code,
    describe_crop,
    describe_data,
    describe_dealing,
    describe_runs,
)
from dfercli.runs.run_folder import Protocol, RunFolder, check_alike, list_deviations
from dfercli.training.device import make_accelerator
from dfercli.training.selection import protocols_of
from dfercli.versions import __version__, find_commit


@dataclass(frozen=True)
class Results:
    """What one variant, or one checkpoint, predicted on one dataset.

    Attributes:
        name: Of the variant's folder, or of the checkpoint.
        dataset: Its name.
        predictions: Tables of predictions by protocol (or `checkpoint`), then by fold.
        held_out: The same on the validation parts; empty where nothing was held out.
        provenance: What the figures are figures of, a line each.
        deviations: What differs from the official lists in the data, a line each.
        runs: Run by fold; none for a checkpoint.
        others: Other variants of which some fold is finished.
    """

    name: str
    dataset: str
    predictions: dict[str, dict[int, pd.DataFrame]]
    held_out: dict[str, dict[int, pd.DataFrame]]
    provenance: dict[str, str]
    deviations: list[str]
    runs: dict[int, RunFolder] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    @property
    def untrained(self) -> bool:
        """Whether nothing was trained, so that all protocols are the same model."""
        return any(run.read_config().model.method in UNTRAINED for run in self.runs.values())

    @property
    def epochs(self) -> frozenset[int]:
        """Numbers of epochs that its runs were trained for; none for a checkpoint."""
        return frozenset(run.read_config().train.epochs for run in self.runs.values())

    @property
    def title(self) -> str:
        """What it is called in a title."""
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
        """By protocol, where the means over folds lie at 95 %: by a bootstrap, or Student's t.

        Over whole groups where the data has groups: clips of one person are alike.
        """
        return {name: _resample(self.pool(name)) for name in self.predictions}

    def pool(self, protocol: str) -> pd.DataFrame:
        """Give the predictions of all folds in one table, with a column `fold`."""
        tables = self.predictions[protocol]
        every = [table.assign(fold=fold) for fold, table in tables.items()]
        return pd.concat(every, ignore_index=True)


def read_results(
    runs: Path,
    dataset: str | None = None,
    variant: str | None = None,
    folds: Sequence[int] | None = None,
) -> Results:
    """Read the predictions of a variant's finished folds.

    Args:
        runs: Folder of all runs.
        dataset: Its name; None takes that of the run that was finished last.
        variant: Its folder's name; None takes the one that was finished last.
        folds: Folds to read; None reads all that are finished.

    Raises:
        CheckpointError: No such run, or not each of these folds, is finished; or the folds were
            not trained alike.
        DataError: Predictions are missing, damaged, or not those of their run.
    """
    folder = find_newest_run(runs, dataset or "*", variant or "*").path.parent
    finished = find_folds(folder)
    missing = set(folds or ()) - finished.keys()
    if missing:
        raise CheckpointError(f"fold {min(missing)} of {folder} is not finished; train it first")
    chosen = {fold: run for fold, run in finished.items() if fold in (folds or finished)}
    check_alike(chosen)
    config = next(iter(chosen.values())).read_config()
    protocols = protocols_of(config.train.val_fraction)
    has_validation = "val" in protocols
    siblings = {run.path.parent.name for run in find_runs(runs, folder.parent.name)}
    return Results(
        folder.name,
        folder.parent.name,
        {name: _read_folds(chosen, name) for name in protocols},
        {name: _read_folds(chosen, name, True) for name in protocols if has_validation},
        describe_runs(list(chosen.values())),
        list_deviations(chosen.values()),
        chosen,
        sorted(siblings - {folder.name}),
    )


def evaluate_checkpoint(
    where: str,
    data: DataConfig,
    folds: Sequence[int] | None = None,
    allow_other_crop: bool = False,
    device: str = "auto",
) -> Results:
    """Run a checkpoint, in single precision, on test clips that it was not trained on.

    Args:
        where: A checkpoint's or a run's folder, or a model's name on the Hub.
        data: The data.
        folds: Folds to test on; None takes the one that the checkpoint was not trained on, or
            all of other data.
        allow_other_crop: Go on although the faces were cropped otherwise than in training.
        device: As in `ComputeConfig`.

    Raises:
        ConfigError: This machine has no such device.
        CheckpointError: There is no such checkpoint, it was trained on clips of one of the folds,
            or the data has other classes or crops.
        DataError: The data does not hold together.
    """
    compute = resolve_compute(ComputeConfig(device=device, precision="fp32"))
    model = load_checkpoint(where)
    manifest = open_manifest(data)
    check_fits(model, manifest.class_names, manifest.crop, allow_other_crop)
    folds = unseen_folds(model, manifest, data.folds_by, folds)
    check_frames(manifest, Path(data.root))
    accelerator = make_accelerator(compute)
    prepared = accelerator.prepare(model)
    tables = {}
    for fold in folds:
        run = RunConfig(data=data, fold=fold, model=model.config)
        dataset = build_dataset(manifest, "test", run, model.backbone.image_size)
        loader = accelerator.prepare(build_test_loader(dataset, run.train.batch_size, data.workers))
        tables[fold] = predict_clips(prepared, loader, accelerator, manifest.class_names)
    trained = model.settings.get("trained") or {}
    backbone = f"{model.config.backbone} ({model.config.weights}), {model.config.num_frames} frames"
    left_out = f", tested fold {trained['fold']}" if "fold" in trained else ""
    dealing = describe_dealing(data, "group" in manifest.rows.columns)
    provenance = {
        "checkpoint": where,
        "dataset": f"{data.dataset}, fingerprint {manifest.fingerprint}",
        "data": describe_data(manifest.deviations),
        "folds": f"{', '.join(map(str, folds))} ({dealing})",
        "trained on": f"{trained.get('dataset', UNKNOWN)}{left_out}",
        "seeds": str(trained.get("seed", UNKNOWN)),
        "backbone": backbone,
        "recipe": trained.get("recipe", UNKNOWN),
        "crops": describe_crop(manifest.crop),
        "precision": "fp32",
        "dfer": describe_code(__version__, find_commit()),
    }
    deviations = list(manifest.deviations)
    return Results(where, data.dataset, {"checkpoint": tables}, {}, provenance, deviations)


def summarise_runs(runs: Mapping[int, RunFolder], protocol: Protocol) -> FoldSummary:
    """Summarise the predictions files of finished runs.

    Args:
        runs: Run by fold.
        protocol: Which epoch's predictions.

    Raises:
        DataError: Predictions are missing, damaged, or not those of their run.
    """
    return _summarise(_read_folds(runs, protocol))


def _read_folds(
    runs: Mapping[int, RunFolder], protocol: Protocol, held_out: bool = False
) -> dict[int, pd.DataFrame]:
    return {fold: read_tested(run, protocol, held_out) for fold, run in runs.items()}


def _summarise(tables: Mapping[int, pd.DataFrame]) -> FoldSummary:
    return summarise_folds(list(tables), [confusion_of(table) for table in tables.values()])


def _resample(pooled: pd.DataFrame) -> FoldIntervals:
    labels, predicted = name_classes(pooled)
    groups = np.array(name_groups(pooled)) if "group" in pooled.columns else None
    num_classes = len(classes_of(pooled))
    return estimate_folds(labels, predicted, pooled["fold"].to_numpy(), num_classes, groups)
