"""What a run is computed on: the device, and the precision of its matrix products."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration

from dfercli.config import ComputeConfig, RunConfig, is_numbered, require_device, to_dict
from dfercli.errors import ConfigError
from dfercli.runs.config_diff import flatten

MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
"""accelerate's name of each precision."""


def resolve_device(name: str) -> str:
    """Return the device that a run takes: `cpu`, `cuda`, `cuda:1` (any number) or `mps`.

    Args:
        name: One of these, or `auto` for the first there is of CUDA, MPS and the CPU.

    Raises:
        ConfigError: This machine has no such device.
    """
    require_device(name)
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next((kind for kind, available in there.items() if available), "cpu")
    kind = name.partition(":")[0]
    if not there.get(kind, True):
        raise ConfigError(f"PyTorch finds no {kind} device here; give --device auto, or cpu")
    if is_numbered(name):
        _check_number(name)
    return name


def _check_number(device: str) -> None:
    count = torch.cuda.device_count()
    if int(device.partition(":")[2]) >= count:
        found = "1 CUDA device" if count == 1 else f"{count} CUDA devices"
        known = ", ".join(f"cuda:{number}" for number in range(count))
        raise ConfigError(
            f"this machine has {found}; --device {device} does not exist; known: {known}"
        )


def resolve_precision(name: str, device: str) -> str:
    """Give the precision that a run takes: `fp32`, `bf16` or `fp16`.

    Args:
        name: One of these, or `auto`.
        device: As `resolve_device` returns it.

    Raises:
        ConfigError: fp16 on a CPU, where it is emulated: hundreds of times slower than fp32.
    """
    if name == "auto":
        return "bf16" if multiplies_in_bf16(device) else "fp32"
    if name == "fp16" and device == "cpu":
        raise ConfigError("a CPU emulates fp16, which takes for ever; give --precision auto")
    return name


def multiplies_in_bf16(device: str) -> bool:
    """Whether the hardware multiplies bf16 matrices itself, so that it is the quicker precision.

    On CPUs these are AMX and AVX-512's BF16. On MPS it was not measured: no.
    """
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def resolve_compute(compute: ComputeConfig) -> ComputeConfig:
    """Decide what is left to this machine: the device and the precision.

    Raises:
        ConfigError: This machine has no such device, or not this precision.
    """
    device = resolve_device(compute.device)
    return replace(compute, device=device, precision=resolve_precision(compute.precision, device))


def check_trackers(compute: ComputeConfig) -> None:
    """Look whether the trackers are installed.

    Raises:
        ConfigError: One is not.
    """
    for name in compute.trackers:
        if find_spec(name) is None:
            raise ConfigError(f"{name} is not installed; `pip install '.[track]' in the checkout`")


def make_accelerator(compute: ComputeConfig, logs: Path | None = None) -> Accelerator:
    """Start accelerate as `resolve_compute` decided.

    It keeps one precision a process by itself; here each run has its own.

    Args:
        compute: What was decided.
        logs: Folder that trackers write to; None tracks nothing.

    Raises:
        ConfigError: A tracker is not installed.
    """
    check_trackers(compute)
    if is_numbered(compute.device):
        torch.cuda.set_device(compute.device)  # accelerate takes the current one
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    return Accelerator(
        mixed_precision=MIXED[compute.precision],
        cpu=compute.device == "cpu",
        log_with=(compute.trackers or None) if logs else None,
        project_dir=logs,
        dataloader_config=DataLoaderConfiguration(non_blocking=True),
    )


def describe_device(device: torch.device) -> str:
    """Name a device for the record."""
    if device.type == "cuda":
        return name_gpu(device)
    if device.type == "mps":
        return f"{platform.machine()} GPU through MPS"
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def name_gpu(device: torch.device | None = None) -> str:
    """Return the name of a CUDA device, by default the current one; never an error."""
    try:
        return str(torch.cuda.get_device_name(device))
    except Exception:  # of the driver, in many kinds; work on the device says more if it fails
        return "CUDA GPU of unknown name"


@contextmanager
def tracking(accelerator: Accelerator, config: RunConfig) -> Iterator[None]:
    """Tell the trackers what run begins, or goes on; and when it ends, however it does."""
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
