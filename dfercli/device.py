"""Devices and precisions: resolve `auto`, and divide the machine among workers."""

import os
from collections.abc import Sequence
from dataclasses import replace

import torch

from dfercli.config import (
    UNTRAINED,
    WITHOUT_CLIP,
    ComputeConfig,
    RunConfig,
    is_numbered,
    require_device,
)
from dfercli.errors import ConfigError
from dfercli.parallel import Share


def resolve_device(name: str) -> str:
    """Return the name of an available device: `cpu`, `cuda`, `cuda:1` (any number) or `mps`.

    `auto` is the first available one of CUDA, MPS and the CPU.

    Raises:
        ConfigError: This machine does not have the device.
    """
    require_device(name)
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next((kind for kind in available if available[kind]), "cpu")
    kind = name.partition(":")[0]
    if not available.get(kind, True):
        raise ConfigError(
            f"PyTorch finds no {kind} device on this machine; use --device auto or cpu"
        )
    count = torch.cuda.device_count()
    if is_numbered(name) and int(name.partition(":")[2]) >= count:
        devices = "1 CUDA device" if count == 1 else f"{count} CUDA devices"
        known = ", ".join(f"cuda:{number}" for number in range(count))
        raise ConfigError(f"--device {name} does not exist; this machine has {devices}: {known}")
    return name


def resolve_precision(name: str, device: str) -> str:
    """Return the precision on a resolved device: `fp32`, `bf16` or `fp16`.

    Raises:
        ConfigError: fp16 on a CPU, where it is emulated and hundreds of times slower than fp32.
    """
    if name == "auto":
        return "bf16" if multiplies_in_bf16(device) else "fp32"
    if name == "fp16" and device == "cpu":
        raise ConfigError("fp16 is emulated on CPUs and very slow; use --precision auto")
    return name


def multiplies_in_bf16(device: str) -> bool:
    """Return whether the hardware multiplies bf16 matrices, which makes bf16 faster than fp32.

    CPUs need AMX or AVX-512 BF16. False on MPS, which was not measured.
    """
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def resolve_compute(compute: ComputeConfig) -> ComputeConfig:
    """Replace `auto` by the device and the precision that this machine has.

    Raises:
        ConfigError: This machine lacks the device, or the device lacks the precision.
    """
    device = resolve_device(compute.device)
    return replace(compute, device=device, precision=resolve_precision(compute.precision, device))


def resolve_training(run: RunConfig) -> ComputeConfig:
    """Replace `auto` as `resolve_compute` does, by a precision in which the model can be trained.

    Networks that convolve train in fp32 on a CPU. In bf16, PyTorch's gradients of the weights of a
    convolution are wrong there for many shapes, such as a kernel of three frames over two, and the
    kernels that compute them write outside their memory (seen with PyTorch 2.14 on an AMD EPYC).

    Raises:
        ConfigError: This machine lacks the device, the device lacks the precision, or a network
            that convolves is to be trained in bf16 on a CPU.
    """
    compute, method = run.compute, run.model.method
    convolves = method in WITHOUT_CLIP and method not in UNTRAINED
    if convolves and resolve_device(compute.device) == "cpu":
        if compute.precision == "bf16":
            raise ConfigError(
                f"PyTorch computes wrong gradients of convolutions in bf16 on CPUs, so {method} "
                f"cannot be trained in it; use --precision auto or fp32"
            )
        if compute.precision == "auto":
            compute = replace(compute, precision="fp32")
    return resolve_compute(compute)


def name_gpu(device: torch.device | None = None) -> str:
    """Return the name of a CUDA device, by default the current one; never raise an error."""
    try:
        return str(torch.cuda.get_device_name(device))
    except Exception:  # drivers raise many kinds; a broken device is reported when it is used
        return "CUDA GPU of unknown name"


def share_this_machine(count: int, device: str) -> list[Share]:
    """Divide the threads and CUDA devices of this machine among `count` workers.

    Workers take turns over all CUDA devices, unless `device` has a number: then all use that one.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = [] if is_numbered(device) else list_devices(torch.cuda.device_count(), visible)
    return share_machine(count, torch.get_num_threads(), devices)


def share_machine(count: int, threads: int, devices: Sequence[str]) -> list[Share]:
    """Divide threads, and CUDA devices as in CUDA_VISIBLE_DEVICES, among `count` workers."""
    threads = max(1, threads // count)
    return [Share(threads, devices[i % len(devices)] if devices else None) for i in range(count)]


def list_devices(count: int, visible: str | None) -> list[str]:
    """Return the names of the `count` CUDA devices that torch sees, as in CUDA_VISIBLE_DEVICES.

    `visible` is the value of this variable, None if it is not set.
    """
    names = visible.split(",") if visible else [str(index) for index in range(count)]
    return [name.strip() for name in names[:count]]
