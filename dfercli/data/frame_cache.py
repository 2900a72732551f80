"""All frames of a dataset, decoded once: a file of bytes, of which each clip maps its own part.

The file is shared by all folds and runs that read the same frames in the same size.
"""

import hashlib
import json
import os
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfercli.data.frames import FrameFolders, Sampling, list_clip
from dfercli.data.manifest import Manifest, clip_folders
from dfercli.errors import DataError
from dfercli.files import locking, replacing, write_json
from dfercli.progress import show_progress
from dfercli.system_errors import describe_system_error, explain_system_error

VERSION = 1
"""Of the file and of how frames are decoded to it; counts up when either changes."""

ANY = -1
"""Stands for the checksum of a clip that has none."""

SPARE_BYTES = 1 << 30
"""Free space that a new cache leaves on the disk (our choice)."""


@dataclass(frozen=True)
class ClipPlace:
    """Where a clip's frames are.

    Attributes:
        start: Index of the first one among all frames of the file.
        n_frames: How many there are.
    """

    start: int
    n_frames: int


class FrameCache:
    """The frames of a dataset, decoded. Can be sent to other processes: it holds no frame.

    Args:
        file: Made by `open_cache`: (N, 3, size, size) uint8 without a header.
        places: Of each clip, by its path in the manifest.
        size: Side of the frames, in pixels.
    """

    def __init__(self, file: Path, places: dict[str, ClipPlace], size: int) -> None:
        self.file = file
        self._places = places
        self._size = size
        self._sums: dict[str, int] | None = None
        self._checked: set[str] = set()

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return 3 * self._size**2

    def read_frames(self, path: str, sample: Sampling) -> np.ndarray:
        """Copy the frames that are chosen.

        The file is mapped for this call alone, so that what was read does not count as memory of
        this process.

        Raises:
            DataError: The file is gone, cannot be read, or the clip's part of it is damaged.
        """
        place = self._places[path]
        shape = (place.n_frames, 3, self._size, self._size)
        try:
            frames = np.memmap(self.file, np.uint8, "r", place.start * self.frame_bytes, shape)
        except (FileNotFoundError, ValueError) as error:
            raise DataError(f"{self.file} was removed or cut off; start again") from error
        except OSError as error:
            raise DataError(f"cannot read {self.file}: {explain_system_error(error)}") from error
        if path not in self._checked:
            self._check(path, frames)
        return np.asarray(frames[sample(place.n_frames)])

    def _check(self, path: str, frames: np.ndarray) -> None:
        """Compare the frames of a clip with their checksum, once per process."""
        if self._sums is None:
            self._sums = _read_sums(self.file)
        if self._sums.get(path, ANY) not in (ANY, zlib.crc32(frames.data)):
            raise DataError(
                f"{self.file} is damaged: the frames of {path} are not as they were decoded; "
                f"remove it, and it is made again"
            )
        self._checked.add(path)


def open_cache(manifest: Manifest, root: Path, size: int, folder: Path) -> FrameCache:
    """Give the cache of a dataset's frames; decode all of them first where there is none.

    Several processes may ask at once: one builds, the others wait. What is there counts only if it
    is complete, and is built anew otherwise.

    Args:
        manifest: Of the dataset.
        root: Folder that its paths are relative to.
        size: Side of the frames that the model reads, in pixels.
        folder: Of all caches.

    Raises:
        DataError: The disk has too little space or cannot be written; a clip has other frames than
            the manifest says.
        VideoError: A frame cannot be read.
    """
    places = _place_clips(manifest)
    fingerprint = fingerprint_frames(manifest, root)
    cache = FrameCache(folder / f"{manifest.dataset}-{size}-{fingerprint}.frames", places, size)
    length = sum(place.n_frames for place in places.values()) * cache.frame_bytes
    if _is_complete(cache.file, length):
        return cache
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # faces are their owner's alone
        with locking(folder / f".{fingerprint}-{size}.lock", wait_s=-1):
            if not _is_complete(cache.file, length):  # nobody built it while we waited
                _build(cache.file, FrameFolders(root, size), places, length)
    except OSError as error:
        at = Path(str(error.filename))
        if at.is_relative_to(root) and not at.is_relative_to(folder):
            raise DataError(
                f"cannot read {error.filename}: {explain_system_error(error)}"
            ) from error
        raise DataError(
            f"cannot write {cache.file} ({describe_system_error(error)}); name another "
            f"--cache-dir, or give --no-cache"
        ) from error
    return cache


def fingerprint_frames(manifest: Manifest, root: Path) -> str:
    """Give twelve hex digits that change with the frames of a dataset.

    Labels and folds have no part in it. It looks at the clips' paths, their numbers of frames, and
    when each clip's folder changed: at frames that came, went or were renamed, and at clips that
    were cropped anew. A frame that was written over in its place is not noticed.

    Raises:
        DataError: A clip's folder is missing.
    """
    digest = hashlib.sha256(f"{VERSION}\n{root.resolve()}\n".encode())
    for path, place in _place_clips(manifest).items():
        changed_ns = [_find_change(folder, root) for folder in clip_folders(root, path)]
        times = ",".join(map(str, changed_ns))
        digest.update(f"{path}\t{place.n_frames}\t{times}\n".encode())
    return digest.hexdigest()[:12]


def _find_change(folder: Path, root: Path) -> int:
    """Return when a folder changed last, in nanoseconds."""
    try:
        return folder.stat().st_mtime_ns
    except PermissionError as error:
        raise DataError(f"cannot read {folder}: {explain_system_error(error)}") from error
    except OSError as error:
        raise DataError(
            f"no folder {folder}; is {root} the data's root? else preprocess again"
        ) from error


def _place_clips(manifest: Manifest) -> dict[str, ClipPlace]:
    """Put the clips one behind the other, by path; two rows may name the same."""
    rows = manifest.rows.drop_duplicates("path").sort_values("path")
    starts = rows["n_frames"].cumsum() - rows["n_frames"]
    columns = (rows["path"].tolist(), starts.tolist(), rows["n_frames"].tolist())
    return {path: ClipPlace(start, n) for path, start, n in zip(*columns, strict=True)}


def _is_complete(file: Path, length: int) -> bool:
    return file.is_file() and file.stat().st_size == length


def _build(file: Path, source: FrameFolders, places: dict[str, ClipPlace], length: int) -> None:
    """Decode all frames into the file, in parallel; memory holds a frame a thread."""
    file.unlink(missing_ok=True)  # it is not complete
    free = shutil.disk_usage(file.parent).free - SPARE_BYTES
    if free < length:
        raise DataError(
            f"the cache needs {length / 1e9:.1f} GB, {file.parent} has {max(0, free) / 1e9:.1f} GB "
            f"to spare; name another --cache-dir, or give --no-cache"
        )
    with replacing(file) as partial:
        with partial.open("wb") as stream:
            stream.truncate(length)
        clips, sums = list(places.items()), {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV decodes without Python's lock
            try:
                futures = {pool.submit(_write_clip, partial, source, *clip): clip for clip in clips}
                with show_progress(total=len(clips), desc="cache", unit="clip") as bar:
                    for future in as_completed(futures):
                        sums[futures[future][0]] = future.result()
                        bar.update()
            finally:
                pool.shutdown(cancel_futures=True)
        write_json(_sums_file(file), sums)


def _sums_file(file: Path) -> Path:
    return file.with_suffix(".json")


def _read_sums(file: Path) -> dict[str, int]:
    """Read the checksum of each clip; earlier versions wrote none."""
    try:
        sums: dict[str, int] = json.loads(_sums_file(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{_sums_file(file)} is damaged; remove it and {file}") from error
    return sums


def _write_clip(file: Path, source: FrameFolders, path: str, place: ClipPlace) -> int:
    """Write the frames of one clip; returns their checksum."""
    checksum = 0
    paths = list_clip(source.root, path, place.n_frames)
    with file.open("r+b") as stream:
        stream.seek(place.start * 3 * source.size**2)
        for frame in source.decode(paths):
            content = frame.tobytes()
            stream.write(content)
            checksum = zlib.crc32(content, checksum)
    return checksum
