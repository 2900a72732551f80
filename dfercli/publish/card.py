"""The model card: what a model is, how good it is, and how that was measured."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from dfercli.config import (
    ALL_DATA,
    NETWORKS,
    RANDOM_WEIGHTS,
    STILL_IMAGE,
    UNTRAINED,
    WITHOUT_CLIP,
)
from dfercli.data import DATASETS, load_dataset
from dfercli.errors import CheckpointError
from dfercli.evaluation.compare import calibrate
from dfercli.evaluation.results import Results, read_results
from dfercli.evaluation.tables import (
    LABELS,
    METRICS,
    UNTRAINED_NOTE,
    describe_method,
    protocol_notes,
)
from dfercli.models.base import ExpressionModel
from dfercli.models.networks.weights import describe_trunk
from dfercli.models.settings import (
    BUILT_IN_LICENCE,
    BUILT_IN_LIMITS,
    BUILT_IN_NAME,
    BUILT_IN_TRAINING,
)
from dfercli.runs.lookup import CheckpointSource, find_folds
from dfercli.runs.predictions import read_tested
from dfercli.runs.provenance import UNKNOWN, describe_crop, describe_data, describe_runs
from dfercli.runs.record import CheckpointInfo, RunRecord
from dfercli.runs.run_folder import FinishedRun, RunFolder, differ_from_final, list_deviations
from dfercli.tables import Column, Document, Table, render
from dfercli.training.selection import chosen_epochs
from dfercli.versions import __version__, describe_versions

FRONT = """\
---
library_name: dfer
pipeline_tag: video-classification
{licence}
tags:
- dynamic-facial-expression-recognition
- facial-expression-recognition{more_tags}
---
"""
"""Metadata for the Hub."""

OTHER_LICENCE = "license: other\nlicense_name: that-of-the-training-data"
"""No licence of the Hub's list fits: see `LICENCE_TEXT`."""

NOTICE = "Not for diagnosis: a named expression is not a felt emotion."

FROM_FILMS = ("dfew", "ferv39k", "mafw")
"""Datasets of clips from films and television."""

UNTESTED_NOTE = (
    "This model was trained on all clips and tested on none. The figures are of models that were "
    "trained in the same way, each tested on the fold that it was not trained on."
)

BUILT_IN_RECALLS = (
    "Recalls on 1,147 still images with noisy labels, not on videos: happiness 88 %, neutral 70 %, "
    "anger 63 %, surprise 54 %, sadness 44 %, fear 29 %, disgust 4 %."
)

LICENCE_TEXT = (
    "The code of dfer is MIT. The weights derive from the videos that they were trained on, and "
    "from the pretrained weights that they started from, if any; the licences of those decide how "
    "these may be used. That is what `other` means on the Hub."
)


def write_card(model: ExpressionModel, source: CheckpointSource, repo_id: str) -> str:
    """Return a model card: YAML metadata for the Hub, then Markdown.

    All figures are computed from the run's predictions; a checkpoint outside of a run has none.

    Raises:
        CheckpointError: The run is not finished, or the checkpoint belongs to another run.
        DataError: The run's predictions are missing, damaged, or belong to another run.
    """
    info, results = CheckpointInfo.from_settings(model.settings), None
    if source.run is not None and source.folder is not None:
        results = read_run(source.run, source.folder, model)
    still_image = model.config.method == STILL_IMAGE
    of_clip = model.config.method not in WITHOUT_CLIP
    front = FRONT.format(
        licence="license: mit" if still_image else OTHER_LICENCE,
        more_tags="\n- clip" if of_clip else "",
    )
    parts = [
        f"{front}\n# {repo_id}",
        f"Classifies the expression in a short video of a face: {', '.join(model.class_names)}.",
        f"**{NOTICE}**",
        _usage(model, repo_id),
        _without_run(info, still_image) if results is None else _figures(results, info),
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _limits(model, info, results)),
        f"## Licence\n\n{f'{BUILT_IN_LICENCE}.' if still_image else LICENCE_TEXT}",
        f"Written by dfer {__version__} from the checkpoint `{source.name}`.",
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _read_folds(run: FinishedRun) -> Results | None:
    """Return the results of the folds of a model on all clips; None if no fold is finished.

    The epochs shown are those that set its length.
    """
    folds = find_folds(run.path.parent)
    if not folds:
        return None
    for number, fold in folds.items():
        if changed := differ_from_final(fold.record, run.record):
            raise CheckpointError(
                f"fold {number} in {run.path.parent} was trained with other settings than the "
                f"model on all clips ({changed}), so its results do not describe that model; train "
                f"it again with --all-data --overwrite"
            )
    variant = run.path.parent
    results = read_results(variant.parent.parent, variant.parent.name, variant.name)
    protocol = "val" if run.record.config.train.val_fraction > 0 else "best"
    held_out = {protocol: results.held_out[protocol]} if protocol in results.held_out else {}
    predictions = {protocol: results.predictions[protocol]}
    return replace(results, predictions=predictions, held_out=held_out)


def read_run(run: RunFolder, folder: Path, model: ExpressionModel) -> Results | None:
    """Return the results of the epoch of one of a run's checkpoints.

    `folder` is that of the checkpoint. For a run on all clips the results are those of the folds of
    its variant, or None. Raises the errors of `write_card`.
    """
    finished = run.load()
    record, config = finished.record, finished.record.config
    _check_same(record, folder, model)
    if run.fold == ALL_DATA:
        return _read_folds(finished)
    protocol = folder.name
    held_out = {}
    if config.train.val_fraction > 0:
        held_out = {protocol: {config.fold: read_tested(finished, protocol, held_out=True)}}
    versions = describe_versions(record.calls[0].versions) or UNKNOWN
    return Results(
        config.variant,
        config.data.dataset,
        {protocol: {config.fold: read_tested(finished, protocol)}},
        held_out,
        describe_runs([record]) | {"versions": versions},
        list_deviations([finished]),
        {config.fold: finished},
    )


def _check_same(record: RunRecord, folder: Path, model: ExpressionModel) -> None:
    """Refuse a checkpoint of another run, by comparing what both record of the training."""
    trained = CheckpointInfo.from_settings(model.settings).trained
    config = record.config
    pairs = {
        "dataset": (config.data.dataset, trained.dataset),
        "fold": (config.fold, trained.fold),
        "seed": (config.seed, trained.seed),
        "data_fingerprint": (record.data.fingerprint, trained.data_fingerprint),
    }
    other = [name for name, (run_value, value) in pairs.items() if run_value != value]
    if other or model.config != config.model:
        raise CheckpointError(
            f"{folder} is not a checkpoint of its run: another {', '.join(other or ['model'])}; "
            f"restore the original checkpoint, or publish this one from a folder outside of the run"
        )


def _usage(model: ExpressionModel, repo_id: str) -> str:
    crop = model.settings.get("crop") or {}
    typed = called = ""
    if "detector" not in crop:  # trained on the dataset's own crops: the user has to choose one
        typed, called = " --detector face-alignment", ', detector="face-alignment"'
    return f"""\
## Use

With dfer installed:

```
dfer predict video.mp4 --checkpoint {repo_id}{typed}
```

```python
from dfercli import Predictor

prediction = Predictor.from_checkpoint("{repo_id}"{called}).predict("video.mp4")
print(prediction.to_frame())  # one row per window: times, expression, probabilities
```

It reads {model.config.num_frames} frames of {model.image_size} px of an aligned face."""


def _without_run(info: CheckpointInfo, still_image: bool) -> str:
    """Return a section without figures, with what the checkpoint says of its training."""
    if still_image:
        return "## Results\n\nNone on videos; the recalls on still images are below."
    trained, deviations = info.trained, info.trained.deviations
    fold = "none" if trained.fold == ALL_DATA else trained.fold
    lines = {
        "dataset": trained.dataset or UNKNOWN,
        "test fold": UNKNOWN if fold is None else fold,
        "seed": UNKNOWN if trained.seed is None else trained.seed,
        "data": UNKNOWN if deviations is None else describe_data(deviations),
        "recipe": trained.recipe or UNKNOWN,
        "crops": describe_crop(info.crop),
        "calibration": _calibration(info),
    }
    listed = "\n".join(f"- **{name}**: {value}" for name, value in lines.items())
    return f"""\
## Results

This checkpoint came without test results, so there are no figures here. The checkpoint itself says:

{listed}"""


def _figures(results: Results, info: CheckpointInfo) -> str:
    """Return the section with figures and their provenance."""
    (protocol,) = results.predictions
    summary, intervals = results.summaries[protocol], results.intervals[protocol]
    columns = [Column("figure", "text"), Column("value", "percent")]
    columns += [Column("from", "percent", "95 %"), Column("to", "percent", "95 %")]
    rows: list[list[Any]] = []
    for metric, title in METRICS.items():
        interval = getattr(intervals, metric)
        rows.append([title, getattr(summary, f"mean_{metric}"), interval.low, interval.high])
    notes = [UNTRAINED_NOTE] if results.untrained else protocol_notes([protocol])
    notes += [
        "WAR: share of correctly classified clips; UAR: mean recall over the classes",
        f"95 %: {describe_method(intervals.method, intervals.units, results)}; covers the "
        "choice of clips, not the training",
    ]
    folds = ", ".join(map(str, summary.folds))
    noun = "fold" if len(summary.folds) == 1 else "folds"
    title = f"Test {noun} {folds} of {results.dataset}, {summary.num_clips.sum():,} clips"
    if info.trained.fold == ALL_DATA:
        epochs = [chosen_epochs(run.read_metrics())[protocol] for run in results.runs.values()]
        trained = f"It was trained for {info.trained.epoch} epochs, the others for "
        notes.insert(0, f"{UNTESTED_NOTE} {trained}{', '.join(map(str, epochs))}.")
    if not results.untrained:
        title += f", {LABELS[protocol]}"
    counts = summary.matrix.sum(axis=1)
    classes = Table(
        "each class",
        [Column("class", "text"), Column("clips", "count"), Column("recall", "percent")],
        list(zip(results.class_names, counts, summary.mean_recalls, strict=True)),
    )
    provenance = {**results.provenance, "calibration": _calibration(info, results)}
    document = Document([Table(title, columns, rows, notes), classes], provenance)
    return f"## Results\n\n{render(document, 'markdown')}"


def _calibration(info: CheckpointInfo, results: Results | None = None) -> str:
    """Return whether probabilities are calibrated, and what that changes on the test fold."""
    if info.calibration_refused:
        return f"none, {info.calibration_refused}"
    if info.temperature is None:
        return "none, no clips were held out: probabilities are those of a plain softmax"
    text = f"temperature {info.temperature:.3g}, of {info.calibration_clips:,} held-out clips"
    if results is None or not results.held_out or info.trained.fold == ALL_DATA:
        return text
    (protocol,) = results.held_out
    calibration = calibrate(results, protocol)
    if calibration.after is None:
        return f"{text}; this version would refuse it: {'; '.join(calibration.remarks)}"
    return f"{text}; ECE {calibration.before.ece:.1%} before, {calibration.after.ece:.1%} after"


def _limits(model: ExpressionModel, info: CheckpointInfo, results: Results | None) -> list[str]:
    dataset = info.trained.dataset or UNKNOWN
    still_image = model.config.method == STILL_IMAGE
    seen = BUILT_IN_TRAINING if still_image else f"dataset: {dataset}"
    lines = [
        NOTICE,
        "It has only seen the faces, cameras and expressions of its training data "
        f"({seen}); how accurate it is on other data was not measured.",
        "Biases by age, sex, skin colour or culture were not measured.",
    ]
    if results is not None:
        if info.trained.fold == ALL_DATA:
            lines.append(UNTESTED_NOTE)
        else:
            lines.append("The figures are of a single fold and a single training.")
        kind = next(iter(results.runs.values())).record.config.data.kind
        if kind in FROM_FILMS:
            lines.append(f"Faces in {dataset} are mostly acted, for films and television.")
        elif kind in DATASETS and load_dataset(kind).OFFICIAL is not None:
            lines.append(f"Faces in {dataset} are of actors or volunteers who pose in a studio.")
    if imported := model.settings.get("imported"):
        lines.append(
            f"The weights are converted from a checkpoint of {imported['from']} "
            f"({imported['file']}) and subject to the terms of the dataset that it was trained on."
        )
    return [*lines, *_describe_model(model)]


def _describe_model(model: ExpressionModel) -> list[str]:
    """Return what the method of a model and its initial weights limit."""
    method, lines = model.config.method, []
    if method in NETWORKS:
        lines.append(
            f"This is dfer's implementation of {method}, trained by the recipe above: what its "
            f"authors publish about theirs does not describe it."
        )
    if method == STILL_IMAGE:
        lines += [f"This is the {BUILT_IN_NAME} of dfer: {BUILT_IN_LIMITS}.", BUILT_IN_RECALLS]
    elif method in UNTRAINED:
        lines.append("Nothing was trained: it is CLIP with one prompt per class.")
    elif method in WITHOUT_CLIP:
        lines.append(describe_trunk(model.config))
    elif model.config.weights == RANDOM_WEIGHTS:
        lines.append("Its backbone started from random weights, not from CLIP's.")
    return lines
