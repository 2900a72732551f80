"""Videos in folders: files, folders of frames, and photos."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dfercli.media.images import IMAGE_SUFFIXES

_SUFFIXES = (
    ".mp4 .m4v .mov .qt .avi .mkv .webm .mpg .mpeg .mpe .m1v .m2v .vob .ts .mts .m2ts .3gp .3g2 "
    ".wmv .asf .flv .f4v .ogv .ogg .gif .avif .mxf .dv .y4m .mjpeg .mjpg .divx .rm .rmvb"
)
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())
"""What counts as a video in a folder; a file that is named itself may have any suffix. Source:
FFmpeg's demuxers (`ffmpeg -demuxers`), those that usually hold pictures."""

SPECIAL = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


@dataclass(frozen=True)
class FoundVideo:
    """A video that was found.

    Attributes:
        path: The file or folder.
        kind: `file` (a video or an image) or `frames` (a folder of images).
        error: Why it cannot be read, in one line, if that is known.
    """

    path: Path
    kind: str = "file"
    error: str | None = None


def natural_key(name: str | Path) -> tuple[object, ...]:
    """Return a key that sorts names as people do: `clip2` before `clip10`, folder by folder."""
    parts = re.split(r"[/\\]", str(name))
    split = (re.split(r"([0-9]+)", part.casefold()) for part in parts)
    keys = tuple(tuple(int(w) if i % 2 else w for i, w in enumerate(words)) for words in split)
    return (keys, str(name))


def find_mode(path: Path) -> int | str:
    """Return the mode of a file, or why there is none."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return "a broken link" if path.is_symlink() else "no such file or folder"
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long, a NUL
        return (getattr(error, "strerror", None) or str(error)).lower()


def find_fault(mode: int | str) -> str | None:
    """Return why something is not a file that can be read: reading it might never end."""
    if isinstance(mode, str):
        return mode
    if stat.S_ISREG(mode):
        return None
    kind = next((name for test, name in SPECIAL if test(mode)), "a device")
    return f"{kind}, not a file; save the video to a file first"


def check_file(path: Path) -> FoundVideo:
    """Return a file as a video, with the reason if it cannot be read."""
    return FoundVideo(path, error=find_fault(find_mode(path)))


def are_frames(names: Sequence[str]) -> bool:
    """Return whether images are the frames of one video: their names differ in the last number.

    At least half of the numbers from the first to the last must be there, or three or more must go
    in equal steps (our choice). A single image needs a number only.
    """
    matches = [re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", Path(name).stem) for name in names]
    parts = [match.groups() for match in matches if match is not None]
    if len(parts) < len(names) or len({(before, after) for before, _, after in parts}) > 1:
        return False
    numbers = sorted(int(number) for _, number, _ in parts)
    steps = {b - a for a, b in pairwise(numbers)}
    if 0 in steps:
        return False
    in_steps = len(steps) == 1 and len(numbers) > 2
    return in_steps or 2 * len(numbers) >= numbers[-1] - numbers[0] + 1


@dataclass(frozen=True)
class _Listing:
    """What a folder holds, without hidden names and outputs of dfer."""

    folder: Path
    videos: list[Path]
    folders: list[Path]
    images: dict[Path, str | None]  # with the reason if one cannot be read

    def frames(self) -> list[FoundVideo]:
        """Return its images as one video, or each by itself."""
        if not are_frames([path.name for path in self.images]):
            return [FoundVideo(path, error=fault) for path, fault in self.images.items()]
        faults = (f"its {path.name} is {fault}" for path, fault in self.images.items() if fault)
        return [FoundVideo(self.folder, "frames", next(faults, None))]


class Folders:
    """Searches folders, without the outputs that lie below the start of the search."""

    def __init__(self, start: Path, outputs: Sequence[Path]) -> None:
        real = [Path(os.path.realpath(path)) for path in outputs]
        self._outputs = {path for path in real if Path(os.path.realpath(start)) in path.parents}

    def is_output(self, path: Path) -> bool:
        """Return whether something is an output, or in one."""
        real = Path(os.path.realpath(path))
        return not self._outputs.isdisjoint((real, *real.parents))

    def search(self, top: Path) -> list[FoundVideo]:
        """Return the videos, folders of frames and photos in a folder and below.

        Images beside or above videos and frames are left out. Each real folder is read once.
        """
        videos: list[FoundVideo] = []
        listings = []
        for listing in self._walk(top):
            if isinstance(listing, FoundVideo):
                videos.append(listing)
            else:
                listings.append(listing)
                videos += map(check_file, listing.videos)
        holding: set[Path] = set()  # folders with videos or frames in them, or below
        for listing in sorted(listings, key=lambda item: len(item.folder.parts), reverse=True):
            images: list[FoundVideo] = []
            if not listing.videos and holding.isdisjoint(listing.folders):
                images = listing.frames() if listing.images else []
                videos += images
                if not any(video.kind == "frames" for video in images):
                    continue
            holding.add(listing.folder)
        return sorted(videos, key=lambda video: natural_key(video.path))

    def _walk(self, top: Path) -> Iterator[_Listing | FoundVideo]:
        """Yield each folder, those behind links last, so that videos have their real names."""
        waiting, links, seen = [top], list[Path](), set[tuple[int, int]]()
        while waiting or links:
            folder = waiting.pop() if waiting else links.pop(0)
            try:
                state = folder.stat()
                if (state.st_dev, state.st_ino) in seen:
                    continue
                seen.add((state.st_dev, state.st_ino))
                listing = self._list(folder)
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                yield FoundVideo(folder, "frames", f"this folder cannot be read: {reason}")
                continue
            yield listing
            links += [path for path in listing.folders if path.is_symlink()]
            waiting += [path for path in reversed(listing.folders) if not path.is_symlink()]

    def _list(self, folder: Path) -> _Listing:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
        paths = [path for path in paths if not self.is_output(path)]
        modes = {path: find_mode(path) for path in sorted(paths, key=natural_key)}
        folders = [p for p, mode in modes.items() if isinstance(mode, int) and stat.S_ISDIR(mode)]
        files = [path for path in modes if path not in set(folders)]
        images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
        return _Listing(folder, videos, folders, {p: find_fault(modes[p]) for p in images})
