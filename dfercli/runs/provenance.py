"""Provenance: the lines above a table that say what its figures were computed from."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dfercli.config import STILL_IMAGE, WITHOUT_CLIP, DataConfig, ModelConfig
from dfercli.config.presets import describe_recipe
from dfercli.data import DATASETS, load_dataset
from dfercli.runs.record import RunRecord
from dfercli.versions import find_commit, find_versions

UNKNOWN = "not recorded"


def describe_runs(records: Sequence[RunRecord]) -> dict[str, str]:
    """Return the provenance of runs on one dataset; values that differ are listed."""
    configs = [record.config for record in records]
    models = [config.model for config in configs]
    return {
        "dataset": join(
            f"{record.config.data.dataset}, fingerprint {record.data.fingerprint}"
            for record in records
        ),
        "data": describe_data([line for record in records for line in record.data.deviations]),
        "folds": _describe_folds(records),
        "held out to choose an epoch": _describe_held_out(records),
        "seeds": ", ".join(map(str, sorted({config.seed for config in configs}))),
        **describe_backbones(models),
        "recipe": join(map(describe_recipe, configs)),
        "crops": join(describe_crop(record.data.crop) for record in records),
        "precision": join(config.compute.precision for config in configs),
        "dfer": join(
            describe_code(call.versions.get("dfer") or UNKNOWN, call.commit)
            for record in records
            for call in record.calls
            if call.versions
        ),
    }


def describe_backbones(models: Sequence[ModelConfig]) -> dict[str, str]:
    """Return the backbones of models; if none is CLIP, they are called networks."""
    networks = all(model.method in WITHOUT_CLIP for model in models)
    return {"network" if networks else "backbone": join(map(_describe_backbone, models))}


def _describe_backbone(model: ModelConfig) -> str:
    """Return the backbone of a model, its weights, and the number of frames, in a few words."""
    if model.method == STILL_IMAGE:
        return f"still-image network, {model.num_frames} frames"
    if model.method in WITHOUT_CLIP:
        frames = f"{model.num_frames} frames of {model.image_size} px ({model.sampling})"
        return f"{model.method} ({name_weights(model.weights)}), {frames}"
    return f"{model.backbone} ({name_weights(model.weights)}), {model.num_frames} frames"


def name_weights(weights: str) -> str:
    """Return the tag of weights, or the name of their file without the folders of this machine."""
    return re.split(r"[/\\]", weights)[-1]


def describe_code(version: str, commit: str | None) -> str:
    """Return which version of dfer ran, as one line."""
    return f"{version}, commit {commit or UNKNOWN}"


def describe_code_changes(record: RunRecord) -> str:
    """Return what differs between the code that trained a run and this one; empty if nothing."""
    call, commit = record.calls[-1], find_commit()
    versions = find_versions(*(name for name in call.versions if name != "python"))
    changes = [
        f"{name} {version} -> {versions.get(name)}"
        for name, version in call.versions.items()
        if version != versions.get(name)
    ]
    if call.commit != commit:
        changes.append(f"commit {call.commit or UNKNOWN} -> {commit or UNKNOWN}")
    return "; ".join(changes)


def describe_data(deviations: Sequence[str]) -> str:
    """Return whether data is complete, and what it lacks if it is not."""
    lines = list(dict.fromkeys(deviations))
    return f"PARTIAL: {'; '.join(lines)}" if lines else "complete"


def describe_crop(crop: Mapping[str, Any] | None) -> str:
    """Return how faces were cropped, as one line."""
    if crop is None:
        return "the dataset's own"
    return ", ".join(f"{name} {value}" for name, value in crop.items())


def _describe_folds(records: Sequence[RunRecord]) -> str:
    """Return the folds, whether they are all, and who assigned the clips to them."""
    tested = {record.config.fold for record in records}
    known = {fold for record in records for fold in record.data.folds}
    names = ", ".join(map(str, sorted(tested)))
    if known - tested:
        names = f"PARTIAL: {names} of {', '.join(map(str, sorted(known)))}"
    assigned = join(
        describe_assignment(record.config.data, record.data.grouped) for record in records
    )
    return f"{names} ({assigned})"


def describe_assignment(data: DataConfig, grouped: bool) -> str:
    """Return who assigned the clips to folds, and what the folds keep apart."""
    if data.folds_by == "group":
        return "assigned by group, each group in one fold"
    if data.kind in DATASETS and load_dataset(data.kind).OFFICIAL is not None:
        return "as published"
    return f"assigned by dfer, {'each group in one fold' if grouped else 'clip by clip'}"


def _describe_held_out(records: Sequence[RunRecord]) -> str:
    held_out = sum(record.data.held_out.clips for record in records if record.data.held_out)
    if held_out == 0:
        return "none"
    trained = sum(record.data.train_clips for record in records)
    return f"{held_out / (held_out + trained):.1%} of the training clips"


def join(values: Iterable[str]) -> str:
    """Return the different values in order, separated by bars."""
    return " | ".join(dict.fromkeys(values))
