"""`dfer doctor`: check what a run depends on, from this machine to the frames on disk."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dfercli.config import ModelConfig
from dfercli.doctor.dataset import Diagnosis, Finding, State, inspect_dataset
from dfercli.errors import DferError, describe_system_error, first_line
from dfercli.faces import DETECTORS, find_missing_weights, load_detector
from dfercli.versions import describe_versions, find_versions

__all__ = ["Diagnosis", "Finding", "State", "diagnose", "inspect_dataset", "inspect_machine"]

LOW_DISK_GB = 16.0
"""Free space that is reported as low (our choice: two checkpoints for each of five folds, and the
state to resume one fold from)."""


def diagnose(
    data: Mapping[Path, Path | None],
    unprepared: Mapping[str, Path] | None = None,
    requested: bool = True,
) -> Diagnosis:
    """Check this machine and some datasets.

    Args:
        data: Data root by manifest; None uses the root in the manifest.
        unprepared: Folders of datasets without a manifest, by public name.
        requested: Whether the user asked for these datasets, so that missing data is an error.
    """
    machine = inspect_machine()
    for name, folder in (unprepared or {}).items():
        text = f"found in {folder}, but has no manifest; run `dfer preprocess --dataset {name}`"
        machine.append(Finding(name, "note", text))
    if not data and not unprepared:
        text = (
            "none found: no manifest, and no dataset in data/NAME or $DFER_DATA/NAME; "
            "`dfer preprocess` writes a manifest"
        )
        machine.append(Finding("datasets", "note", text))
    reports = tuple(inspect_dataset(manifest, root, requested) for manifest, root in data.items())
    return Diagnosis(tuple(machine), reports)


def inspect_machine() -> list[Finding]:
    """Check Python, packages, device, precision, cached weights, detectors and disk."""
    versions = find_versions("dfer", "torch", "open_clip_torch", "opencv-python")
    python = versions.pop("python")
    return [
        Finding("python", "ok", f"{python}; {describe_versions(versions)}"),
        _inspect_device(),
        _inspect_weights(),
        *(_inspect_detector(name) for name in DETECTORS),
        _inspect_disk(),
    ]


def _inspect_device() -> Finding:
    import torch

    from dfercli.device import name_gpu

    if not torch.cuda.is_available():
        threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
        text = f"no GPU, CPU with {threads}; the paper's settings need a GPU"
        return Finding("device", "note", text)
    try:
        half = "fp16, bf16" if torch.cuda.is_bf16_supported() else "fp16"
    except Exception as error:  # the driver raises many kinds
        return Finding("device", "wrong", f"{name_gpu()} does not work: {first_line(error)}")
    return Finding("device", "ok", f"{name_gpu()}; {half}")


def _inspect_disk() -> Finding:
    try:
        folder = Path.cwd()
        free_gb = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding(
            "disk", "wrong", f"cannot read the working folder: {describe_system_error(error)}"
        )
    state: State = "note" if free_gb < LOW_DISK_GB else "ok"
    return Finding("disk", state, f"{free_gb:.0f} GB free in {folder}")


def _inspect_weights() -> Finding:
    from dfercli.models.pretrained import is_cached

    name = f"{ModelConfig.backbone} ({ModelConfig.weights})"
    if is_cached(ModelConfig.backbone, ModelConfig.weights):
        return Finding("CLIP weights", "ok", f"{name} is cached")
    text = f"{name} is not cached; the first run with CLIP downloads it"
    return Finding("CLIP weights", "note", text)


def _inspect_detector(name: str) -> Finding:
    missing = find_missing_weights(name)
    if missing:
        text = f"not cached: {', '.join(missing)}; the first use downloads them"
        return Finding(name, "note", text)
    try:
        load_detector(name).detect(np.zeros((64, 64, 3), dtype=np.uint8))
    except DferError as error:
        return Finding(name, "wrong", error.line)
    return Finding(name, "ok", "works")
