"""Batches of clips: in which order they come, and to which process."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DataLoader, Sampler

from dfercli.data.clips import ClipDataset


class EpochSampler(Sampler[tuple[int, int]]):
    """Every clip once, in an order that follows from the seed and the epoch alone.

    Args:
        length: Clips.
        seed: Of the order.
    """

    def __init__(self, length: int, seed: int) -> None:
        self._length = length
        self._seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self._seed, self.epoch]).permutation(self._length)
        return ((self.epoch, int(index)) for index in order)


def build_loader(
    dataset: ClipDataset, batch_size: int, workers: int, sampler: EpochSampler | None = None
) -> DataLoader:
    """Give batches of training views in the sampler's order; without one, all test views in order.

    Args:
        dataset: One side of a fold.
        batch_size: Clips a batch of one process.
        workers: Processes that load; 0 loads in this one.
        sampler: Must be told the epoch before each pass.
    """
    return DataLoader(
        dataset,
        batch_size,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
    )
