"""A look at this machine: Python, device, cached weights, detectors, disk."""

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np

from dfercli.config import ModelConfig
from dfercli.doctor.page import Finding, State
from dfercli.errors import DferError
from dfercli.faces import DETECTORS, find_missing_weights, load_detector

LOW_DISK_GB = 16.0
"""Free space under which a remark is made (our choice: the two checkpoints of five folds, and what
one of them goes on from while it is trained)."""


def inspect_machine() -> list[Finding]:
    """Look at Python, packages, device, precision, cached weights, detectors and disk."""
    import torch

    names = ("dfer", "torch", "open_clip_torch", "opencv-python")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    findings = [Finding("python", "ok", f"{platform.python_version()}; {packages}")]
    if torch.cuda.is_available():
        half = "fp16, bf16" if torch.cuda.is_bf16_supported() else "fp16"
        findings.append(Finding("device", "ok", f"{torch.cuda.get_device_name()}; {half}"))
    else:
        threads = f"{torch.get_num_threads()} threads of {os.cpu_count()} cores"
        text = f"no GPU: CPU, {threads}; training at the paper's settings wants one"
        findings.append(Finding("device", "note", text))
    findings.append(_inspect_weights())
    findings += [_inspect_detector(name) for name in DETECTORS]
    free_gb = shutil.disk_usage(".").free / 1e9
    low: State = "note" if free_gb < LOW_DISK_GB else "ok"
    return [*findings, Finding("disk", low, f"{free_gb:.0f} GB free in {Path.cwd()}")]


def _inspect_weights() -> Finding:
    from dfercli.models.pretrained import is_cached

    name = f"{ModelConfig.backbone} ({ModelConfig.weights})"
    if is_cached(ModelConfig.backbone, ModelConfig.weights):
        return Finding("CLIP weights", "ok", f"{name} is cached")
    return Finding("CLIP weights", "note", f"{name} is not cached; the first run fetches it")


def _inspect_detector(name: str) -> Finding:
    missing = find_missing_weights(name)
    if missing:
        text = f"not cached: {', '.join(missing)}; the first use fetches them"
        return Finding(name, "note", text)
    try:
        load_detector(name).detect(np.zeros((64, 64, 3), dtype=np.uint8))
    except DferError as error:
        return Finding(name, "wrong", error.line)
    return Finding(name, "ok", "works")
