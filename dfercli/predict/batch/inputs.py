"""Arguments resolved to inputs: files, folders, patterns, lists, streams and cameras."""

import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from dfercli.media.images import IMAGE_SUFFIXES
from dfercli.predict.batch.formats import plain_text

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


_SCHEMES = "rtsp rtsps rtmp rtmps rtp srt udp tcp http https mms mmsh hls"
SCHEMES = frozenset(_SCHEMES.split())
"""Addresses of streams. Source: FFmpeg's protocols (`ffmpeg -protocols`), those of live video."""


@dataclass(frozen=True)
class Input:
    """One video that is asked for.

    Attributes:
        name: Its path as it was typed or found, an address, or a camera's number.
        kind: `file` (a video or an image), `frames` (a folder of them), `stream` or `camera`.
        error: Why it cannot be read, in one line, where that is known before; else None.
        number: Which it is of those whose names are written identically, see `title`; from 1.
        alias: Written instead of the name if not empty.
    """

    name: str
    kind: str = "file"
    error: str | None = None
    number: int = 1
    alias: str = ""

    @property
    def title(self) -> str:
        """Its name as it is written: in UTF-8, without a password, with its number from 2 on."""
        text = plain_text(self.alias or self.name)
        return text if self.number == 1 else f"{text} ({self.number})"

    @property
    def source(self) -> Path | str | int:
        """What `Predictor.open` takes."""
        if self.kind == "camera":
            return int(self.name)
        return self.name if self.kind == "stream" else Path(self.name)

    @property
    def path(self) -> Path | None:
        """The file or folder; None of what is live."""
        return None if self.is_live else Path(self.name)

    @property
    def is_live(self) -> bool:
        """Whether it is a stream or a camera: read once, and perhaps without an end."""
        return self.kind in ("stream", "camera")


def find_inputs(
    typed: Sequence[str], lines: Iterable[str] = (), outputs: Sequence[Path] = ()
) -> list[Input]:
    """Give the videos that words on the command line stand for, each once.

    Args:
        typed: A video or image file; a folder, searched for videos unless it holds nothing but
            images, which are then the frames of one; a pattern such as `**/*.mp4`; the address of
            a stream; the number of a camera; or `-` for the words in `lines`.
        lines: Words, one a line, or ended by NUL where there is one; blank ones do not count.
        outputs: Files and folders that are written: folders and patterns that begin above them
            leave them out, so that the same call again finds the same videos.

    Returns:
        In the order of the words, what a folder or pattern gives in the natural order of names.
        What is missing, empty or no file has an `error`. No two have one `title`.
    """
    words = [w for word in typed for w in (split_lines(lines) if word == "-" else (word,))]
    found: dict[tuple[str, str], Input] = {}
    for word in words:
        for each in _find(word, outputs):
            found.setdefault(_identity(each), each)
    return _number(found.values())


def _number(inputs: Iterable[Input]) -> list[Input]:
    """Tell apart those whose names are written alike: streams with other passwords, odd bytes."""
    titles: set[str] = set()
    numbered = []
    for each in inputs:
        while each.title in titles:
            each = replace(each, number=each.number + 1)
        titles.add(each.title)
        numbered.append(each)
    return numbered


def split_lines(lines: Iterable[str]) -> list[str]:
    """Give names, one a line, or ended by NUL (as `find -print0` does) where there is one."""
    text = "\n".join(line.removesuffix("\n") for line in lines)
    if "\0" in text:
        return [name for name in text.split("\0") if name.strip()]
    return [name for line in text.split("\n") if (name := line.removesuffix("\r")).strip()]


def _identity(found: Input) -> tuple[str, str]:
    if found.is_live:
        return (found.kind, found.name)
    try:
        return ("path", str(Path(found.name).resolve()))
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL
        return ("path", found.name)


def _find(word: str, outputs: Sequence[Path]) -> list[Input]:
    """Give the videos of one word, or one `Input` that says why there is none."""
    if not word.strip():
        return [Input(word, error="an empty name")]
    state = look(Path(word))
    if not isinstance(state, str):
        return _find_path(Path(word), Folders(Path(word), outputs))
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", word)
    if scheme:
        return [_find_stream(word, scheme[1].lower())]
    if re.fullmatch(r"[0-9]{1,3}", word):
        return [Input(str(int(word)), "camera")]
    if re.search(r"[*?[]", word):
        return _find_pattern(word, outputs)
    return [Input(word, error=state)]


def _find_stream(address: str, scheme: str) -> Input:
    if scheme in SCHEMES:
        return Input(address, "stream")
    known = ", ".join(sorted(SCHEMES))
    said = f"no kind of stream {scheme}://; name a file by its path, or use one of {known}"
    return Input(address, "stream", said)


def _find_path(path: Path, folders: Folders) -> list[Input]:
    if not path.is_dir():
        return [Input(str(path), error=find_fault(look(path)))]
    return [Input(*found) for found in folders.search(path)] or [
        Input(str(path), "frames", "no video in this folder, nor below; nor images")
    ]


def _find_pattern(pattern: str, outputs: Sequence[Path]) -> list[Input]:
    """Give what matches, but for hidden names and, below `**`, what is behind links."""
    path = Path(pattern)
    parts = list(path.parts)
    first = next(i for i, part in enumerate(parts) if re.search(r"[*?[]", part))
    base, rest = Path(*parts[:first]), parts[first:]
    while rest and rest[-1] == "**":  # all that is below: the search of a folder does that
        rest.pop()
    try:
        matches = sorted(base.glob("/".join(rest)) if rest else [base], key=order)
    except (OSError, ValueError) as error:
        return [Input(pattern, error=f"no pattern of names: {error}")]
    hidden = any(part.startswith(".") for part in rest)
    shown = [p for p in matches if hidden or not _is_hidden(p.relative_to(base))]
    folders = Folders(base, outputs)
    mine = [path for path in shown if not folders.is_output(path)]
    found = [each for match in mine for each in _find_path(match, folders)]
    return found or [Input(pattern, error="nothing is named so")]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
