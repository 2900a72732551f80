"""Time training steps: `python benchmarks/train.py [--device cuda] [--precision bf16] ...`.

The full model with random weights on random clips, as `dfer train` takes its steps; a reference
step in turns with it; and the device's own rate of matrix products, measured in the same run. The
reference is how research code does it: the same backbone through open_clip, the mean over frames,
the text tower at every step, an optimizer that is not fused. Shares of the matrix rate are of true
operations: multiply-adds of the forward pass counted by `dfer ablate --dry-run`, three times for a
step. With --manifest, clips are loaded and changed as in training, from the cache or from images.
"""

import argparse
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import open_clip
import torch
from accelerate import Accelerator
from machine import MACHINE, add_output_option, describe_machine
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from dfercli.config import STEPS, ComputeConfig, DataConfig, ModelConfig, RunConfig, TrainConfig
from dfercli.data.augment import Augmenter
from dfercli.data.loaders import EpochBatches, build_dataset, build_train_loader
from dfercli.data.manifest import read_manifest
from dfercli.data.sources.base import BASIC_EXPRESSIONS
from dfercli.device import resolve_compute
from dfercli.files import write_json
from dfercli.models.base import build_model
from dfercli.models.dfer import contrastive_loss
from dfercli.models.flops import measure_cost
from dfercli.models.pretrained import build_untrained
from dfercli.training.device import make_accelerator
from dfercli.training.execution import Execution, fit_execution
from dfercli.training.loop import train_epoch
from dfercli.training.recipe import build_optimizer, build_scheduler
from dfercli.training.step import EagerGradients, Gradients, OptimizerStep, TrainingSetup

STEP_OVER_FORWARD = 3
"""Operations of a step over those of its forward pass: the backward pass has two products each."""

DFEW_CLIPS = 9356
"""Training clips of a fold of DFEW. Source: its published lists."""

TABLE_2 = 4
"""Variants in Table 2."""


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matrix_rate(device: torch.device, dtype: torch.dtype, sides: Sequence[int] = ()) -> float:
    """Return the best rate of square matrix products, in operations per second.

    Args:
        device: Where they are computed.
        dtype: Of the matrices.
        sides: Their sizes; by default three that suit the kind of device.
    """
    best = 0.0
    usual = (1024, 2048, 4096) if device.type == "cpu" else (4096, 8192, 12288)
    for side in sides or usual:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        for _ in range(6):
            wait(device)
            started = time.perf_counter()
            a @ b
            wait(device)
            best = max(best, 2 * side**3 / (time.perf_counter() - started))
    return best


class Reference(nn.Module):
    """A plain CLIP: frames through open_clip, their mean, and the names through the text tower.

    Args:
        backbone: Name of an open_clip model.
        class_names: K classes.
    """

    def __init__(self, backbone: str, class_names: list[str]) -> None:
        super().__init__()
        self.clip = build_untrained(backbone)
        self.register_buffer("names", open_clip.get_tokenizer(backbone)(class_names))

    def forward(self, clips: Tensor) -> Tensor:
        """Give the logits (B, K) of clips (B, T, 3, H, W), normalised."""
        frames = self.clip.encode_image(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        texts = F.normalize(self.clip.encode_text(self.names), dim=-1)
        return self.clip.logit_scale.exp() * F.normalize(frames.mean(1), dim=-1) @ texts.T


class MadeClips:
    """The same random clips at every step, on the device and as the model reads them.

    Args:
        config: The run, for the shape of the clips.
        side: Of a frame, in pixels.
        device: Where they lie.
        steps: How many batches.
    """

    def __init__(self, config: RunConfig, side: int, device: torch.device, steps: int) -> None:
        size = config.train.batch_size
        self.batch_sampler = EpochBatches(size * steps, size, config.seed)
        clips = torch.randn(size, config.model.num_frames, 3, side, side, device=device)
        none = torch.zeros(size, dtype=torch.long)
        self._batch = clips, torch.arange(size) % len(BASIC_EXPRESSIONS), (none, none)

    def __iter__(self) -> Iterator[Any]:
        return iter([self._batch] * len(self.batch_sampler))


class Clock:
    """Tells how long parts of a step take, and waits for the device at their ends.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of a block."""
        wait(self._device)
        started = time.perf_counter()
        yield
        wait(self._device)
        self.seconds[name] += time.perf_counter() - started

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Give a function that does the same and is counted."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return run


def count_launches(run: Callable[[], Any], steps: int) -> dict[str, float]:
    """Return what one step asks of a GPU: kernels that are launched, graphs, copies and waits.

    Args:
        run: Takes the steps.
        steps: How many.
    """
    names = {
        "kernels": (
            "cudaLaunchKernel",
            "cudaLaunchKernelExC",
            "cuLaunchKernel",
            "cuLaunchKernelEx",
        ),
        "graphs": ("cudaGraphLaunch",),
        "copies": ("cudaMemcpyAsync", "cudaMemsetAsync"),
        "waits": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaMemcpy"),
    }
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
    with profile(activities=activities) as profiled:
        run()
    counts = {event.key: event.count for event in profiled.key_averages()}
    return {kind: sum(counts.get(n, 0) for n in named) / steps for kind, named in names.items()}


class TimedModel(nn.Module):
    """A model whose forward pass is counted."""

    def __init__(self, model: nn.Module, clock: Clock) -> None:
        super().__init__()
        self.model = model
        self.forward = clock.timed("forward", model)


class TimedGradients:
    """Gradients whose passes, forward and backward in one, are counted."""

    def __init__(self, gradients: Gradients, clock: Clock) -> None:
        self.add = clock.timed("forward and backward", gradients.add)
        self.clear = gradients.clear


class TimedLoader:
    """A loader whose batches are waited for on the clock."""

    def __init__(self, loader: Any, clock: Clock) -> None:
        self.batch_sampler = loader.batch_sampler
        self._loader, self._clock = loader, clock

    def __iter__(self) -> Iterator[Any]:
        batches, end = iter(self._loader), object()
        while True:
            with self._clock.part("waiting for data"):
                batch = next(batches, end)
            if batch is end:
                return
            yield batch


class Steps:
    """Training steps as `dfer train` takes them, on clips that are made.

    Args:
        config: The run.
        accelerator: Of its device and precision.
        model: What is trained; a model of ours, or the reference.
        optimizer: Its optimizer.
        steps: Of a pass.
        way: How they are taken: `eager`, `captured` or `compiled`.
    """

    def __init__(
        self,
        config: RunConfig,
        accelerator: Accelerator,
        model: Any,
        optimizer: torch.optim.Optimizer,
        steps: int,
        way: str = "eager",
    ) -> None:
        self.device, self.steps, size = accelerator.device, steps, config.train.batch_size
        self.side: int = open_clip.get_model_config(config.model.backbone)["vision_cfg"][
            "image_size"
        ]
        prepared, optimizer = accelerator.prepare(model, optimizer)
        scheduler = build_scheduler(optimizer, config.train, 1)
        self.setup = TrainingSetup(
            model, prepared, optimizer, scheduler, accelerator, contrastive_loss
        )
        started = time.perf_counter()
        step = OptimizerStep(self.setup, EagerGradients(self.setup), size)
        self.execution = Execution(way, step, prepared)
        if way != "eager":
            compute = replace(config.compute, steps=way)
            self.execution = fit_execution(self.setup, compute, way, size, size)
        self.step = self.execution.step
        self.setup_s = time.perf_counter() - started
        self.loader: Any = MadeClips(config, self.side, self.device, steps)
        self.augment: Any = lambda clips, views, indices: clips

    def load(self, config: RunConfig) -> None:
        """Take the clips of the run's data from now on, as training loads and changes them."""
        manifest = read_manifest(Path(config.data.manifest))
        dataset = build_dataset(manifest, "train", config, self.side)
        batches = EpochBatches(len(dataset), config.train.batch_size, config.seed)
        self.loader = build_train_loader(dataset, batches, config.data.workers)
        self.augment = Augmenter(config.augment, config.seed, self.execution.change)

    def run(self) -> float:
        """Run a pass, and return its clips per second."""
        batches = self.loader.batch_sampler
        wait(self.device)
        started = time.perf_counter()
        train_epoch(self.step, self.loader, batches, self.augment, lambda *_: None)
        wait(self.device)
        batches.epoch += 1
        return batches.length / (time.perf_counter() - started)

    @torch.inference_mode()
    def test(self) -> float:
        """Run a pass without learning, and return its clips per second."""
        clips = torch.cat([clips for clips, _, _ in self.loader][:1])
        model = self.execution.tester.eval()
        wait(self.device)
        started = time.perf_counter()
        for _ in range(self.steps):
            model(clips)
        wait(self.device)
        return self.steps * len(clips) / (time.perf_counter() - started)

    def profile(self) -> dict[str, float]:
        """Return each part's share of the time; waiting at each end makes all a little slower."""
        clock, setup = Clock(self.device), self.setup
        accelerator, optimizer, loader, augment = (
            setup.accelerator,
            setup.optimizer,
            self.loader,
            self.augment,
        )
        backward, optimizer_step = accelerator.backward, optimizer.step
        gradients: Gradients
        if self.execution.way == "eager":
            timed = TimedModel(setup.prepared, clock)
            gradients = EagerGradients(replace(setup, prepared=timed))
            accelerator.backward = clock.timed("backward", backward)
        else:
            gradients = TimedGradients(self.step.gradients, clock)
        self.step = replace(self.step, gradients=gradients)
        optimizer.step = clock.timed("optimizer", optimizer_step)  # type: ignore[method-assign]
        self.loader, self.augment = TimedLoader(loader, clock), clock.timed("changes", augment)
        with clock.part("all"):
            self.run()
        self.step, accelerator.backward = self.execution.step, backward
        optimizer.step = optimizer_step  # type: ignore[method-assign]
        self.loader, self.augment = loader, augment
        whole = clock.seconds.pop("all")
        shares = {name: seconds / whole for name, seconds in clock.seconds.items()}
        return shares | {"rest": 1 - sum(shares.values())}


def count_reference_macs(reference: Reference, num_frames: int, batch_size: int) -> float:
    """Count the reference's multiply-adds a clip; the text tower's are the whole batch's."""
    side = int(reference.clip.visual.image_size[0])
    clips = torch.zeros(batch_size, num_frames, 3, side, side, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        deepcopy(reference).to("meta")(clips)
    return counter.get_total_flops() / 2 / batch_size


def measure(
    config: RunConfig, way: str, steps: int, repeats: int, loaded: bool, sides: Sequence[int] = ()
) -> dict[str, Any]:
    """Measure the full model and the reference in turns, and print it on the way."""
    config = replace(config, compute=resolve_compute(config.compute))
    accelerator = make_accelerator(config.compute)
    device, size = accelerator.device, config.train.batch_size
    torch.manual_seed(0)
    model = build_model(config.model, BASIC_EXPRESSIONS)
    reference = Reference(config.model.backbone, list(BASIC_EXPRESSIONS))
    reference.clamp_logit_scale = lambda: None  # type: ignore[assignment]
    macs = {
        "full model": measure_cost(config.model, BASIC_EXPRESSIONS).true_macs,
        "reference": count_reference_macs(reference, config.model.num_frames, size),
    }
    made = {
        "full model": Steps(
            config, accelerator, model, build_optimizer(model, config.train), steps, way
        ),
        "reference": Steps(
            config, accelerator, reference, torch.optim.AdamW(reference.parameters()), steps
        ),
    }
    full = made["full model"]
    print(f"{full.execution.way} steps, ready after {full.setup_s:.1f} s")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    peak = matrix_rate(device, dtype[config.compute.precision], sides)
    print(f"matrix products: {peak / 1e9:.0f} GFLOP/s in {config.compute.precision}, {device}")
    speeds: dict[str, list[float]] = {name: [] for name in made}
    for repeat in range(repeats + 1):
        for name, each in made.items():
            speed = each.run()
            if repeat:  # the first pass sets up
                speeds[name].append(speed)
    peak = max(peak, matrix_rate(device, dtype[config.compute.precision], sides))
    results: dict[str, Any] = {"matrix_gflops": peak / 1e9}
    for name, values in speeds.items():
        speed = median(values)
        rate = speed * macs[name] * 2 * STEP_OVER_FORWARD
        results[name] = {
            "clips_per_s": speed,
            "true_gmacs_a_clip": macs[name] / 1e9,
            "share_of_matrix_rate": rate / peak,
            "parts": made[name].profile(),
        }
        if device.type == "cuda":
            results[name]["per_step"] = count_launches(made[name].run, steps)
        print(f"{name}: {speed:.3g} clips/s, {rate / peak:.1%} of the matrix rate")
        print("  " + ", ".join(f"{k} {v:.1%}" for k, v in results[name]["parts"].items()))
    del made["reference"]
    results["testing"] = {"clips_per_s": max(full.test() for _ in range(2))}
    print(f"testing: {results['testing']['clips_per_s']:.3g} clips/s")
    results["memory_mb"] = peak_memory_mb(device)
    print(f"peak memory: {results['memory_mb']:.0f} MB")
    if loaded:
        full.load(config)
        full.run()
        speed = median(full.run() for _ in range(repeats))
        results["with loader"] = {"clips_per_s": speed, "parts": full.profile()}
        print(f"with the loader: {speed:.3g} clips/s")
        print("  " + ", ".join(f"{k} {v:.1%}" for k, v in results["with loader"]["parts"].items()))
    hours = DFEW_CLIPS * 5 * 100 / results["full model"]["clips_per_s"] / 3600
    results["projected_hours"] = {"5 folds of DFEW": hours, "Table 2": hours * TABLE_2}
    print(f"at this rate, 5 folds x 100 epochs on DFEW: {hours:.3g} h of training steps")
    return results


def peak_memory_mb(device: torch.device) -> float:
    """Give the most memory that was held: the device's, or on a CPU the process's."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Print the figures, and write them down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--way", choices=STEPS, default="auto", help="as `dfer train --steps`")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2, help="of a pass")
    parser.add_argument("--repeats", type=int, default=3, help="passes")
    parser.add_argument("--backbone", default=ModelConfig.backbone)
    parser.add_argument("--manifest", type=Path, help="also train on its clips, fold 1 left out")
    parser.add_argument("--cache", help="folder of decoded frames")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--sides", nargs="+", type=int, default=[], help="of the timed matrices")
    parser.add_argument("--machine", default=MACHINE)
    add_output_option(parser)
    given = parser.parse_args()
    data = DataConfig(dataset="made", manifest="", root="", workers=given.workers)
    if given.manifest:
        root = read_manifest(given.manifest).root
        data = DataConfig(
            dataset="data",
            manifest=str(given.manifest),
            root=root,
            workers=given.workers,
            cache=given.cache,
        )
    config = RunConfig(
        data=data,
        fold=1,
        model=ModelConfig(backbone=given.backbone, weights="random"),
        train=TrainConfig(batch_size=given.batch_size),
        compute=ComputeConfig(device=given.device, precision=given.precision),
    )
    loaded = given.manifest is not None
    compute = resolve_compute(config.compute)
    way = given.way
    if way == "auto":  # that of a long run
        way = "eager" if compute.device == "cpu" else "compiled"
    results = measure(config, way, given.steps, given.repeats, loaded, given.sides)
    suffix = "" if way == "eager" else f"-{way}"
    name = f"train-{given.machine}-{compute.precision}{suffix}.json"
    machine = describe_machine("torch", "accelerate", "open_clip_torch")
    named = {name: value for name, value in vars(given).items() if name != "out"}
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in named.items()}
    write_json(given.out / name, {"machine": machine, "settings": settings, "results": results})


if __name__ == "__main__":
    main()
