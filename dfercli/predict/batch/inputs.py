"""Arguments resolved to videos: files, folders, patterns, lists, streams and cameras."""

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
"""What counts as a video in a folder; a file that is named itself may have any suffix. Source:
FFmpeg's demuxers (`ffmpeg -demuxers`), those that usually hold pictures."""

SPECIAL = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))


@dataclass(frozen=True)
class Input:
    """One video.

    Attributes:
        name: Its path as given or found, an address, or a camera's number.
        kind: `file` (a video or an image), `frames` (a folder of images), `stream` or `camera`.
        error: Why it cannot be read, in one line, if that is known already.
        number: Which it is of those whose names are written identically, see `title`; from 1.
        alias: Written instead of the name if not empty.
        is_touched: Whether its time may change while it is read, as that of an upload in use.
    """

    name: str
    kind: str = "file"
    error: str | None = None
    number: int = 1
    alias: str = ""
    is_touched: bool = False

    @property
    def title(self) -> str:
        """Its name in UTF-8, without a password, and with its number from 2 on."""
        text = plain_text(self.alias or self.name)
        return text if self.number == 1 else f"{text} ({self.number})"

    @property
    def source(self) -> Path | str | int:
        """The argument of `Predictor.open`."""
        if self.kind == "camera":
            return int(self.name)
        return self.name if self.kind == "stream" else Path(self.name)

    @property
    def path(self) -> Path | None:
        """The file or folder; None for a stream or camera."""
        return None if self.is_live else Path(self.name)

    @property
    def is_live(self) -> bool:
        """Whether it is a stream or a camera, which can be read only once and may never end."""
        return self.kind in ("stream", "camera")


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
        return "a link to what is not there" if path.is_symlink() else "no such file or folder"
    except (OSError, ValueError) as error:  # a loop of links, a name that is too long, a NUL
        return (getattr(error, "strerror", None) or str(error)).lower()


def find_fault(mode: int | str) -> str | None:
    """Return why something is not a file that can be read: reading it might never end."""
    if isinstance(mode, str):
        return mode
    if stat.S_ISREG(mode):
        return None
    kind = next((name for test, name in SPECIAL if test(mode)), "a device")
    return f"{kind}, no file; save the video as a file first"


def _check_file(path: Path) -> Input:
    return Input(str(path), error=find_fault(find_mode(path)))


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

    def frames(self) -> list[Input]:
        """Return its images as one video, or each by itself."""
        if not are_frames([path.name for path in self.images]):
            return [Input(str(path), error=fault) for path, fault in self.images.items()]
        faults = (f"its {path.name} is {fault}" for path, fault in self.images.items() if fault)
        return [Input(str(self.folder), "frames", next(faults, None))]


class Folders:
    """Searches folders, without the outputs that lie below the start of the search."""

    def __init__(self, start: Path, outputs: Sequence[Path]) -> None:
        real = [Path(os.path.realpath(path)) for path in outputs]
        self._outputs = {path for path in real if Path(os.path.realpath(start)) in path.parents}

    def is_output(self, path: Path) -> bool:
        """Return whether something is an output, or in one."""
        real = Path(os.path.realpath(path))
        return not self._outputs.isdisjoint((real, *real.parents))

    def search(self, top: Path) -> list[Input]:
        """Return the videos, folders of frames and photos in a folder and below.

        Images beside or above videos and frames are left out. Each real folder is read once.
        """
        found: list[Input] = []
        listings = []
        for listing in self._walk(top):
            if isinstance(listing, Input):
                found.append(listing)
            else:
                listings.append(listing)
                found += map(_check_file, listing.videos)
        holding: set[Path] = set()  # folders with videos or frames in them, or below
        for listing in sorted(listings, key=lambda one: len(one.folder.parts), reverse=True):
            images: list[Input] = []
            if not listing.videos and holding.isdisjoint(listing.folders):
                images = listing.frames() if listing.images else []
                found += images
                if not any(video.kind == "frames" for video in images):
                    continue
            holding.add(listing.folder)
        return sorted(found, key=lambda video: natural_key(video.name))

    def _walk(self, top: Path) -> Iterator[_Listing | Input]:
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
                yield Input(str(folder), "frames", f"this folder cannot be read: {reason}")
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


_SCHEMES = "rtsp rtsps rtmp rtmps rtp srt udp tcp http https mms mmsh hls"
SCHEMES = frozenset(_SCHEMES.split())
"""Addresses of streams. Source: FFmpeg's protocols (`ffmpeg -protocols`), those of live video."""


def find_inputs(
    typed: Sequence[str], lines: Iterable[str] = (), outputs: Sequence[Path] = ()
) -> list[Input]:
    """Return the videos that arguments stand for, each once.

    Args:
        typed: Files; folders, searched for videos unless they hold only images, the frames of one;
            patterns such as `**/*.mp4`; addresses of streams; numbers of cameras; or `-` for the
            arguments in `lines`.
        lines: Arguments, one per line, or separated by NUL; blank ones are ignored.
        outputs: Files and folders that are written. Folders and patterns that begin above them
            leave them out, so that the same call finds the same videos again.

    Returns:
        The videos in the order of the arguments, those of a folder or pattern in natural order,
        with an `error` if they cannot be read. No two have the same `title`.
    """
    words = [w for word in typed for w in (split_lines(lines) if word == "-" else (word,))]
    found: dict[tuple[str, str], Input] = {}
    for word in words:
        for video in _find(word, outputs):
            found.setdefault(_identity(video), video)
    titled: dict[str, Input] = {}
    for video in found.values():
        while video.title in titled:  # streams with other passwords, undecodable bytes
            video = replace(video, number=video.number + 1)
        titled[video.title] = video
    return list(titled.values())


def split_lines(lines: Iterable[str]) -> list[str]:
    """Return names, one per line, or separated by NUL (as from `find -print0`) if there is one."""
    text = "\n".join(line.removesuffix("\n") for line in lines)
    if "\0" in text:
        return [name for name in text.split("\0") if name.strip()]
    return [name for line in text.split("\n") if (name := line.removesuffix("\r")).strip()]


def _identity(video: Input) -> tuple[str, str]:
    if video.is_live:
        return (video.kind, video.name)
    try:
        return ("path", str(Path(video.name).resolve()))
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL
        return ("path", video.name)


def _find(word: str, outputs: Sequence[Path]) -> list[Input]:
    """Return the videos of one argument, or one `Input` that says why there is none."""
    if not word.strip():
        return [Input(word, error="an empty name")]
    state = find_mode(Path(word))
    if not isinstance(state, str):
        return _find_path(Path(word), Folders(Path(word), outputs))
    if match := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", word):
        scheme, known = match[1].lower(), ", ".join(sorted(SCHEMES))
        error = f"no kind of stream {scheme}://; name a file by its path, or use one of {known}"
        return [Input(word, "stream", None if scheme in SCHEMES else error)]
    if re.fullmatch(r"[0-9]{1,3}", word):
        return [Input(str(int(word)), "camera")]
    if re.search(r"[*?[]", word):
        return _find_pattern(word, outputs)
    return [Input(word, error=state)]


def _find_path(path: Path, folders: Folders) -> list[Input]:
    if not path.is_dir():
        return [_check_file(path)]
    return folders.search(path) or [
        Input(str(path), "frames", "no video in this folder, nor below; nor images")
    ]


def _find_pattern(pattern: str, outputs: Sequence[Path]) -> list[Input]:
    """Return what matches, except hidden names and, below `**`, what is behind links."""
    path = Path(pattern)
    parts = list(path.parts)
    first = next(i for i, part in enumerate(parts) if re.search(r"[*?[]", part))
    base, rest = Path(*parts[:first]), parts[first:]
    while rest and rest[-1] == "**":  # the search of a folder finds what is below
        rest.pop()
    try:
        matches = sorted(base.glob("/".join(rest)) if rest else [base], key=natural_key)
    except (OSError, ValueError) as error:
        return [Input(pattern, error=f"no pattern of names: {error}")]
    if not _has_hidden(rest):
        matches = [path for path in matches if not _has_hidden(path.relative_to(base).parts)]
    folders = Folders(base, outputs)
    found = [v for m in matches if not folders.is_output(m) for v in _find_path(m, folders)]
    return found or [Input(pattern, error="nothing is named so")]


def _has_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)
