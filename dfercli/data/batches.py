"""Batches of clips: in which order they come, and which process takes which.

Both follow from the seed and the epoch alone, so that a run is the same however many workers
there are, and after a restart; and so that several processes take the very steps of one.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from dfercli.data.clips import ClipDataset

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
