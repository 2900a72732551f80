"""Setting up accelerate and its trackers for a run."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration, DistributedDataParallelKwargs

from dfercli.config import ComputeConfig, RunConfig, is_numbered, to_dict
from dfercli.device import name_gpu
from dfercli.errors import ConfigError
from dfercli.runs.record import flatten

MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
"""Names of the precisions in accelerate."""


def check_trackers(compute: ComputeConfig) -> None:
    """Check that the trackers are installed.

    Raises:
        ConfigError: A tracker is not installed.
    """
    for name in compute.trackers:
        if find_spec(name) is None:
            raise ConfigError(f"{name} is not installed; `pip install '.[track]'` in the clone")


def make_accelerator(
    compute: ComputeConfig, logs: Path | None = None, has_stages: bool = False
) -> Accelerator:
    """Create the accelerator of a run; its trackers write into `logs`, if given.

    With `has_stages`, some parameters may have no gradient in an epoch.

    Resets accelerate's global state, which would keep the precision of the first run of a process.

    Raises:
        ConfigError: A tracker is not installed, or accelerate is set to use another device.
    """
    check_trackers(compute)
    if is_numbered(compute.device):
        torch.cuda.set_device(compute.device)  # accelerate uses the current device
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    accelerator = Accelerator(
        mixed_precision=MIXED[compute.precision],
        cpu=compute.device == "cpu",
        log_with=(compute.trackers or None) if logs else None,
        project_dir=logs,
        dataloader_config=DataLoaderConfiguration(non_blocking=True),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=has_stages)],
    )
    if accelerator.device.type != torch.device(compute.device).type:
        raise ConfigError(
            f"accelerate is set to use {accelerator.device.type} instead of {compute.device}; add "
            f"--device {accelerator.device.type}, or change its settings"
        )
    return accelerator


def describe_device(device: torch.device) -> str:
    """Describe a device for the run's record."""
    if device.type == "cuda":
        return name_gpu(device)
    if device.type == "mps":
        return f"{platform.machine()} GPU through MPS"
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


@contextmanager
def tracking(accelerator: Accelerator, config: RunConfig) -> Iterator[None]:
    """Start the trackers of a run, and finish them at the end of the block."""
    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in flatten(to_dict(config)).items()
    }
    if accelerator.log_with:
        Path(accelerator.logging_dir).mkdir(parents=True, exist_ok=True)
    wandb = {"name": config.title, "dir": accelerator.logging_dir}
    accelerator.init_trackers("dfer", plain, {"wandb": wandb})
    try:
        yield
    finally:
        for tracker in accelerator.trackers:
            tracker.finish()
