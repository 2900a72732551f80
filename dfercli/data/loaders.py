"""Batches of clips, and their way to a device and back."""

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

VIEWS_APART = 10**6
"""From one drawing of a clip in an epoch to the next, in numbers of views: more than epochs."""


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Every clip once an epoch, in batches that are dealt to the processes clip by clip.

    Args:
        length: Clips.
        batch_size: Clips a step, of all processes together.
        seed: Of the order.
        rank: Number of this process.
        num_processes: How many there are.
        chances: Weight of each clip. As many clips are drawn by them as there are, so that some
            come several times, in another view each, and some not at all. None takes each once.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        num_processes: int = 1,
        chances: Sequence[float] | None = None,
    ) -> None:
        self.length = length
        self.batch_size = batch_size
        self.epoch = 0
        self._seed = seed
        self._rank = rank
        self._num_processes = num_processes
        self._chances = None if chances is None else np.divide(chances, np.sum(chances))

    def __len__(self) -> int:
        """Give the steps an epoch."""
        return math.ceil(self.length / self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        """Give this process's share of each step's batch, as pairs of epoch and clip.

        A clip that is drawn again in the epoch has a number in its place that no epoch has.

        A share that would be empty is the batch's first clip, so that all processes take part;
        `count_share` counts it as none.
        """
        keys = self._draw()
        for start in range(0, self.length, self.batch_size):
            batch = keys[start : start + self.batch_size]
            yield batch[self._rank :: self._num_processes] or batch[:1]

    def _draw(self) -> list[tuple[int, int]]:
        """Give all pairs of the epoch, in order."""
        rng = np.random.default_rng([self._seed, self.epoch])
        if self._chances is None:
            return [(self.epoch, index) for index in rng.permutation(self.length).tolist()]
        times: Counter[int] = Counter()
        keys = []
        for index in rng.choice(self.length, self.length, p=self._chances).tolist():
            keys.append((self.epoch + VIEWS_APART * times[index], index))
            times[index] += 1
        return keys

    def count_batch(self, step: int) -> int:
        """Give the clips of all processes in a step; the last one of an epoch may be smaller."""
        return min(self.batch_size, self.length - step * self.batch_size)

    def count_share(self, step: int) -> int:
        """Give the clips of this process that count in a step."""
        return len(range(self._rank, self.count_batch(step), self._num_processes))


def even_chances(labels: Sequence[int]) -> list[float]:
    """Give each clip one over the clips of its class, so that each class is drawn as often."""
    counts = Counter(labels)
    return [1 / counts[label] for label in labels]


def build_train_loader(dataset: ClipDataset, batches: EpochBatches, workers: int) -> DataLoader:
    """Give training views; `batches` must be told the epoch before each pass.

    Args:
        dataset: Training side of a fold.
        batches: Which clips make up the batches.
        workers: Processes that load; 0 loads in this one.
    """
    return DataLoader(
        dataset,
        batch_sampler=batches,
        **_loading(workers),
    )


def build_test_loader(dataset: ClipDataset, batch_size: int, workers: int) -> DataLoader:
    """Give all test views in order.

    Args:
        dataset: Test side of a fold.
        batch_size: Clips a batch of one process.
        workers: Processes that load; 0 loads in this one.
    """
    return DataLoader(
        dataset,
        batch_size,
        **_loading(workers),
    )


def _loading(workers: int) -> dict[str, Any]:
    """Return the arguments that every DataLoader of clips shares.

    It draws a seed for its workers in the first epoch that it sees: from a generator of its own, so
    that what a model draws does not depend on the workers, or on which epoch a run went on from.
    """
    return {
        "generator": torch.Generator(),
        "num_workers": workers,
        "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(),
    }


AHEAD = 2
"""Steps that may wait on a GPU at a time, which bounds the memory of what they read (our choice).
"""


@cache
def side_stream(index: int, purpose: str) -> torch.cuda.Stream:
    """Return the CUDA stream of a device that serves a purpose, always the same one.

    PyTorch keeps freed memory, and a workspace for matrix products, for each stream that was ever
    used: a new stream per epoch or capture would let them add up.

    Args:
        index: Number of the CUDA device.
        purpose: A name.
    """
    return torch.cuda.Stream(torch.device("cuda", index))


def send(values: np.ndarray, device: torch.device) -> Tensor:
    """Return an array as a tensor on a device."""
    tensor = torch.from_numpy(values)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def deliver(loader: Iterable[Any], device: torch.device) -> Iterator[tuple[Tensor, Tensor, Any]]:
    """Yield the batches of a training loader with clips and labels on a device.

    On CUDA the copy of a batch runs beside the step on the batch before it.

    Args:
        loader: Yields clips (N, T, 3, H, W), labels (N,), and their keys, in pinned memory.
        device: Where clips and labels go; the keys stay.
    """
    if device.type != "cuda":
        for clips, labels, keys in loader:
            yield clips.to(device), labels.to(device), keys
        return
    computing = torch.cuda.current_stream(device)
    copying = side_stream(computing.device.index, "copy")
    # Batches are held until their steps are done: their memory belongs to the copying stream.
    launched: deque[tuple[torch.cuda.Event, Tensor, Tensor]] = deque()
    try:
        for clips, labels, keys in loader:
            with torch.cuda.stream(copying):
                clips, labels = (each.to(device, non_blocking=True) for each in (clips, labels))
            computing.wait_stream(copying)
            yield clips, labels, keys
            launched.append((computing.record_event(), clips, labels))
            if len(launched) > AHEAD:
                launched.popleft()[0].synchronize()
    finally:
        copying.wait_stream(computing)


class Glance:
    """Reads a number off a device now and then, when it has arrived by itself."""

    def __init__(self) -> None:
        self._arriving: tuple[Tensor, torch.cuda.Event] | None = None

    def look(self, value: Tensor) -> float | None:
        """Return the number that was asked for last, and ask for this one.

        Args:
            value: (), on any device.

        Returns:
            `value` itself where the device is the CPU; elsewhere an earlier one, or None while
            nothing has arrived.
        """
        if value.device.type != "cuda":
            return value.item()
        arrived = None
        if self._arriving is not None:
            number, event = self._arriving
            if not event.query():
                return None
            arrived = number.item()
        number = value.detach().to("cpu", non_blocking=True)
        event = torch.cuda.current_stream(value.device).record_event()
        self._arriving = number, event
        return arrived
