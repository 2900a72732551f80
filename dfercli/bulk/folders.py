"""Folders, searched for videos, folders of frames, and photos."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dfercli.images import IMAGE_SUFFIXES

_SUFFIXES = (
    ".mp4 .m4v .mov .qt .avi .mkv .webm .mpg .mpeg .mpe .m1v .m2v .vob .ts .mts .m2ts .3gp .3g2 "
    ".wmv .asf .flv .f4v .ogv .ogg .gif .avif .mxf .dv .y4m .mjpeg .mjpg .divx .rm .rmvb"
)
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())
"""What counts as a video in a folder that is searched. Source: FFmpeg's demuxers (`ffmpeg
-demuxers`), those that usually hold pictures; a file that is named itself may have any suffix."""

SPECIAL = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))

Found = tuple[str, str, str | None]
"""Name, kind and error of an `Input`."""


def natural_key(name: str) -> tuple[object, ...]:
    """Give what sorts names as people do: `clip2` before `clip10`, folder by folder."""
    parts = re.split(r"[/\\]", name)
    split = (re.split(r"([0-9]+)", part.casefold()) for part in parts)
    keys = tuple(tuple(int(w) if i % 2 else w for i, w in enumerate(words)) for words in split)
    return (keys, name)


def order(path: Path) -> tuple[object, ...]:
    """Give what sorts paths as people do."""
    return natural_key(str(path))


def look(path: Path) -> int | str:
    """Give the mode of a file, or why there is none."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return "a link to what is not there" if path.is_symlink() else "no such file or folder"
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long, a NUL
        return (getattr(error, "strerror", None) or str(error)).lower()


def find_fault(mode: int | str) -> str | None:
    """Say what keeps something from being a file: reading it might never end."""
    if isinstance(mode, str) or stat.S_ISREG(mode):
        return mode if isinstance(mode, str) else None
    what = next((name for test, name in SPECIAL if test(mode)), "a device")
    return f"{what}, no file; save the video as a file first"


def are_frames(names: Sequence[str]) -> bool:
    """Whether images are the frames of one video: numbered in a row, and else named alike.

    In a row is what misses no more than half of the numbers between the first and the last, and
    what goes in equal steps, three images or more (our choice). One image is if it has a number.
    """
    found = [re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", Path(name).stem) for name in names]
    parts = [each.groups() for each in found if each is not None]
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
    """What a folder holds that counts: hidden names do not, nor what dfer writes."""

    folder: Path
    videos: list[Path]
    folders: list[Path]
    images: dict[Path, str | None]  # and why one cannot be read

    def frames(self) -> list[Found]:
        """Give its images: as one video, or each by itself."""
        if not are_frames([path.name for path in self.images]):
            return [(str(path), "file", fault) for path, fault in self.images.items()]
        faults = (f"its {path.name} is {fault}" for path, fault in self.images.items() if fault)
        return [(str(self.folder), "frames", next(faults, None))]


class Folders:
    """Searches folders, and leaves out what is written below the one where a search begins.

    Args:
        start: Where it begins.
        outputs: Files and folders that are written.
    """

    def __init__(self, start: Path, outputs: Sequence[Path]) -> None:
        real = [Path(os.path.realpath(path)) for path in outputs]
        self._outputs = {path for path in real if Path(os.path.realpath(start)) in path.parents}

    def is_output(self, path: Path) -> bool:
        """Whether something is an output, or in one."""
        if not self._outputs:
            return False
        real = Path(os.path.realpath(path))
        return not self._outputs.isdisjoint((real, *real.parents))

    def search(self, top: Path) -> list[Found]:
        """Give the videos below a folder, its folders of frames, and photos.

        Images beside videos or above videos and frames are left out. Each real folder is read once.
        """
        found: list[Found] = []
        listings = []
        for listing in self._walk(top):
            if isinstance(listing, tuple):
                found.append(listing)
            else:
                listings.append(listing)
                found += [(str(path), "file", find_fault(look(path))) for path in listing.videos]
        holding: set[Path] = set()  # folders with videos or frames in them, or below
        for listing in sorted(listings, key=lambda each: len(each.folder.parts), reverse=True):
            images: list[Found] = []
            if not listing.videos and holding.isdisjoint(listing.folders):
                images = listing.frames() if listing.images else []
                found += images
                if not any(kind == "frames" for _, kind, _ in images):
                    continue
            holding.add(listing.folder)
        return sorted(found, key=lambda each: natural_key(each[0]))

    def _walk(self, top: Path) -> Iterator[_Listing | Found]:
        """Read folder after folder, those behind links last, so that a name is the real one."""
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
                said = (error.strerror or str(error)).lower()
                yield str(folder), "frames", f"this folder cannot be read: {said}"
                continue
            yield listing
            links += [path for path in listing.folders if path.is_symlink()]
            waiting += [path for path in reversed(listing.folders) if not path.is_symlink()]

    def _list(self, folder: Path) -> _Listing:
        shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
        mine = [path for path in shown if not self.is_output(path)]
        modes = {path: look(path) for path in sorted(mine, key=order)}
        folders = [p for p, mode in modes.items() if isinstance(mode, int) and stat.S_ISDIR(mode)]
        files = [path for path in modes if path not in set(folders)]
        images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
        return _Listing(folder, videos, folders, {p: find_fault(modes[p]) for p in images})
