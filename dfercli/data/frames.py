"""The frames of clips in the model's size, decoded from folders of images or from a cache.

The cache is one file with all decoded frames of a dataset. All folds and runs that read the same
frames in the same size share it, and each clip maps its own part.
"""

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfercli.data.manifest import Manifest, clip_folders
from dfercli.data.transforms import fit_frame
from dfercli.errors import DataError, describe_system_error, explain_system_error
from dfercli.files import locking, replacing, write_json
from dfercli.media.images import list_frames, read_image
from dfercli.progress import show_progress
from dfercli.text import count_of

VERSION = 1
"""Version of the cache file and of how frames are decoded; increase it when either changes."""

SPARE_BYTES = 1 << 30
"""Free space that a new cache leaves on the disk (our choice)."""

Sampling = Callable[[int], np.ndarray]
"""Returns the (T,) ascending indices of a clip's frames, given the number of frames."""


class FrameFolders:
    """Folders of images, usually one per clip."""

    def __init__(self, root: Path, size: int) -> None:
        self.root = root
        self.size = size

    def read_frames(self, path: str, sample: Sampling) -> np.ndarray:
        """Decode the chosen frames of a clip as (T, 3, size, size) uint8, repeated ones once.

        Raises:
            DataError: The clip has no frames, or frames of several sizes.
            VideoError: A frame cannot be read.
        """
        paths = list_frames(*clip_folders(self.root, path))
        chosen, places = np.unique(sample(len(paths)), return_inverse=True)
        frames = list(self.decode(paths[index] for index in chosen))
        return np.stack([frames[place] for place in places])

    def decode(self, paths: Iterable[Path]) -> Iterator[np.ndarray]:
        """Yield frames of one clip as (3, size, size) uint8.

        Raises:
            DataError: The frames have several sizes.
            VideoError: A frame cannot be read.
        """
        shape: tuple[int, ...] | None = None
        for path in paths:
            image_rgb = read_image(path)
            shape = shape or image_rgb.shape
            if image_rgb.shape != shape:
                raise DataError(f"frames in {path.parent} have different sizes; resize them")
            yield fit_frame(image_rgb, self.size)


def list_clip(root: Path, path: str, n_frames: int) -> list[Path]:
    """Return a clip's frames in order.

    Raises:
        DataError: A folder has no frames, or the number differs from the manifest's.
    """
    folders = clip_folders(root, path)
    frames = list_frames(*folders)
    if len(frames) != n_frames:
        where = " and ".join(map(str, folders))
        raise DataError(
            f"{where} {'have' if len(folders) > 1 else 'has'} {count_of(len(frames), 'frame')}, "
            f"but the manifest says {n_frames}; run `dfer preprocess` again"
        )
    return frames


@dataclass(frozen=True)
class ClipPlace:
    """Index of a clip's first frame among all frames of the cache, and number of its frames."""

    start: int
    n_frames: int


class FrameCache:
    """The decoded frames of a dataset; can be sent to other processes, since it holds no frames.

    `file` contains (N, 3, size, size) uint8 without a header, with clips at `places` by path.
    """

    def __init__(self, file: Path, places: dict[str, ClipPlace], size: int) -> None:
        self.file = file
        self._places = places
        self._size = size
        self._checksums: dict[str, int] | None = None
        self._checked: set[str] = set()

    @property
    def motion_file(self) -> Path:
        """File of the window weights of Freq-HD, which are computed from the frames."""
        return _motion_file(self.file)

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return 3 * self._size**2

    def read_frames(self, path: str, sample: Sampling) -> np.ndarray:
        """Copy the chosen frames of a clip as (T, 3, size, size) uint8.

        The file is mapped for this call only, so that it does not count as memory of the process.

        Raises:
            DataError: The file was removed, cannot be read, or is damaged in this clip.
        """
        place = self._places[path]
        shape = (place.n_frames, 3, self._size, self._size)
        try:
            frames = np.memmap(self.file, np.uint8, "r", place.start * self.frame_bytes, shape)
        except (FileNotFoundError, ValueError) as error:
            raise DataError(f"{self.file} was removed or truncated; start the run again") from error
        except OSError as error:
            raise DataError(f"cannot read {self.file}: {explain_system_error(error)}") from error
        if path not in self._checked:
            self._check(path, frames)
        return np.asarray(frames[sample(place.n_frames)])

    def _check(self, path: str, frames: np.ndarray) -> None:
        """Compare the frames of a clip with their checksum, once per process."""
        if self._checksums is None:
            self._checksums = _read_checksums(self.file)
        if path in self._checksums and self._checksums[path] != zlib.crc32(frames.data):
            raise DataError(
                f"{self.file} is damaged: wrong checksum of the frames of {path}; remove the file "
                f"to build it again"
            )
        self._checked.add(path)


def open_cache(manifest: Manifest, root: Path, size: int, folder: Path) -> FrameCache:
    """Return the cache of a dataset's frames; decode them all first if it is missing or incomplete.

    If several processes ask at once, one builds the cache and the others wait.

    Raises:
        DataError: The disk is too full or cannot be written, or a clip's frames differ from the
            manifest.
        VideoError: A frame cannot be read.
    """
    places = _place_clips(manifest)
    digits = fingerprint_frames(manifest, root)
    cache = FrameCache(folder / f"{manifest.dataset}-{size}-{digits}.frames", places, size)
    length = sum(place.n_frames for place in places.values()) * cache.frame_bytes
    if _is_complete(cache.file, length):
        return cache
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # faces are private
        with locking(folder / f".{digits}-{size}.lock", wait_s=-1):
            if not _is_complete(cache.file, length):  # another process may have built it
                _build(cache.file, FrameFolders(root, size), places, length)
    except OSError as error:
        path = Path(str(error.filename))
        if path.is_relative_to(root) and not path.is_relative_to(folder):
            raise DataError(
                f"cannot read {error.filename}: {explain_system_error(error)}"
            ) from error
        raise DataError(
            f"cannot write {cache.file} ({describe_system_error(error)}); use another "
            f"--cache-dir, or --no-cache"
        ) from error
    return cache


def fingerprint_frames(manifest: Manifest, root: Path) -> str:
    """Return twelve hex digits that change with the frames of a dataset.

    They depend on the clips' paths, numbers of frames and times of their folders, which change when
    frames are added, removed, renamed or cropped again. Labels and folds have no influence, and a
    frame that is overwritten in place is not noticed.

    Raises:
        DataError: A clip's folder is missing.
    """
    digest = hashlib.sha256(f"{VERSION}\n{root.resolve()}\n".encode())
    for path, place in _place_clips(manifest).items():
        times = ",".join(str(_change_time(folder, root)) for folder in clip_folders(root, path))
        digest.update(f"{path}\t{place.n_frames}\t{times}\n".encode())
    return digest.hexdigest()[:12]


def _change_time(folder: Path, root: Path) -> int:
    """Return the modification time of a folder in nanoseconds."""
    try:
        return folder.stat().st_mtime_ns
    except PermissionError as error:
        raise DataError(f"cannot read {folder}: {explain_system_error(error)}") from error
    except OSError as error:
        raise DataError(
            f"folder {folder} does not exist; check that {root} is the data root, or run "
            f"`dfer preprocess` again"
        ) from error


def _place_clips(manifest: Manifest) -> dict[str, ClipPlace]:
    """Place the clips one after the other, by path; two rows may share a path."""
    rows = manifest.rows.drop_duplicates("path").sort_values("path")
    starts = rows["n_frames"].cumsum() - rows["n_frames"]
    columns = (rows["path"].tolist(), starts.tolist(), rows["n_frames"].tolist())
    return {path: ClipPlace(start, n) for path, start, n in zip(*columns, strict=True)}


def _is_complete(file: Path, length: int) -> bool:
    return file.is_file() and file.stat().st_size == length


def _build(file: Path, source: FrameFolders, places: dict[str, ClipPlace], length: int) -> None:
    """Decode all frames into the file, in parallel, with one frame per thread in memory."""
    file.unlink(missing_ok=True)  # it is incomplete
    _motion_file(file).unlink(missing_ok=True)  # frames may have been overwritten
    free = shutil.disk_usage(file.parent).free - SPARE_BYTES
    if free < length:
        raise DataError(
            f"the cache needs {length / 1e9:.1f} GB, but only {max(0, free) / 1e9:.1f} GB are free "
            f"in {file.parent}; use another --cache-dir, or --no-cache"
        )
    with replacing(file) as partial:
        with partial.open("wb") as stream:
            stream.truncate(length)
        clips, checksums = list(places.items()), {}
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # OpenCV decodes without Python's lock
            try:
                futures = {pool.submit(_write_clip, partial, source, *clip): clip for clip in clips}
                with show_progress(total=len(clips), desc="cache", unit="clip") as bar:
                    for future in as_completed(futures):
                        checksums[futures[future][0]] = future.result()
                        bar.update()
            finally:
                pool.shutdown(cancel_futures=True)
        write_json(_checksum_file(file), checksums)


def _write_clip(file: Path, source: FrameFolders, path: str, place: ClipPlace) -> int:
    """Write the frames of one clip; return their checksum."""
    checksum = 0
    paths = list_clip(source.root, path, place.n_frames)
    with file.open("r+b") as stream:
        stream.seek(place.start * 3 * source.size**2)
        for frame in source.decode(paths):
            content = frame.tobytes()
            stream.write(content)
            checksum = zlib.crc32(content, checksum)
    return checksum


def _checksum_file(file: Path) -> Path:
    return file.with_suffix(".json")


def _motion_file(file: Path) -> Path:
    return file.with_suffix(".motion.npz")


def _read_checksums(file: Path) -> dict[str, int]:
    """Return the checksum of each clip; earlier versions wrote none."""
    try:
        checksums: dict[str, int] = json.loads(_checksum_file(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{_checksum_file(file)} is damaged; remove it and {file}") from error
    return checksums
