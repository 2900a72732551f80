"""Clips of T frames as a PyTorch dataset."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dfercli.config import RunConfig
from dfercli.data.folds import Part, select_rows
from dfercli.data.frames import FrameCache, FrameFolders, list_clip, open_cache
from dfercli.data.manifest import Manifest, clip_folders
from dfercli.data.sampling import sample_test, sample_train
from dfercli.errors import DataError

Key = int | tuple[int, int]


class ClipDataset(Dataset[tuple[Tensor, int, Key]]):
    """The clips of one part of a fold.

    An int as key returns the test view of a clip. A pair (epoch, index), as `EpochBatches` yields
    it, returns its training view in that epoch, before augmentation.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        class_names: tuple[str, ...],
        source: FrameFolders | FrameCache,
        num_frames: int,
        seed: int,
    ) -> None:
        self.clip_ids = list(rows["clip_id"])
        self.groups = list(rows["group"].astype(str)) if "group" in rows.columns else None
        self.labels = [class_names.index(name) for name in rows["label"]]
        self._paths = [str(path) for path in rows["path"]]
        self._source = source
        self._num_frames = num_frames
        self._seed = seed

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, key: Key) -> tuple[Tensor, int, Key]:
        """Return a clip (T, 3, size, size) uint8, its label, and the key."""
        epoch, index = key if isinstance(key, tuple) else (None, key)

        def sample(num_available: int) -> np.ndarray:
            if epoch is None:
                return sample_test(num_available, self._num_frames)
            rng = np.random.default_rng([self._seed, epoch, index])
            return sample_train(num_available, self._num_frames, rng)

        frames = self._source.read_frames(self._paths[index], sample)
        return torch.from_numpy(frames), self.labels[index], key


def build_dataset(manifest: Manifest, part: Part, run: RunConfig, size: int) -> ClipDataset:
    """Return the clips of one part of a run, with frames of `size` pixels.

    If the run has a cache folder, all frames of the manifest are decoded into a cache first.

    Raises:
        DataError: The manifest has no such fold, too few clips to hold some out, or the cache
            cannot be made.
        VideoError: A frame cannot be read into the cache.
    """
    rows, root = select_rows(manifest, part, run), Path(run.data.root)
    source: FrameFolders | FrameCache = FrameFolders(root, size)
    if run.data.cache is not None:
        source = open_cache(manifest, root, size, Path(run.data.cache))
    return ClipDataset(rows, manifest.class_names, source, run.model.num_frames, run.seed)


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
