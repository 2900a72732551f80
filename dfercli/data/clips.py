"""Clips from folders of frames, for PyTorch.

Everything random about a training clip follows from the seed, the epoch and the clip's place in
the manifest. So it is the same however many workers and devices there are, and after a restart.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dfercli.config import AugmentConfig, RunConfig
from dfercli.data.manifest import Manifest, Split
from dfercli.data.sampling import sample_test, sample_train
from dfercli.data.transforms import build_test_transform, build_train_transform
from dfercli.errors import DataError
from dfercli.images import list_frames, read_image


class ClipDataset(Dataset[tuple[Tensor, int, int]]):
    """One side of a fold.

    An int as key gives the test view of a clip; a pair (epoch, index) its training view in that
    epoch. A sampler of `batches.py` gives such pairs.

    Args:
        rows: Of the manifest.
        root: Folder that the rows' paths are relative to.
        class_names: K classes; a label is the place in them.
        num_frames: T.
        size: Side of the frames that the model reads, in pixels.
        augment: Strengths of the augmentation.
        seed: Of all that is random.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        root: Path,
        class_names: tuple[str, ...],
        num_frames: int,
        size: int,
        augment: AugmentConfig,
        seed: int,
    ) -> None:
        self.clip_ids = list(rows["clip_id"])
        self.labels = [class_names.index(name) for name in rows["label"]]
        self._folders = [root / path for path in rows["path"]]
        self._num_frames = num_frames
        self._seed = seed
        self._train_transform = build_train_transform(augment, size)
        self._test_transform = build_test_transform(size)

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, key: int | tuple[int, int]) -> tuple[Tensor, int, int]:
        """Give a clip (T, 3, size, size) uint8, its label and its index."""
        if isinstance(key, tuple):
            epoch, index = key
            return self._train_view(epoch, index), self.labels[index], index
        return self._test_view(key), self.labels[key], key

    def _train_view(self, epoch: int, index: int) -> Tensor:
        rng = np.random.default_rng([self._seed, epoch, index])
        paths = list_frames(self._folders[index])
        clip = _read_clip(paths, sample_train(len(paths), self._num_frames, rng))
        with torch.random.fork_rng(devices=[]):  # the transforms draw from torch's own generator
            torch.manual_seed(int(rng.integers(2**62)))
            changed: Tensor = self._train_transform(clip)
        return changed

    def _test_view(self, index: int) -> Tensor:
        paths = list_frames(self._folders[index])
        clip = _read_clip(paths, sample_test(len(paths), self._num_frames))
        resized: Tensor = self._test_transform(clip)
        return resized


def _read_clip(paths: list[Path], indices: np.ndarray) -> Tensor:
    """Read frames as (T, 3, H, W) uint8; repeated ones are decoded once."""
    images = {index: read_image(paths[index]) for index in set(indices.tolist())}
    if len({image.shape for image in images.values()}) > 1:
        raise DataError(f"frames of several sizes in {paths[0].parent}; make them all of one")
    stacked = np.stack([images[index] for index in indices.tolist()])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def build_dataset(manifest: Manifest, split: Split, run: RunConfig, size: int) -> ClipDataset:
    """Give one side of a run's fold, for frames of `size` pixels.

    Raises:
        DataError: The manifest has no such fold.
    """
    rows, root = manifest.select(run.fold, split), Path(run.data.root)
    num_frames = run.model.num_frames
    return ClipDataset(rows, root, manifest.class_names, num_frames, size, run.augment, run.seed)


def check_frames(manifest: Manifest, root: Path) -> None:
    """Compare the frames on disk with the manifest, before hours are spent on it.

    Raises:
        DataError: The root is not there; a clip has none, or more or fewer than the manifest says.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}, where the data was; name it: --root, or $DFER_DATA")
    for row in manifest.rows.itertuples(index=False):
        folder = root / str(row.path)
        if not folder.is_dir():
            raise DataError(f"no folder {folder}; is {root} the data's root? else preprocess again")
        found = len(list_frames(folder))
        if found != row.n_frames:
            raise DataError(
                f"{folder} has {found} frames, the manifest says {row.n_frames}; "
                f"run `dfer preprocess` again"
            )
