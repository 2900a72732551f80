"""Clips of T frames as a PyTorch dataset, their batches, and the transfer to a device and back."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from dfercli.config import ModelConfig, RunConfig
from dfercli.data.folds import Part, select_rows
from dfercli.data.frames import FrameCache, FrameFolders, list_clip, open_cache
from dfercli.data.manifest import Manifest, clip_folders
from dfercli.data.motion import WindowWeights
from dfercli.data.sampling import MIDDLE, find_sampler
from dfercli.errors import DataError

Key = int | tuple[int, int]


class ClipDataset(Dataset[tuple[Tensor, "int | Tensor", Key]]):
    """The clips of one part of a fold.

    An int as key returns the test view of a clip. A pair (epoch, index), as `EpochBatches` yields
    it, returns its training view in that epoch, before augmentation. With `shares`, (N, K) float32,
    the label of a training view is the clip's share of each class, (K,).
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        class_names: tuple[str, ...],
        source: FrameFolders | FrameCache,
        model: ModelConfig,
        seed: int,
        position: float = MIDDLE,
        motion: WindowWeights | None = None,
        shares: np.ndarray | None = None,
    ) -> None:
        self.clip_ids = list(rows["clip_id"])
        self.groups = list(rows["group"].astype(str)) if "group" in rows.columns else None
        self.labels = [class_names.index(name) for name in rows["label"]]
        self._num_classes = len(class_names)
        self._shares = None if shares is None else torch.from_numpy(shares)
        self._paths = [str(path) for path in rows["path"]]
        self._source = source
        self.pixels = model.pixels
        self._sampler = find_sampler(model)
        self._motion = motion
        if self._sampler.uses_motion and motion is None:
            self._motion = WindowWeights(partial(read_all, source))
        self._seed = seed
        self._position = position

    def __len__(self) -> int:
        return len(self.clip_ids)

    @property
    def class_sizes(self) -> list[float]:
        """The number of clips of each class, or the sum of their shares."""
        if self._shares is not None:
            return self._shares.sum(dim=0).tolist()
        return [self.labels.count(label) for label in range(self._num_classes)]

    def __getitem__(self, key: Key) -> tuple[Tensor, int | Tensor, Key]:
        """Return a clip (T, 3, size, size) uint8, its label, and the key."""
        epoch, index = key if isinstance(key, tuple) else (None, key)

        def sample(num_available: int) -> np.ndarray:
            weights = None if self._motion is None else self._motion.find(self._paths[index])
            if epoch is None:
                return self._sampler.test(num_available, self._position, weights)
            rng = np.random.default_rng([self._seed, epoch, index])
            return self._sampler.train(num_available, rng, weights)

        frames = self._source.read_frames(self._paths[index], sample)
        label: int | Tensor = self.labels[index]
        if epoch is not None and self._shares is not None:
            label = self._shares[index]
        return torch.from_numpy(frames), label, key


def build_dataset(
    manifest: Manifest, part: Part, run: RunConfig, size: int, position: float = MIDDLE
) -> ClipDataset:
    """Return the clips of one part of a run, with frames of `size` pixels.

    Test views take the frames at a position in their segments, see `Sampler`. Clips to train on are
    labelled by votes if the recipe says so.
    If the run has a cache folder, all frames of the manifest are decoded into a cache first.

    Raises:
        DataError: The manifest has no such fold, no votes, too few clips to hold some out, or the
            cache cannot be made.
        VideoError: A frame cannot be read into the cache.
    """
    rows, root = select_rows(manifest, part, run), Path(run.data.root)
    source: FrameFolders | FrameCache = FrameFolders(root, size)
    if run.data.cache is not None:
        source = open_cache(manifest, root, size, Path(run.data.cache))
    motion = None
    if find_sampler(run.model).uses_motion and isinstance(source, FrameCache):
        read, paths = partial(read_all, source), [str(path) for path in manifest.rows["path"]]
        motion = WindowWeights(read, source.motion_file, paths)
    shares = None
    if part == "train" and run.train.labels == "votes":
        shares = manifest.label_shares(rows)
    names = manifest.class_names
    return ClipDataset(rows, names, source, run.model, run.seed, position, motion, shares)


def read_all(source: FrameFolders | FrameCache, path: str) -> np.ndarray:
    """Return all frames of a clip, (N, 3, size, size) uint8."""
    return source.read_frames(path, np.arange)


def check_frames(manifest: Manifest, root: Path) -> None:
    """Check that every clip has as many frames on disk as in the manifest.

    Raises:
        DataError: The root or a clip's folder is missing, or a number of frames differs.
    """
    if not root.is_dir():
        raise DataError(f"data folder {root} does not exist; set --root or $DFER_DATA")
    for row in manifest.rows.itertuples(index=False):
        for folder in clip_folders(root, str(row.path)):
            if not folder.is_dir():
                raise DataError(
                    f"folder {folder} does not exist; check that {root} is the data root, or run "
                    f"`dfer preprocess` again"
                )
        list_clip(root, str(row.path), int(str(row.n_frames)))


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

    @property
    def smallest_share(self) -> int:
        """The fewest clips of any process in a step; those of an empty share do not count."""
        return self.count_batch(len(self) - 1) // self._num_processes

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
    """Yield training batches: clips (N, T, 3, H, W) and labels on a device, and the clips' keys.

    Labels are (N,) int64, or (N, K) shares of each class.
    On CUDA, a batch is copied from pinned memory while the step of the previous batch runs.
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
        """Return the number that was requested last, and request this one, a () tensor.

        On the CPU the result is `value` itself; elsewhere an earlier value, or None if none has
        arrived.
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
