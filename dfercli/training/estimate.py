"""What training will take on a CPU, estimated before it begins: nobody should wait for weeks."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dfercli.config import UNTRAINED, RunConfig
from dfercli.data.folds import select_rows
from dfercli.data.manifest import Manifest
from dfercli.device import resolve_compute
from dfercli.models.flops import measure_cost
from dfercli.runs.run_folder import protocols_of

STEP_OVER_FORWARD = 3
"""Operations of a step over those of its forward pass: the backward pass has two products each."""

SHARES = {"fp32": 0.8, "bf16": 0.5}
"""Share of the rate of matrix products that training reaches (our choice; `benchmarks/train.py`
measured 0.86 and 0.59 with ViT-B/32, and a small model reaches less)."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

SIDE, PROBE_S = 1024, 0.2
"""Side of the matrices that the rate is measured with, and for how long (our choice)."""

BYTES = 4
"""Of a parameter, which is kept in single precision."""

STATES = 2 * 3
"""Copies of the parameters in what a run goes on from: weights and two moments, and as much again
while it is replaced."""

LONG_S = 3600.0
"""An estimate above this is worth a line (our choice)."""


@dataclass(frozen=True)
class Estimate:
    """What some runs will take.

    Attributes:
        seconds: Of computing, one run after another.
        kept_bytes: Checkpoints on the disk in the end.
        most_bytes: The same, with what the last run goes on from.
        free_bytes: On the disk now.
    """

    seconds: float
    kept_bytes: int
    most_bytes: int
    free_bytes: int

    def describe(self) -> str:
        """Return the estimate in one line."""
        text = f"{describe_time(self.seconds)} on this CPU, and {self.most_bytes / 1e9:.0f} GB of "
        text += f"disk ({self.kept_bytes / 1e9:.0f} GB in the end)"
        if self.free_bytes < self.most_bytes:
            text += f"; only {self.free_bytes / 1e9:.0f} GB are free"
        return text


def estimate(configs: Sequence[RunConfig], runs: Path, manifest: Manifest) -> Estimate | None:
    """Estimate what runs that are not finished will take on this CPU.

    Args:
        configs: The runs, of one dataset.
        runs: Folder of all runs.
        manifest: The data of the runs.

    Returns:
        The estimate; None on another device, which its own speed decides.
    """
    trained = [config for config in configs if config.model.method not in UNTRAINED]
    if not trained:
        return None
    compute = resolve_compute(trained[0].compute)
    if compute.device != "cpu":
        return None
    rate = SHARES[compute.precision] * measure_matrix_rate(DTYPES[compute.precision])
    models = {config.model for config in trained}
    costs = {model: measure_cost(model, manifest.class_names) for model in models}
    seconds, kept, most = 0.0, 0, 0
    for config in trained:
        cost = costs[config.model]
        learnt = len(select_rows(manifest, "train", config))
        tested = len(select_rows(manifest, "test", config))
        passes = config.train.last_epoch * (STEP_OVER_FORWARD * learnt + tested)
        seconds += 2 * cost.true_macs * passes / rate
        kept += len(protocols_of(config.train.val_fraction)) * BYTES * cost.trainable
        most = max(most, STATES * BYTES * cost.trainable)
    there = next(path for path in (runs.absolute(), *runs.absolute().parents) if path.is_dir())
    return Estimate(seconds, kept, kept + most, shutil.disk_usage(there).free)


def measure_matrix_rate(dtype: torch.dtype) -> float:
    """Return the rate of square matrix products on this CPU, in operations per second."""
    left, right = torch.randn(2, SIDE, SIDE).to(dtype)
    left @ right  # the first product sets up what the others use
    began_s, products = time.perf_counter(), 0
    while (spent_s := time.perf_counter() - began_s) < PROBE_S:
        left @ right
        products += 1
    return 2 * SIDE**3 * products / spent_s


def describe_time(seconds: float) -> str:
    """Return a length of time as a person would say it, such as `3 hours` or `12 days`."""
    for unit, length_s in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = round(seconds / length_s)
        if count >= 2 or (count == 1 and unit == "minute"):
            return f"{count} {unit}{'s' * (count > 1)}"
    return "less than a minute"
