"""A look at the frames of clips, without decoding them: are they there, whole, and of one size?"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dfercli.errors import DataError, VideoError
from dfercli.images import find_fault, image_size, list_frames
from dfercli.progress import show_progress

SHORT_CLIP = 16
"""Frames under which a clip is called short: most methods of the field sample 16."""

READERS = 8
"""Threads that look at frames (our choice: disks answer several at once)."""


@dataclass(frozen=True)
class FramesState:
    """The state of a clip's folder.

    Attributes:
        n_frames: Images in it.
        size: Width and height of the first in pixels, or None.
        fault: What is wrong, or None: `missing`, `empty`, a broken image by name, or sizes.
    """

    n_frames: int
    size: tuple[int, int] | None = None
    fault: str | None = None

    @property
    def status(self) -> str:
        """`whole`, `missing`, `empty`, or `unreadable`."""
        if self.fault is None:
            return "whole"
        return self.fault if self.fault in ("missing", "empty") else "unreadable"


def inspect_clips(clips: Sequence[Sequence[Path]]) -> Iterator[FramesState]:
    """Look at the folders of many clips, in order, with a progress bar."""
    with ThreadPoolExecutor(READERS) as pool:
        looks = pool.map(lambda folders: inspect_frames(*folders), clips)
        yield from show_progress(looks, total=len(clips), desc="frames", unit="clip")


def inspect_frames(*folders: Path) -> FramesState:
    """Check every frame of a clip; read the sizes of the first and the last one.

    Args:
        folders: The clip's folder, or several that hold a part of its frames each.
    """
    try:
        if not all(folder.is_dir() for folder in folders):
            return FramesState(0, fault="missing")
        frames = list_frames(*folders)
    except DataError:
        return FramesState(0, fault="empty")
    except OSError as error:
        return FramesState(0, fault=f"not to be read, {error.strerror}")
    for path in frames:
        fault = find_fault(path)
        if fault:
            return FramesState(len(frames), fault=f"{path.name} is {fault}")
    sizes = []
    for path in (frames[0], frames[-1]):
        try:
            sizes.append(image_size(path))
        except VideoError:
            return FramesState(len(frames), fault=f"{path.name} is no image")
    fault = "frames of several sizes" if sizes[0] != sizes[1] else None
    return FramesState(len(frames), sizes[0], fault)
