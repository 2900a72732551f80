"""Arguments resolved to videos: files, folders, patterns, lists, streams and cameras."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dfercli.media.find_videos import Folders, check_file, find_mode, natural_key
from dfercli.predict.prediction import plain_text

_SCHEMES = "rtsp rtsps rtmp rtmps rtp srt udp tcp http https mms mmsh hls"
SCHEMES = frozenset(_SCHEMES.split())
"""Addresses of streams. Source: FFmpeg's protocols (`ffmpeg -protocols`), those of live video."""


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


OnProgress = Callable[[Input, str, float, float], object]
"""Called with the video, what is being done ("reading", "drawing" or "annotating"), the second of
the video that is reached, and its length in seconds, 0 if unknown."""


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
        return [Input(word, error="the name is empty")]
    state = find_mode(Path(word))
    if not isinstance(state, str):
        return _find_path(Path(word), Folders(Path(word), outputs))
    if match := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", word):
        scheme, known = match[1].lower(), ", ".join(sorted(SCHEMES))
        error = f"unsupported stream scheme {scheme}://; use one of {known}, or the path of a file"
        return [Input(word, "stream", None if scheme in SCHEMES else error)]
    if re.fullmatch(r"[0-9]{1,3}", word):
        return [Input(str(int(word)), "camera")]
    if re.search(r"[*?[]", word):
        return _find_pattern(word, outputs)
    return [Input(word, error=state)]


def _find_path(path: Path, folders: Folders) -> list[Input]:
    found = folders.search(path) if path.is_dir() else [check_file(path)]
    return [Input(str(video.path), video.kind, video.error) for video in found] or [
        Input(str(path), "frames", "no videos or images in this folder or its subfolders")
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
        return [Input(pattern, error=f"not a valid pattern: {error}")]
    if not _has_hidden(rest):
        matches = [path for path in matches if not _has_hidden(path.relative_to(base).parts)]
    folders = Folders(base, outputs)
    found = [v for m in matches if not folders.is_output(m) for v in _find_path(m, folders)]
    return found or [Input(pattern, error="no file matches this pattern")]


def _has_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)
