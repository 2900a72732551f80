"""Resolve arguments to videos: files, folders, patterns, lists, streams and cameras."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dfercli.media.find_videos import Folders, check_file, find_mode, natural_key
from dfercli.predict.prediction import plain_text

_SCHEMES = "rtsp rtsps rtmp rtmps rtp srt udp tcp http https mms mmsh hls"
SCHEMES = frozenset(_SCHEMES.split())
"""Schemes of streams. Source: FFmpeg (`ffmpeg -protocols`), its protocols for live video."""


@dataclass(frozen=True)
class Input:
    """One video.

    Attributes:
        name: Path, URL of a stream, or number of a camera.
        kind: `file` (a video or an image), `frames` (a folder of images), `stream` or `camera`.
        error: Why it cannot be read, in one line, if this is known already.
        number: Number among the videos with the same title, from 1.
        alias: Name to write instead of `name`, if not empty.
        is_touched: Whether its modification time may change during reading, as for an upload.
    """

    name: str
    kind: str = "file"
    error: str | None = None
    number: int = 1
    alias: str = ""
    is_touched: bool = False

    @property
    def title(self) -> str:
        """Name in valid UTF-8 without passwords, with the number if it is 2 or higher."""
        text = plain_text(self.alias or self.name)
        return text if self.number == 1 else f"{text} ({self.number})"

    @property
    def source(self) -> Path | str | int:
        """Argument for `Predictor.open`."""
        if self.kind == "camera":
            return int(self.name)
        return self.name if self.kind == "stream" else Path(self.name)

    @property
    def path(self) -> Path | None:
        """Path of the file or folder; None for a stream or camera."""
        return None if self.is_live else Path(self.name)

    @property
    def is_live(self) -> bool:
        """Whether it is a stream or camera, which can be read only once and may never end."""
        return self.kind in ("stream", "camera")


OnProgress = Callable[[Input, str, float, float], object]
"""Called with the video, the activity ("reading", "drawing" or "annotating"), the position in
seconds, and the length of the video in seconds, 0 if unknown."""


def find_inputs(
    typed: Sequence[str], lines: Iterable[str] = (), outputs: Sequence[Path] = ()
) -> list[Input]:
    """Resolve arguments to videos, without duplicates.

    Videos keep the order of the arguments, and natural order within a folder or pattern. Those that
    cannot be read have an `error`. Their titles are unique.

    Args:
        typed: Files; folders of videos, or of the frames of one video; patterns such as `**/*.mp4`;
            URLs of streams; numbers of cameras; or `-` for the arguments in `lines`.
        lines: Arguments, one per line or separated by NUL; blank ones are ignored.
        outputs: Output files and folders. Folders and patterns that contain them do not yield them.
    """
    words = [w for word in typed for w in (split_lines(lines) if word == "-" else (word,))]
    found: dict[tuple[str, str], Input] = {}
    for word in words:
        for video in _find(word, outputs):
            found.setdefault(_identity(video), video)
    titled: dict[str, Input] = {}
    for video in found.values():
        while video.title in titled:  # as of streams with different passwords
            video = replace(video, number=video.number + 1)
        titled[video.title] = video
    return list(titled.values())


def split_lines(lines: Iterable[str]) -> list[str]:
    """Return names, one per line, or separated by NUL, as `find -print0` writes them."""
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
    """Return the videos of one argument, or one `Input` with an error."""
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
    videos = folders.search(path) if path.is_dir() else [check_file(path)]
    return [Input(str(video.path), video.kind, video.error) for video in videos] or [
        Input(str(path), "frames", "no videos or images in this folder or its subfolders")
    ]


def _find_pattern(pattern: str, outputs: Sequence[Path]) -> list[Input]:
    """Return the matching videos, without hidden files; `**` does not follow links."""
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
    videos = [v for m in matches if not folders.is_output(m) for v in _find_path(m, folders)]
    return videos or [Input(pattern, error="no file matches this pattern")]


def _has_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith(".") for part in parts)
