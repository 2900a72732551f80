"""An estimate of the time and the disk space that training takes on a CPU, before it starts."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dfercli.config import UNTRAINED, RunConfig
from dfercli.data.folds import select_rows
from dfercli.data.manifest import Manifest
from dfercli.device import resolve_training
from dfercli.models.flops import measure_cost
from dfercli.runs.run_folder import protocols_of
from dfercli.text import count_of

STEP_OVER_FORWARD = 3
"""Operations of a step relative to its forward pass: the backward pass takes twice as many."""

SHARES = {"fp32": 0.8, "bf16": 0.5}
"""Share of the rate of matrix products that training reaches (our choice: `benchmarks/train.py`
measured 0.86 and 0.59 for ViT-B/32, and small models reach less)."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

SIDE, PROBE_S = 1024, 0.2
"""Side of the matrices for measuring the rate, and how long to measure it (our choice)."""

BYTES = 4
"""Size of a parameter in single precision."""

STATES = 2 * 3
"""Copies of the parameters that a run saves to resume from: weights and two moments, twice while a
new state replaces the old one."""

LONG_S = 3600.0
"""Estimates above this are printed (our choice)."""


@dataclass(frozen=True)
class Estimate:
    """Time in seconds for some runs one after another, and disk space.

    `final_bytes` is the size of the checkpoints at the end; `peak_bytes` adds the state that the
    last run could resume from.
    """

    seconds: float
    final_bytes: int
    peak_bytes: int
    free_bytes: int

    def describe(self) -> str:
        """Return the estimate in one line."""
        text = f"{describe_time(self.seconds)} on this CPU, and {self.peak_bytes / 1e9:.0f} GB of "
        text += f"disk ({self.final_bytes / 1e9:.0f} GB at the end)"
        if self.free_bytes < self.peak_bytes:
            text += f"; only {self.free_bytes / 1e9:.0f} GB are free"
        return text


def estimate(configs: Sequence[RunConfig], runs: Path, manifest: Manifest) -> Estimate | None:
    """Estimate the time and the disk space that unfinished runs of one dataset take on this CPU.

    Returns None if the runs use another device or train nothing.
    """
    trained = [config for config in configs if config.model.method not in UNTRAINED]
    if not trained:
        return None
    computes = {config: resolve_training(config) for config in trained}
    if any(compute.device != "cpu" for compute in computes.values()):
        return None
    rates = {
        precision: SHARES[precision] * measure_matrix_rate(DTYPES[precision])
        for precision in {compute.precision for compute in computes.values()}
    }
    models = {config.model for config in trained}
    costs = {model: measure_cost(model, manifest.class_names) for model in models}
    seconds, final_bytes, state_bytes = 0.0, 0, 0
    for config in trained:
        cost = costs[config.model]
        train_clips = len(select_rows(manifest, "train", config))
        test_clips = len(select_rows(manifest, "test", config))
        passes = config.train.last_epoch * (STEP_OVER_FORWARD * train_clips + test_clips)
        seconds += 2 * cost.true_macs * passes / rates[computes[config].precision]
        final_bytes += len(protocols_of(config.train.val_fraction)) * BYTES * cost.trainable
        state_bytes = max(state_bytes, STATES * BYTES * cost.trainable)
    runs = runs.absolute()
    existing = next(path for path in (runs, *runs.parents) if path.is_dir())
    free_bytes = shutil.disk_usage(existing).free
    return Estimate(seconds, final_bytes, final_bytes + state_bytes, free_bytes)


def measure_matrix_rate(dtype: torch.dtype) -> float:
    """Return the rate of square matrix products on this CPU, in operations per second."""
    left, right = torch.randn(2, SIDE, SIDE).to(dtype)
    left @ right  # the first product is slower
    started_s, products = time.perf_counter(), 0
    while (spent_s := time.perf_counter() - started_s) < PROBE_S:
        left @ right
        products += 1
    return 2 * SIDE**3 * products / spent_s


def describe_time(seconds: float) -> str:
    """Return a duration in words, such as `3 hours` or `12 days`."""
    for unit, length_s in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = round(seconds / length_s)
        if count >= 2 or (count == 1 and unit == "minute"):
            return count_of(count, unit)
    return "less than a minute"
