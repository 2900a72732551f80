"""Which way the steps of a run are taken: the quickest that works on its device."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache
from torch import Tensor, nn

from dfercli.config import ComputeConfig
from dfercli.data.augment import ChangeBatch, Changes, change_batch, plan_changes
from dfercli.data.transforms import pixel_statistics
from dfercli.errors import ConfigError
from dfercli.models.backbone import run_block
from dfercli.models.base import ExpressionModel
from dfercli.system_errors import first_line
from dfercli.training.step import EagerGradients, FixedGradients, FixedModel
from dfercli.training.trainer import Trainer

COMPILE_FROM_STEPS = 2000
"""Steps of a run from which compiling pays by itself: it takes about half a minute, and is expected
to save more than 10 ms per step (our choice)."""

SLOWER = {"compiled": "captured", "captured": "eager"}
"""What is tried where a way does not work."""


@dataclass(frozen=True)
class Steps:
    """How a run's passes run.

    Attributes:
        way: `eager`, `captured` or `compiled`.
        tester: The model as it is tested.
        change: Changes the training clips of a batch on a GPU.
        remark: Why a quicker way was not taken; empty where it was.
    """

    way: str
    tester: nn.Module
    change: ChangeBatch = change_batch
    remark: str = ""


def choose_way(compute: ComputeConfig, accelerator: Accelerator, steps: int) -> str:
    """Return how the steps of a run are to be taken: `eager`, `captured` or `compiled`.

    Args:
        compute: What was asked for.
        accelerator: Of the run's device and processes.
        steps: That the run will take.

    Raises:
        ConfigError: Captured steps were asked for where there is no CUDA, or by several processes.
    """
    if compute.steps == "captured" and not can_capture(accelerator):
        raise ConfigError(
            "captured steps need one process on a CUDA device; leave --steps out, or give "
            "--steps compiled"
        )
    if compute.steps != "auto":
        return compute.steps
    if accelerator.device.type != "cuda":
        return "eager"
    if steps >= COMPILE_FROM_STEPS:
        return "compiled"
    return "captured" if can_capture(accelerator) else "eager"


def can_capture(accelerator: Accelerator) -> bool:
    """Return whether passes can be replayed as CUDA graphs."""
    return accelerator.device.type == "cuda" and accelerator.num_processes == 1


def fit_steps(trainer: Trainer, way: str, share: int, compute: ComputeConfig) -> Steps:
    """Make a trainer take its steps in some way, in as large parts as fit in memory.

    Args:
        trainer: Its `gradients` are replaced; its `micro_batch` is halved where it may be.
        way: Of `choose_way`.
        share: Clips of a step that fall to this process.
        compute: Whether the parts may be made smaller, and whether the way was asked for.

    Raises:
        ConfigError: The clips that are taken at once do not fit in memory, or the way that was
            asked for does not work here.
    """
    while True:
        accumulate = trainer.micro_batch < share
        try:
            return prepare_steps(trainer, way, accumulate, insist=compute.steps != "auto")
        except torch.OutOfMemoryError as error:
            if compute.batch != "auto" or trainer.micro_batch == 1:
                raise ConfigError(
                    f"{trainer.micro_batch} clips at once do not fit in the device's memory; give "
                    f"--batch auto"
                ) from error
            trainer.micro_batch = math.ceil(trainer.micro_batch / 2)
        clear_device_cache(garbage_collection=True)  # the error has held what did not fit


def prepare_steps(trainer: Trainer, way: str, accumulate: bool, insist: bool) -> Steps:
    """Make a trainer take its steps in some way, or where that does not work in the next slower.

    Args:
        trainer: Its `gradients` are replaced.
        way: Of `choose_way`.
        accumulate: Whether several parts add up to one step.
        insist: Raise an error instead of taking a slower way.

    Raises:
        ConfigError: The way does not work here and it is insisted on.
        OutOfMemoryError: The clips that are taken at once do not fit in memory.
    """
    remarks: list[str] = []
    while way != "eager":
        try:
            # What the optimizer will hold must fit as well.
            with trainer.reserving_moments():
                return _take_way(trainer, way, accumulate, "; ".join(remarks))
        except Exception as error:  # of compilers and drivers, which raise all kinds
            _take_eager_way(trainer)
            if _ran_out_of_memory(error):
                raise torch.OutOfMemoryError(first_line(error)) from error
            slower = SLOWER[way] if can_capture(trainer.accelerator) else "eager"
            why = f"{way} steps do not work here ({first_line(error)})"
            if insist:
                raise ConfigError(f"{why}; leave --steps out, or give --steps {slower}") from error
            remarks.append(f"{why}; taking {slower} steps, which are slower")
            way = slower
        clear_device_cache(garbage_collection=True)  # the error has held what the way has built
    _take_eager_way(trainer)
    return Steps("eager", trainer.prepared, remark="; ".join(remarks))


def _take_eager_way(trainer: Trainer) -> None:
    """Take steps kernel by kernel, and let go of all that another way may have left."""
    _leave_uncompiled(trainer.model)
    trainer.gradients = EagerGradients(
        trainer.prepared, trainer.optimizer, trainer.accelerator, trainer.loss
    )
    trainer.gradients.clear()  # a graph that was captured and never replayed leaves noise in them


def _ran_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error, or one that it came of, says that memory is full."""
    if error is None:
        return False
    # A driver that has no room for a graph raises no OutOfMemoryError.
    full = isinstance(error, torch.OutOfMemoryError) or "CUDA error: out of memory" in str(error)
    return full or _ran_out_of_memory(error.__cause__ or error.__context__)


def _take_way(trainer: Trainer, way: str, accumulate: bool, remark: str) -> Steps:
    model, device, size = trainer.model, trainer.accelerator.device, trainer.micro_batch
    change: ChangeBatch = change_batch
    if way == "compiled":
        _compile(model)
    side = model.backbone.image_size
    clips = torch.zeros(size, model.config.num_frames, 3, side, side, device=device)
    if way == "compiled" and device.type != "cpu":  # a CPU changes clip by clip
        change = torch.compile(change_batch, fullgraph=True, dynamic=False)
        _try_change(change, clips)
    labels = torch.zeros(size, dtype=torch.long, device=device)
    if trainer.mixup is not None:
        labels = torch.zeros(size, trainer.mixup.num_classes, device=device)
    capture = can_capture(trainer.accelerator)
    trainer.gradients = FixedGradients(
        trainer.prepared, trainer.accelerator, trainer.loss, clips, labels, accumulate, capture
    )
    tester = FixedModel(trainer.prepared, torch.zeros_like(clips), capture)
    return Steps(way, tester, change, remark)


def _try_change(change: ChangeBatch, clips: Tensor) -> None:
    """Change clips once, so that what cannot be compiled here fails here."""
    height, width = clips.shape[-2:]
    plan = plan_changes([Changes()] * len(clips), height, width, clips.device)
    change(clips.to(torch.uint8), plan, pixel_statistics(clips.device))


def _compile(model: ExpressionModel) -> None:
    """Compile the parts of a model that take the time, once for all blocks.

    The whole model would be one graph as well, but take minutes to compile. Shapes are fixed:
    `FixedGradients` and `FixedModel` keep to one number of clips.
    """
    torch.compiler.reset()  # what other runs of this process have compiled
    options: dict[str, Any] = {"fullgraph": True, "dynamic": False}
    backbone = model.backbone
    backbone.run_block = torch.compile(run_block, **options)
    compiled = torch.compile(backbone.embed_patches, **options)
    backbone.embed_patches = compiled  # type: ignore[method-assign]


def _leave_uncompiled(model: ExpressionModel) -> None:
    model.backbone.run_block = run_block
    vars(model.backbone).pop("embed_patches", None)
