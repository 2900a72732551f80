"""The frames that a clip is made of, decoded from folders of images to the model's size."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from dfercli.data.transforms import fit_frame
from dfercli.errors import DataError
from dfercli.images import list_frames, read_image

Sampling = Callable[[int], np.ndarray]
"""Gives the (T,) ascending indices of a clip's frames, of how many there are."""


class FrameSource(Protocol):
    """Where the frames of clips come from; can be sent to the processes that load."""

    def read_frames(self, path: str, sample: Sampling) -> np.ndarray:
        """Give frames of a clip as (T, 3, size, size) uint8, and touch no others.

        Args:
            path: Of the clip in the manifest.
            sample: Chooses the frames.
        """


class FrameFolders:
    """A folder of images a clip.

    Args:
        root: Folder that the clips' paths are relative to.
        size: Side of the frames that come out, in pixels.
    """

    def __init__(self, root: Path, size: int) -> None:
        self.root = root
        self.size = size

    def read_frames(self, path: str, sample: Sampling) -> np.ndarray:
        """Decode the frames that are chosen, repeated ones once.

        Raises:
            DataError: The clip has no frames, or they are of several sizes.
            VideoError: A frame cannot be read.
        """
        paths = list_frames(self.root / path)
        chosen, places = np.unique(sample(len(paths)), return_inverse=True)
        frames = list(self.decode(paths[index] for index in chosen))
        return np.stack([frames[place] for place in places])

    def decode(self, paths: Iterable[Path]) -> Iterator[np.ndarray]:
        """Give frames of one clip as (3, size, size) uint8, one at a time.

        Raises:
            DataError: They are of several sizes.
            VideoError: One cannot be read.
        """
        shape: tuple[int, ...] | None = None
        for path in paths:
            image_rgb = read_image(path)
            shape = shape or image_rgb.shape
            if image_rgb.shape != shape:
                raise DataError(f"frames of several sizes in {path.parent}; make them all of one")
            yield fit_frame(image_rgb, self.size)


def list_clip(folder: Path, n_frames: int) -> list[Path]:
    """List a clip's frames in their order.

    Raises:
        DataError: There are none, or more or fewer than the manifest says.
    """
    paths = list_frames(folder)
    if len(paths) != n_frames:
        raise DataError(
            f"{folder} has {len(paths)} frames, the manifest says {n_frames}; "
            f"run `dfer preprocess` again"
        )
    return paths
