"""Training steps: the quickest way that works on the device, and their gradients."""

import gc
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from dfercli.data.loaders import side_stream
from dfercli.training.loss import Loss

WARM_UP_PASSES = 3
"""Passes before a capture: kernels are built, tuned and loaded in them. Source: PyTorch's notes on
CUDA graphs ask for a few."""


class Gradients(Protocol):
    """Adds the gradient of a part of a batch to the parameters."""

    def add(self, clips: Tensor, labels: Tensor, scale: float, last: bool) -> Tensor:
        """Add the gradient of the sum of the clips' losses, times `scale`.

        Args:
            clips: (N, T, 3, H, W), as the model reads them.
            labels: (N,) int64, or (N, K) shares of each class.
            scale: Factor of each clip's loss.
            last: Whether the step's gradient is complete with this part.

        Returns:
            The mean loss of the clips, (), without a graph.
        """

    def clear(self) -> None:
        """Make way for the next step's gradient."""


class EagerGradients:
    """Forward and backward as PyTorch runs them, kernel by kernel.

    Args:
        model: Prepared by the accelerator.
        optimizer: Prepared by the accelerator.
        accelerator: Of their device, precision and processes.
        loss: What is minimised.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        loss: Loss,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._accelerator = accelerator
        self._loss = loss

    def add(self, clips: Tensor, labels: Tensor, scale: float, last: bool) -> Tensor:
        """See `Gradients`."""
        with nullcontext() if last else self._accelerator.no_sync(self._model):
            loss = self._loss(self._model(clips), labels)
            self._accelerator.backward(loss * (scale * len(labels)))
        if not last:
            separate_gradients(self._model.parameters())
        return loss.detach()

    def clear(self) -> None:
        """See `Gradients`."""
        self._optimizer.zero_grad()


class FixedGradients:
    """Forward and backward at one number of clips, so that nothing is compiled or captured again.

    A smaller batch is filled up with clips that weigh nothing: they change neither the loss nor
    the gradient. One pass is tried at once, so that what cannot work here fails here.

    Args:
        model: Prepared by the accelerator.
        accelerator: Of its device, precision and processes.
        loss: What is minimised.
        clips: (N, T, 3, H, W) float32 on the device: as many as are taken at once. Overwritten.
        labels: (N,) int64, or (N, K) shares of each class. Overwritten.
        accumulate: Whether several parts add up to one step.
        capture: Replay a CUDA graph.
    """

    def __init__(
        self,
        model: nn.Module,
        accelerator: Accelerator,
        loss: Loss,
        clips: Tensor,
        labels: Tensor,
        accumulate: bool,
        capture: bool,
    ) -> None:
        self._model = model.train()
        self._accelerator = accelerator
        self._loss = loss
        self._clips = clips
        self._labels = labels
        self._weights = torch.zeros(len(clips), device=clips.device)
        self._filled = (0, 0.0)
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        # Without a gradient to add to, a graph writes each step's anew, which is the quicker way.
        self._keep = capture and accumulate
        self._replay = capture_graph(self._run, clips.device, self._drop) if capture else None
        if self._replay is None:
            with torch.random.fork_rng(devices_of(clips)):
                self._run()
            self._drop()

    def _run(self) -> Tensor:
        """Add the gradient of the clips that are there, and return their losses (N,)."""
        losses = self._loss(self._model(self._clips), self._labels, reduction="none")
        self._accelerator.backward((losses * self._weights).sum())
        return losses.detach()

    def _drop(self) -> None:
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter) if self._keep else None

    def add(self, clips: Tensor, labels: Tensor, scale: float, last: bool) -> Tensor:
        """See `Gradients`."""
        count = len(clips)
        self._clips[:count].copy_(clips)
        self._labels[:count].copy_(labels)
        if self._filled != (count, scale):
            self._weights[:count].fill_(scale)
            self._weights[count:].zero_()
            self._filled = (count, scale)
        if self._replay is not None:
            return self._replay()[:count].mean()
        with nullcontext() if last else self._accelerator.no_sync(self._model):
            losses = self._run()[:count]
        if not last:
            separate_gradients(self._parameters)
        return losses.mean()

    def clear(self) -> None:
        """See `Gradients`."""
        if self._replay is None:
            self._drop()
        elif self._keep:
            torch._foreach_zero_([p.grad for p in self._parameters if p.grad is not None])


class FixedModel(nn.Module):
    """A model in evaluation mode that always runs on one number of clips.

    Args:
        model: Prepared by the accelerator.
        clips: (N, T, 3, H, W) float32 on the device: as many as are taken at once. Overwritten.
        capture: Replay a CUDA graph.
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
    """Give each gradient its own memory, so that another part of a step can be added to it.

    Autograd lets parameters that are only added up share one gradient, such as the two biases of
    an LSTM's gates; what is added to it in place would count once for each of them.
    """
    storages = set()
    for parameter in parameters:
        if parameter.grad is not None:
            storage = parameter.grad.untyped_storage().data_ptr()
            if storage in storages:
                parameter.grad = parameter.grad.clone()
            storages.add(storage)


def devices_of(clips: Tensor) -> list[int]:
    """Return the number of the CUDA device that clips are on, if they are on one."""
    return [clips.get_device()] if clips.is_cuda else []


def capture_graph(
    run: Callable[[], Tensor], device: torch.device, reset: Callable[[], None] = lambda: None
) -> Callable[[], Tensor]:
    """Capture a function as a CUDA graph.

    What it draws at random while it is captured does not move the device's generator.

    Args:
        run: Reads and writes tensors that stay where they are, and returns one.
        device: Of all of them, with its number.
        reset: Called before each pass.

    Returns:
        A function that replays the graph, and returns the very same tensor each time.

    Raises:
        RuntimeError: The function cannot be captured.
    """
    stream = side_stream(device.index, "capture")
    stream.wait_stream(torch.cuda.current_stream(device))
    failures: list[Exception] = []
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
                result = _note_failure(run, failures)
        except Exception as error:
            # The end of a failed capture fails as well, and does not say why.
            raise (failures or [error])[0] from None

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay


def _note_failure(run: Callable[[], Tensor], failures: list[Exception]) -> Tensor:
    try:
        return run()
    except Exception as error:
        failures.append(error)
        raise
