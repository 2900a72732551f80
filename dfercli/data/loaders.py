"""Batches of clips, and their transfer to a device and back."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from dfercli.data.dataset import ClipDataset

VIEW_STRIDE = 10**6
"""Distance between the view numbers of a clip that is drawn repeatedly in an epoch; larger than any
number of epochs."""

MAX_PENDING_STEPS = 2
"""Steps that may be queued on a GPU, which bounds the memory of their batches (our choice)."""


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of clips for training, divided among processes clip by clip.

    Set `epoch` before each pass.

    Args:
        length: Number of clips.
        batch_size: Clips per step, over all processes.
        seed: Seed of the order.
        rank: Index of this process.
        num_processes: Number of processes.
        weights: Sampling weight of each clip. `length` clips are drawn with replacement, so that
            some occur several times, in a different view each, and some not at all. None takes
            each clip once.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        num_processes: int = 1,
        weights: Sequence[float] | None = None,
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.epoch = 0
        self._seed = seed
        self._rank = rank
        self._num_processes = num_processes
        self._probabilities = None if weights is None else np.divide(weights, np.sum(weights))

    def __len__(self) -> int:
        """Return the number of steps per epoch."""
        return math.ceil(self.length / self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Yield this process's share of each step's batch, as pairs (view, clip).

        The view is the epoch, or an unused number for a clip that was drawn before in the epoch. A
        share that would be empty is the first clip of the batch, so that all processes take part;
        `count_share` does not count it.
        """
        keys = self._draw_keys()
        for start in range(0, self.length, self.batch_size):
            batch = keys[start : start + self.batch_size]
            yield batch[self._rank :: self._num_processes] or batch[:1]

    def _draw_keys(self) -> list[tuple[int, int]]:
        """Return all pairs of the epoch, in order."""
        rng = np.random.default_rng([self._seed, self.epoch])
        if self._probabilities is None:
            return [(self.epoch, index) for index in rng.permutation(self.length).tolist()]
        draws: Counter[int] = Counter()
        keys = []
        for index in rng.choice(self.length, self.length, p=self._probabilities).tolist():
            keys.append((self.epoch + VIEW_STRIDE * draws[index], index))
            draws[index] += 1
        return keys

    def count_batch(self, step: int) -> int:
        """Return the clips of all processes in a step; the last step of an epoch may have fewer."""
        return min(self.batch_size, self.length - step * self.batch_size)

    def count_share(self, step: int) -> int:
        """Return the clips of this process that count in a step."""
        return len(range(self._rank, self.count_batch(step), self._num_processes))


def balance_weights(labels: Sequence[int]) -> list[float]:
    """Return a sampling weight for each clip such that all classes are drawn equally often."""
    counts = Counter(labels)
    return [1 / counts[label] for label in labels]


def build_train_loader(dataset: ClipDataset, batches: EpochBatches, workers: int) -> DataLoader:
    """Return a loader of training views."""
    return DataLoader(dataset, batch_sampler=batches, **_loader_arguments(workers))


def build_test_loader(dataset: ClipDataset, batch_size: int, workers: int) -> DataLoader:
    """Return a loader of all test views, in order."""
    return DataLoader(dataset, batch_size, **_loader_arguments(workers))


def _loader_arguments(workers: int) -> dict[str, Any]:
    """Return the arguments that all loaders of clips share.

    A loader draws a seed for its workers in its first epoch. With a generator of its own, the
    model's random numbers do not depend on the workers, nor on the epoch at which a run resumed.
    """
    return {
        "generator": torch.Generator(),
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(),
    }


@cache
def side_stream(index: int, purpose: str) -> torch.cuda.Stream:
    """Return the CUDA stream of a device for a purpose, always the same one.

    PyTorch keeps freed memory and a workspace for every stream that was ever used, so a new stream
    per epoch or graph would accumulate memory.
    """
    return torch.cuda.Stream(torch.device("cuda", index))


def send(values: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as a tensor on a device, without waiting for a GPU."""
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def prefetch(loader: Iterable[Any], device: torch.device) -> Iterator[tuple[Tensor, Tensor, Any]]:
    """Yield the batches of a training loader with clips and labels on a device.

    On CUDA, a batch is copied while the step of the previous batch runs.

    Args:
        loader: Yields clips (N, T, 3, H, W), labels (N,) and keys, in pinned memory.
        device: Device for clips and labels; the keys stay.
    """
    if device.type != "cuda":
        for clips, labels, keys in loader:
            yield clips.to(device), labels.to(device), keys
        return
    computing = torch.cuda.current_stream(device)
    copying = side_stream(computing.device.index, "copy")
    # Batches are held until their steps are done: their memory belongs to the copying stream.
    pending: deque[tuple[torch.cuda.Event, Tensor, Tensor]] = deque()
    try:
        for clips, labels, keys in loader:
            with torch.cuda.stream(copying):
                clips = clips.to(device, non_blocking=True)
                labels = labels.to(device, non_blocking=True)
            computing.wait_stream(copying)
            yield clips, labels, keys
            pending.append((computing.record_event(), clips, labels))
            if len(pending) > MAX_PENDING_STEPS:
                pending.popleft()[0].synchronize()
    finally:
        copying.wait_stream(computing)


class DelayedReader:
    """Reads numbers from a device without waiting for it."""

    def __init__(self) -> None:
        self._pending: tuple[Tensor, torch.cuda.Event] | None = None

    def read(self, value: Tensor) -> float | None:
        """Return the number that was requested last, and request this one.

        Args:
            value: (), on any device.

        Returns:
            `value` itself on the CPU; elsewhere an earlier value, or None if none has arrived.
        """
        if value.device.type != "cuda":
            return value.item()
        arrived = None
        if self._pending is not None:
            number, event = self._pending
            if not event.query():
                return None
            arrived = number.item()
        number = value.detach().to("cpu", non_blocking=True)
        event = torch.cuda.current_stream(value.device).record_event()
        self._pending = number, event
        return arrived
