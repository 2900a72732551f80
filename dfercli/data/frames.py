"""The frames that a clip is made of, decoded from folders of images to the model's size."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from dfercli.data.manifest import clip_folders
from dfercli.data.transforms import fit_frame
from dfercli.errors import DataError
from dfercli.media.images import list_frames, read_image
from dfercli.text import count_of

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
    """Folders of images, usually one per clip.

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
        paths = list_frames(*clip_folders(self.root, path))
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


def list_clip(root: Path, path: str, n_frames: int) -> list[Path]:
    """List a clip's frames in their order.

    Args:
        root: Folder that the path is relative to.
        path: Of the clip in the manifest.
        n_frames: Frames in the manifest.

    Raises:
        DataError: A folder has none, or there are more or fewer than the manifest says.
    """
    folders = clip_folders(root, path)
    frames = list_frames(*folders)
    if len(frames) != n_frames:
        where = " and ".join(map(str, folders))
        raise DataError(
            f"{where} {'have' if len(folders) > 1 else 'has'} {count_of(len(frames), 'frame')}, "
            f"the manifest says {n_frames}; run `dfer preprocess` again"
        )
    return frames
