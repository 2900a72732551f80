"""How the steps of a run are executed: the fastest way that works here, in parts that fit."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor, nn

from dfercli.config import NETWORKS, WITHOUT_CLIP, ComputeConfig
from dfercli.data.augment import ChangeBatch, Changes, change_batch, plan_changes
from dfercli.data.loaders import EpochBatches
from dfercli.data.transforms import normalise, pixel_statistics
from dfercli.errors import ConfigError, first_line
from dfercli.models.backbone import run_block
from dfercli.models.base import ExpressionModel, assemble
from dfercli.training.step import (
    EagerGradients,
    FixedGradients,
    FixedModel,
    OptimizerStep,
    TrainingSetup,
)

COMPILE_FROM_STEPS = 2000
"""Steps of a run from which compiling pays off: it takes half a minute longer than capturing and
saves 17 ms per step of 32 clips (`benchmarks/gpu.py` on an H200)."""

SLOWER = {"compiled": "captured", "captured": "eager"}
"""What to try next where a way does not work."""


@dataclass(frozen=True)
class Execution:
    """How the passes of a run are executed.

    `way` is `eager`, `captured` or `compiled`; `tester` is the model for evaluation; `change`
    augments the clips of a batch on a GPU; `remark` says why a faster way was not taken, if one
    failed.
    """

    way: str
    step: OptimizerStep
    tester: nn.Module
    change: ChangeBatch = change_batch
    remark: str = ""


def plan_execution(
    setup: TrainingSetup, compute: ComputeConfig, share: int, num_steps: int
) -> Execution:
    """Choose how to execute the steps of a run, and how many clips to take at once.

    `share` is the number of clips of a step that this process takes.

    Raises:
        ConfigError: The clips do not fit in memory, or the requested way does not work here.
    """
    if setup.model.reads_batches:
        _check_whole_batches(setup.model, compute)
        step = OptimizerStep(setup, EagerGradients(setup), share)
        return Execution("eager", step, setup.prepared)
    micro_batch = math.ceil(share / compute.accumulate)
    if compute.batch == "auto":
        micro_batch = find_micro_batch(setup, micro_batch)
    way = choose_way(compute, setup.accelerator, num_steps)
    return fit_execution(setup, compute, way, micro_batch, share)


def _check_whole_batches(model: ExpressionModel, compute: ComputeConfig) -> None:
    """Refuse to split or pad the batches of a model whose loss depends on all of a batch."""
    split = compute.accumulate > 1 or compute.batch == "auto"
    if split or compute.steps not in ("auto", "eager"):
        option = "--accumulate or --batch auto" if split else f"--steps {compute.steps}"
        raise ConfigError(
            f"{model.config.method} computes a step over its whole batch, so {option} would "
            f"change it; remove it, or use a smaller --batch-size"
        )


def check_smallest_share(model: ExpressionModel, batches: EpochBatches) -> None:
    """Check that batch normalisation has several values even in the smallest share of a batch.

    Raises:
        ConfigError: The share is one clip, which gives a norm a single value per channel.
    """
    config = model.config
    is_network = config.method in NETWORKS and config.method in WITHOUT_CLIP
    if not is_network or batches.smallest_share > 1:
        return
    with torch.device("meta"):
        trial = assemble(config, model.class_names, None)
        clips = torch.zeros(_clip_shape(model, 1))
    try:
        trial.train()(clips)
    except ValueError as error:
        raise ConfigError(
            f"the last batch of an epoch has one clip per process, too little for the batch "
            f"normalisation of {config.method} at {model.image_size} px; use another --batch-size, "
            f"or a larger --image-size"
        ) from error


def choose_way(compute: ComputeConfig, accelerator: Accelerator, num_steps: int) -> str:
    """Return how to execute the steps of a run: `eager`, `captured` or `compiled`.

    Raises:
        ConfigError: Captured steps were requested without CUDA, or with several processes.
    """
    if compute.steps == "captured" and not can_capture(accelerator):
        raise ConfigError(
            "captured steps need a single process on a CUDA device; omit --steps, or use "
            "--steps compiled"
        )
    if compute.steps != "auto":
        return compute.steps
    if accelerator.device.type != "cuda":
        return "eager"
    if num_steps >= COMPILE_FROM_STEPS:
        return "compiled"
    return "captured" if can_capture(accelerator) else "eager"


def can_capture(accelerator: Accelerator) -> bool:
    """Return whether passes can be replayed as CUDA graphs."""
    return accelerator.device.type == "cuda" and accelerator.num_processes == 1


def find_micro_batch(setup: TrainingSetup, size: int) -> int:
    """Halve a number of clips until an eager pass over them fits in memory, on all devices.

    Raises:
        ConfigError: Not even one clip fits.
    """
    while not _fits_everywhere(setup, size):
        if size == 1:
            raise ConfigError("a single clip does not fit in memory; use a smaller model")
        size = math.ceil(size / 2)
    return size


def _fits_everywhere(setup: TrainingSetup, size: int) -> bool:
    fits = torch.tensor([int(_fits_here(setup, size))], device=setup.accelerator.device)
    return bool(setup.accelerator.gather(fits).min())


def _fits_here(setup: TrainingSetup, size: int) -> bool:
    """Try forward and backward of `size` clips beside what the optimizer will hold."""
    model, device = setup.model, setup.accelerator.device
    model.train()
    try:
        with reserving_moments(model):
            clips = torch.zeros(_clip_shape(model, size), dtype=torch.uint8, device=device)
            # Not `prepared`, which would synchronise processes.
            outputs = model(normalise(clips, model.config.pixels))
            loss = setup.loss(outputs, torch.zeros(size, dtype=torch.long, device=device))
            setup.accelerator.backward(loss * 0)
    except RuntimeError as error:
        if not should_reduce_batch_size(error):
            raise
        return False
    finally:
        setup.optimizer.zero_grad()
        clear_device_cache(garbage_collection=True)
    return True


@contextmanager
def reserving_moments(model: ExpressionModel) -> Iterator[None]:
    """Reserve the memory of AdamW's state: two numbers per weight.

    On a CPU this reserves nothing, as memory is not taken before it is written to.
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    moments = [torch.empty_like(p) for p in learning for _ in range(2)]
    yield
    del moments


def fit_execution(
    setup: TrainingSetup, compute: ComputeConfig, way: str, micro_batch: int, share: int
) -> Execution:
    """Set up the steps, with as many clips at once as fit in memory.

    `micro_batch` is halved until it fits if `compute.batch` is `auto`.

    Raises:
        ConfigError: The clips do not fit in memory, or the requested way does not work here.
    """
    while True:
        try:
            return _build_execution(
                setup, way, micro_batch, micro_batch < share, required=compute.steps != "auto"
            )
        except torch.OutOfMemoryError as error:
            if compute.batch != "auto" or micro_batch == 1:
                raise ConfigError(
                    f"{micro_batch} clips at once do not fit in the device's memory; use "
                    f"--batch auto"
                ) from error
            micro_batch = math.ceil(micro_batch / 2)
        clear_device_cache(garbage_collection=True)  # the error referenced what did not fit


def _build_execution(
    setup: TrainingSetup, way: str, micro_batch: int, accumulate: bool, required: bool
) -> Execution:
    """Set up the steps in some way or, if it does not work, in the next slower one.

    Raises:
        ConfigError: The way does not work here and is required.
        OutOfMemoryError: The clips that are taken at once do not fit in memory.
    """
    remarks: list[str] = []
    while way != "eager":
        try:
            with reserving_moments(setup.model):  # which must fit as well
                return _build_fixed(setup, way, micro_batch, accumulate, "; ".join(remarks))
        except Exception as error:  # compilers and drivers raise many types
            _clean_up(setup)
            if _ran_out_of_memory(error):
                raise torch.OutOfMemoryError(first_line(error)) from error
            slower = SLOWER[way] if can_capture(setup.accelerator) else "eager"
            failure = f"{way} steps do not work here ({first_line(error)})"
            if required:
                raise ConfigError(f"{failure}; omit --steps, or use --steps {slower}") from error
            remarks.append(f"{failure}; using {slower} steps, which are slower")
            way = slower
        clear_device_cache(garbage_collection=True)  # the error referenced what was built
    _clean_up(setup)
    step = OptimizerStep(setup, EagerGradients(setup), micro_batch)
    return Execution("eager", step, setup.prepared, remark="; ".join(remarks))


def _clean_up(setup: TrainingSetup) -> None:
    """Drop compiled functions, and gradients left by a graph that was captured but not replayed."""
    if hasattr(setup.model.backbone, "run_block"):
        setup.model.backbone.run_block = run_block
        vars(setup.model.backbone).pop("embed_patches", None)
    setup.optimizer.zero_grad()


def _ran_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one of its causes, says that memory is full."""
    if error is None:
        return False
    # A driver without memory for a graph does not raise OutOfMemoryError.
    full = isinstance(error, torch.OutOfMemoryError) or "CUDA error: out of memory" in str(error)
    return full or _ran_out_of_memory(error.__cause__ or error.__context__)


def _build_fixed(
    setup: TrainingSetup, way: str, micro_batch: int, accumulate: bool, remark: str
) -> Execution:
    """Set up captured or compiled steps."""
    device = setup.accelerator.device
    change: ChangeBatch = change_batch
    if way == "compiled":
        _compile_blocks(setup.model)
    clips = torch.zeros(_clip_shape(setup.model, micro_batch), device=device)
    if way == "compiled" and device.type != "cpu":  # a CPU augments clip by clip
        change = torch.compile(change_batch, fullgraph=True, dynamic=False)
        _try_change(change, clips, setup.model.config.pixels)
    labels = torch.zeros(micro_batch, dtype=torch.long, device=device)
    if setup.shares:
        labels = torch.zeros(micro_batch, len(setup.model.class_names), device=device)
    capture = can_capture(setup.accelerator)
    gradients = FixedGradients(setup, clips, labels, accumulate, capture)
    tester = FixedModel(setup.prepared, torch.zeros_like(clips), capture)
    return Execution(way, OptimizerStep(setup, gradients, micro_batch), tester, change, remark)


def _clip_shape(model: ExpressionModel, size: int) -> tuple[int, ...]:
    side = model.image_size
    return size, model.config.num_frames, 3, side, side


def _try_change(change: ChangeBatch, clips: Tensor, pixels: str) -> None:
    """Augment clips once, so that what cannot be compiled here fails here."""
    height, width = clips.shape[-2:]
    plan = plan_changes([Changes()] * len(clips), height, width, clips.device)
    change(clips.to(torch.uint8), plan, pixel_statistics(clips.device, pixels))


def _compile_blocks(model: ExpressionModel) -> None:
    """Compile the parts of a model that take most of the time, once for all blocks.

    The whole model would take minutes to compile. Shapes are static, as `FixedGradients` and
    `FixedModel` always run on the same number of clips.
    """
    torch.compiler.reset()  # drops what other runs of this process have compiled
    options: dict[str, Any] = {"fullgraph": True, "dynamic": False}
    backbone = model.backbone
    backbone.run_block = torch.compile(run_block, **options)
    compiled = torch.compile(backbone.embed_patches, **options)
    backbone.embed_patches = compiled
