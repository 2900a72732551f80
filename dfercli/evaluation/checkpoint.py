"""Testing a checkpoint on the test clips of a dataset."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dfercli.config import UNTRAINED, ComputeConfig, DataConfig, ModelConfig, RunConfig
from dfercli.data.folds import open_manifest
from dfercli.data.loaders import build_dataset, build_test_loader, check_frames
from dfercli.data.manifest import Manifest
from dfercli.data.sampling import view_positions
from dfercli.device import resolve_compute
from dfercli.errors import require_at_least
from dfercli.evaluation.results import Results
from dfercli.models.base import ExpressionModel, build_model
from dfercli.models.settings import (
    BUILT_IN,
    BUILT_IN_LIMITS,
    BUILT_IN_NAME,
    BUILT_IN_TRAINING,
)
from dfercli.progress import write_line
from dfercli.runs.checkpoint import check_fits, load_checkpoint, unseen_folds
from dfercli.runs.provenance import (
    UNKNOWN,
    describe_assignment,
    describe_backbones,
    describe_code,
    describe_crop,
    describe_data,
)
from dfercli.runs.record import CheckpointInfo
from dfercli.training.device import make_accelerator
from dfercli.training.evaluation import predict_clips
from dfercli.versions import __version__, find_commit


def evaluate_checkpoint(
    where: str,
    data: DataConfig,
    folds: Sequence[int] | None = None,
    allow_other_crop: bool = False,
    device: str = "auto",
    manifest: Manifest | None = None,
    views: int = 1,
) -> Results:
    """Predict the test clips that a checkpoint was not trained on, in single precision.

    Args:
        where: The folder of a checkpoint or of a run, a model's name on the Hub, or `built-in`,
            which takes the classes and the crops of any data.
        data: The data.
        folds: Folds to test; None for the fold that the checkpoint was not trained on, or for all
            folds of other data.
        allow_other_crop: Accept faces that were cropped differently from those of the training.
        device: As in `ComputeConfig`.
        manifest: The manifest of the data; None to open it.
        views: Samplings of each video, whose probabilities are averaged: `views` among the
            predictions, beside `checkpoint`, the first of them. 1 has no `views`.

    Raises:
        ConfigError: This machine has no such device, or there are fewer than one view.
        CheckpointError: There is no such checkpoint, it was trained on clips of one of the folds,
            or the data has other classes or crops.
        ConfigError: The built-in model knows fewer than two of the classes.
        DataError: The manifest or the clips are invalid.
    """
    require_at_least("views", views, 1)
    compute = resolve_compute(ComputeConfig(device=device, precision="fp32"))
    manifest = open_manifest(data) if manifest is None else manifest
    model = _load(where, manifest)
    check_fits(model, manifest.class_names, manifest.crop, allow_other_crop)
    folds = unseen_folds(model.settings, manifest, data.folds_by, folds)
    if model.config.method not in UNTRAINED and not model.settings.get("trained"):
        write_line(
            f"{where} does not record its training data, so the tested folds may contain clips "
            f"that it was trained on"
        )
    check_frames(manifest, Path(data.root))
    accelerator = make_accelerator(compute)
    prepared = accelerator.prepare(model)
    single, averaged = {}, {}
    for fold in folds:
        run = RunConfig(data=data, fold=fold, model=model.config)
        tables = []
        for position in view_positions(views):
            dataset = build_dataset(manifest, "test", run, model.image_size, position)
            loader = build_test_loader(dataset, run.train.batch_size, data.workers)
            loader = accelerator.prepare(loader)
            tables.append(predict_clips(prepared, loader, accelerator, manifest.class_names))
        single[fold] = tables[0]
        averaged[fold] = average_views(tables, manifest.class_names)
    provenance = {"checkpoint": where, **_describe(model, manifest, data, folds)}
    if where == BUILT_IN:
        provenance["checkpoint"] = f"{BUILT_IN_NAME}: {BUILT_IN_LIMITS}"
        provenance["trained on"] = BUILT_IN_TRAINING
    deviations = list(manifest.deviations)
    predictions = {"checkpoint": single}
    if views > 1:
        predictions["views"] = averaged
        provenance["views"] = f"{views} per video, and the first alone"
    return Results(where, data.dataset, predictions, {}, provenance, deviations, kind=manifest.kind)


def _load(where: str, manifest: Manifest) -> ExpressionModel:
    """Return the model of a checkpoint, or the built-in one for the classes of the data."""
    if where != BUILT_IN:
        return load_checkpoint(where)
    config = ModelConfig(method="still-image")
    return build_model(config, manifest.class_names, manifest.crop).eval()


def average_views(tables: Sequence[pd.DataFrame], class_names: Sequence[str]) -> pd.DataFrame:
    """Return a table of predictions with the mean probabilities of several views of the clips."""
    names = list(class_names)
    mean = np.mean([table[names].to_numpy() for table in tables], axis=0)
    return tables[0].assign(**dict(zip(names, mean.T, strict=True)))


def _describe(
    model: ExpressionModel, manifest: Manifest, data: DataConfig, folds: Sequence[int]
) -> dict[str, str]:
    """Return the provenance of the figures."""
    trained, config = CheckpointInfo.from_settings(model.settings).trained, model.config
    left_out = "" if trained.fold is None else f", tested fold {trained.fold}"
    assigned = describe_assignment(data, "group" in manifest.rows.columns)
    return {
        "dataset": f"{data.dataset}, fingerprint {manifest.fingerprint}",
        "data": describe_data(manifest.deviations),
        "folds": f"{', '.join(map(str, folds))} ({assigned})",
        "trained on": f"{trained.dataset or UNKNOWN}{left_out}",
        "seeds": UNKNOWN if trained.seed is None else str(trained.seed),
        **describe_backbones([config]),
        "recipe": trained.recipe or UNKNOWN,
        "crops": describe_crop(manifest.crop),
        "precision": "fp32",
        "dfer": describe_code(__version__, find_commit()),
    }
