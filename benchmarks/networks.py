"""Time training steps of networks of Table 1: `python benchmarks/networks.py [--sizes full] ...`.

One step of the optimizer as `dfer train` takes it, and in turns with it the loop that research code
writes: zero_grad, forward, backward and step of PyTorch's own optimizer, on the same network and
the same random clips. Both are in single precision. A ratio above 1 means that ours is faster; it
is the median over pairs of steps. On a busy machine, the ratio of this process's own CPU time says
more than that of the time that passed.
"""

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from statistics import median
from typing import Any

import torch
from accelerate import Accelerator
from machine import MACHINE, add_output_option, describe_machine
from torch import Tensor
from torch.nn import functional as F

from dfercli.config import NETWORKS, ComputeConfig, DataConfig, ModelConfig, RunConfig, TrainConfig
from dfercli.config.presets import apply_preset
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.device import resolve_compute
from dfercli.files import write_json
from dfercli.models.base import ExpressionModel, build_model
from dfercli.training.device import make_accelerator
from dfercli.training.recipe import (
    SGD_MOMENTUM,
    add_auxiliary,
    build_loss,
    build_optimizer,
    build_scheduler,
    find_auxiliary,
)
from dfercli.training.step import EagerGradients, OptimizerStep, TrainingSetup

SIZES = {"small": "small", "full": "paper"}
"""Preset of each size: width 0.25 and 48 px, or the settings of the paper."""

BATCHES = {"small": 8, "full": 2}
"""Clips per step."""

Step = Callable[[Tensor, Tensor], Any]
"""Takes a step on clips (N, T, 3, H, W), normalised, and labels (N,)."""


def make_config(name: str, size: str, device: str) -> RunConfig:
    """Return the run of a network of a size, with random weights."""
    run = RunConfig(
        data=DataConfig(dataset="none", manifest="", root=""),
        fold=1,
        model=ModelConfig(method=name),
        preset=SIZES[size],
        compute=ComputeConfig(device=device, precision="fp32"),
    )
    run = apply_preset(run)
    return replace(run, model=replace(run.model, weights="random"))


def make_ours(
    model: ExpressionModel, config: RunConfig, accelerator: Accelerator, batch: int
) -> Step:
    """Return the step of `dfer train`."""
    train = config.train
    model.returns_extras = bool(find_auxiliary(model, train))
    prepared, optimizer = accelerator.prepare(model, build_optimizer(model, train))
    scheduler = build_scheduler(optimizer, train, 100)
    counts = [1] * len(model.class_names)
    loss = add_auxiliary(build_loss(train, counts, accelerator.device), model, train)
    setup = TrainingSetup(model, prepared, optimizer, scheduler, accelerator, loss)
    step = OptimizerStep(setup, EagerGradients(setup), batch)

    def run(clips: Tensor, labels: Tensor) -> Tensor:
        return step(clips, labels, len(labels), len(labels))

    return run


def make_plain(model: ExpressionModel, train: TrainConfig) -> Step:
    """Return a step in plain PyTorch."""
    if train.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(
            model.parameters(),
            lr=train.lr,
            momentum=SGD_MOMENTUM,
            weight_decay=train.weight_decay,
        )
    else:
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=train.lr, weight_decay=train.weight_decay
        )

    def run(clips: Tensor, labels: Tensor) -> float:
        optimizer.zero_grad()
        logits = model(clips)
        loss = F.cross_entropy(logits, labels, label_smoothing=train.label_smoothing)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return run


def measure(name: str, size: str, device: str, pairs: int, batch: int | None) -> dict[str, Any]:
    """Time both steps of a network in turns, after one of each to set up."""
    config = make_config(name, size, device)
    accelerator = make_accelerator(resolve_compute(config.compute))
    torch.manual_seed(0)
    ours = build_model(config.model, BASIC_EXPRESSIONS).to(accelerator.device).train()
    plain = deepcopy(ours)
    count, side = batch or BATCHES[size], ours.image_size
    clips = torch.randn(count, config.model.num_frames, 3, side, side, device=accelerator.device)
    labels = torch.arange(count, device=accelerator.device) % len(BASIC_EXPRESSIONS)
    steps = {
        "ours": make_ours(ours, config, accelerator, count),
        "plain": make_plain(plain, config.train),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in steps}
    cpu: dict[str, list[float]] = {kind: [] for kind in steps}
    for pair in range(pairs + 1):
        order = list(steps) if pair % 2 else list(reversed(steps))
        for kind in order:
            spent_s, spent_cpu_s = _time(steps[kind], clips, labels)
            if pair:
                seconds[kind].append(spent_s)
                cpu[kind].append(spent_cpu_s)
    ratios, cpu_ratios = (
        [plain_s / ours_s for plain_s, ours_s in zip(times["plain"], times["ours"], strict=True)]
        for times in (seconds, cpu)
    )
    return {
        "clips_per_step": count,
        "frames": config.model.num_frames,
        "image_size": side,
        "optimizer": config.train.optimizer,
        "ours_clips_per_s": count / median(seconds["ours"]),
        "plain_clips_per_s": count / median(seconds["plain"]),
        "plain_over_ours": median(ratios),
        "cpu_plain_over_ours": median(cpu_ratios),
        "range": [min(ratios), max(ratios)],
    }


def _time(step: Step, clips: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return the seconds of a step, whose loss is read at its end, and those of the CPU."""
    started_s, cpu_s = time.perf_counter(), time.process_time()
    float(step(clips, labels))
    if clips.is_cuda:
        torch.cuda.synchronize(clips.device)
    return time.perf_counter() - started_s, time.process_time() - cpu_s


def main() -> None:
    """Print a line per network and size; `--write` also writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models",
        nargs="+",
        choices=NETWORKS,
        default=["former-dfer", "m3dfel", "resnet18-lstm"],
        metavar="MODEL",
    )
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--batch", type=int, help="clips per step; by default 8 for small and 2 for full"
    )
    parser.add_argument("--pairs", type=int, default=5, help="of timed steps")
    parser.add_argument("--write", action="store_true", help="write the figures down")
    parser.add_argument("--machine", default=MACHINE)
    add_output_option(parser)
    asked = parser.parse_args()
    results: dict[str, Any] = {}
    print("size   network             ours   plain clips/s   plain / ours  in CPU time  range")
    for size in asked.sizes:
        for name in asked.models:
            row = results[f"{name}, {size}"] = measure(
                name, size, asked.device, asked.pairs, asked.batch
            )
            low, high = row["range"]
            print(
                f"{size:6} {name:16}{row['ours_clips_per_s']:8.2f}{row['plain_clips_per_s']:8.2f}"
                f"{row['plain_over_ours']:23.3f}{row['cpu_plain_over_ours']:13.3f}  "
                f"{low:.3f} to {high:.3f}",
                flush=True,
            )
    if asked.write:
        settings = {"device": asked.device, "pairs": asked.pairs, "precision": "fp32"}
        page = {
            "machine": describe_machine("torch", "accelerate", "torchvision"),
            "settings": settings,
            "results": results,
        }
        write_json(asked.out / f"networks-{asked.machine}.json", page)


if __name__ == "__main__":
    main()
