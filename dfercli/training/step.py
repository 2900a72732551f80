"""One step of the optimizer, and how its gradients are computed: eagerly, compiled or captured."""

import gc
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dfercli.data.loaders import side_stream
from dfercli.models.base import ExpressionModel
from dfercli.training.average import WeightAverage
from dfercli.training.recipe import Loss, Mixup

WARM_UP_PASSES = 3
"""Passes before a capture, which build, tune and load the kernels. Source: PyTorch's notes on CUDA
graphs ask for a few."""


@dataclass(frozen=True)
class TrainingSetup:
    """What every step of a run uses, whichever way the steps are executed.

    Attributes:
        model: The model.
        prepared: The same model as accelerate runs it: on the device, at the run's precision,
            distributed.
        optimizer: Prepared by accelerate.
        scheduler: Sets the learning rate, once per step.
        accelerator: Knows the device, the precision and the other processes.
        loss: What is minimised.
        mixup: Mixes the clips of a step; None leaves them as they are.
        average: Moving average of the weights; None if they are evaluated as they are.
        shares: Whether labels are shares of each class, (N, K), instead of classes, (N,).
    """

    model: ExpressionModel
    prepared: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    accelerator: Accelerator
    loss: Loss
    mixup: Mixup | None = None
    average: WeightAverage | None = None
    shares: bool = False


class Gradients(Protocol):
    """Adds the gradient of a part of a batch to the parameters."""

    def add(self, clips: Tensor, labels: Tensor, scale: float, last: bool) -> Tensor:
        """Add the gradient of the sum of the clips' losses, times `scale`.

        Clips are (N, T, 3, H, W), normalised; labels (N,) int64, or (N, K) shares of each class.
        `last` marks the last part of the batch. Returns the mean loss of the clips, (), detached.
        """

    def clear(self) -> None:
        """Reset the gradients for the next step."""


@dataclass(frozen=True)
class OptimizerStep:
    """Takes one step of the optimizer on a batch, in parts of at most `micro_batch` clips."""

    setup: TrainingSetup
    gradients: Gradients
    micro_batch: int

    def __call__(self, clips: Tensor, labels: Tensor, share: int, batch: int) -> Tensor:
        """Take one step of the optimizer and return the mean loss of this process's clips, ().

        Args:
            clips: This process's clips (N, T, 3, H, W), normalised.
            labels: (N,) int64, or (N, K) shares of each class.
            share: How many of the clips count: all, or none if this process only keeps step with
                the others.
            batch: Clips of all processes.
        """
        setup = self.setup
        # accelerate averages gradients over processes, and each part adds the mean of its clips.
        scale = setup.accelerator.num_processes / batch * (share > 0)
        total, count = torch.zeros((), device=setup.accelerator.device), 0
        parts = zip(clips.split(self.micro_batch), labels.split(self.micro_batch), strict=True)
        for part_clips, part_labels in parts:
            count += len(part_labels)
            loss = self.gradients.add(part_clips, part_labels, scale, last=count == len(labels))
            total += loss * len(part_labels)
        setup.optimizer.step()
        self.gradients.clear()
        setup.scheduler.step()  # also after a step that fp16 skips: the cosine must reach its end
        setup.model.clamp_logit_scale()
        if setup.average is not None:
            setup.average.update()
        return total / count


class EagerGradients:
    """Gradients from forward and backward passes that PyTorch runs kernel by kernel."""

    def __init__(self, setup: TrainingSetup) -> None:
        self._setup = setup

    def add(self, clips: Tensor, labels: Tensor, scale: float, last: bool) -> Tensor:
        """Add a part's gradient; see `Gradients`."""
        setup = self._setup
        with nullcontext() if last else setup.accelerator.no_sync(setup.prepared):
            loss = setup.loss(setup.prepared(clips), labels)
            setup.accelerator.backward(loss * (scale * len(labels)))
        if not last:
            separate_gradients(setup.prepared.parameters())
        return loss.detach()

    def clear(self) -> None:
        """Reset the gradients; see `Gradients`."""
        self._setup.optimizer.zero_grad()


class FixedGradients:
    """Gradients from passes over a fixed number of clips, so that nothing is compiled twice.

    A smaller batch is padded with clips of weight zero, which change neither the loss nor the
    gradient. The constructor runs one pass, so that what does not work on this device fails there.

    Args:
        setup: The model and its loss.
        clips: Buffer (N, T, 3, H, W) float32 on the device.
        labels: Buffer (N,) int64, or (N, K) for shares of each class.
        accumulate: Whether several parts add up to one step.
        capture: Whether to replay the passes as a CUDA graph.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        clips: Tensor,
        labels: Tensor,
        accumulate: bool,
        capture: bool,
    ) -> None:
        self._setup = setup
        self._model = setup.prepared.train()
        self._clips = clips
        self._labels = labels
        self._weights = torch.zeros(len(clips), device=clips.device)
        self._filled = (0, 0.0)  # clips that have a weight, and the weight
        self._parameters = [p for p in self._model.parameters() if p.requires_grad]
        # A graph that finds no gradient to add to writes a new one per step, which is faster.
        self._reuse_gradients = capture and accumulate
        self._replay = capture_graph(self._run, clips.device, self._reset) if capture else None
        if self._replay is None:
            devices = [clips.get_device()] if clips.is_cuda else []
            with torch.random.fork_rng(devices):
                self._run()
            self._reset()

    def _run(self) -> Tensor:
        """Add the gradient of the clips in the buffer, and return their losses (N,)."""
        losses = self._setup.loss(self._model(self._clips), self._labels, reduction="none")
        self._setup.accelerator.backward((losses * self._weights).sum())
        return losses.detach()

    def _reset(self) -> None:
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter) if self._reuse_gradients else None

    def add(self, clips: Tensor, labels: Tensor, scale: float, last: bool) -> Tensor:
        """Add a part's gradient; see `Gradients`."""
        count = len(clips)
        self._clips[:count].copy_(clips)
        self._labels[:count].copy_(labels)
        if self._filled != (count, scale):
            self._weights[:count].fill_(scale)
            self._weights[count:].zero_()
            self._filled = (count, scale)
        if self._replay is not None:
            return self._replay()[:count].mean()
        with nullcontext() if last else self._setup.accelerator.no_sync(self._model):
            losses = self._run()[:count]
        if not last:
            separate_gradients(self._parameters)
        return losses.mean()

    def clear(self) -> None:
        """Reset the gradients; see `Gradients`."""
        if self._replay is None:
            self._reset()
        elif self._reuse_gradients:
            torch._foreach_zero_([p.grad for p in self._parameters if p.grad is not None])


class FixedModel(nn.Module):
    """A model in evaluation mode that always runs on the N clips of a buffer (N, T, 3, H, W).

    With `capture`, the pass is replayed as a CUDA graph.
    """

    def __init__(self, model: nn.Module, clips: Tensor, capture: bool) -> None:
        super().__init__()
        self.model = model.eval()
        self._clips = clips
        self._pass = capture_graph(self._run, clips.device) if capture else self._run
        if not capture:
            self._run()

    @torch.inference_mode()
    def _run(self) -> Tensor:
        logits: Tensor = self.model(self._clips)
        return logits

    def forward(self, clips: Tensor) -> Tensor:
        """Return the logits (B, K) of up to N clips (B, T, 3, H, W), normalised."""
        self._clips[: len(clips)].copy_(clips)
        return self._pass()[: len(clips)].clone()


def separate_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Copy gradients that share memory, so that the next part of a step can be added to each.

    Autograd gives one and the same gradient to parameters that are only added, such as the two
    biases of an LSTM's gates; accumulating into it in place would count once for each of them.
    """
    storages = set()
    for parameter in parameters:
        if parameter.grad is not None:
            storage = parameter.grad.untyped_storage().data_ptr()
            if storage in storages:
                parameter.grad = parameter.grad.clone()
            storages.add(storage)


def capture_graph(
    run: Callable[[], Tensor], device: torch.device, reset: Callable[[], None] = lambda: None
) -> Callable[[], Tensor]:
    """Capture a function as a CUDA graph, and return a function that replays it.

    The function reads and writes tensors at fixed addresses on the device and returns one of them;
    `reset` is called before each pass. The device's random generator is left where it was.

    Raises:
        RuntimeError: The function cannot be captured.
    """
    stream = side_stream(device.index, "capture")
    stream.wait_stream(torch.cuda.current_stream(device))
    errors: list[Exception] = []

    def run_noting_error() -> Tensor:
        try:
            return run()
        except Exception as error:
            errors.append(error)
            raise

    with torch.random.fork_rng([device.index]):
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_PASSES):
                reset()
                run()
            reset()
        torch.cuda.current_stream(device).wait_stream(stream)
        gc.collect()  # so that no graph of an earlier run is destroyed during the capture
        graph = torch.cuda.CUDAGraph()
        try:
            # Other threads, such as the one that pins memory, may use the device meanwhile.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                result = run_noting_error()
        except Exception as error:
            # Ending a failed capture fails too, with an error that hides the cause.
            raise (errors or [error])[0] from None

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay
