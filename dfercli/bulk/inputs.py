"""What is typed, as a list of videos: files, folders, patterns, lists, streams and cameras.

What cannot be read is kept in its place with a text that says why, so that the others go on.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dfercli.bulk.document import plain_text
from dfercli.bulk.folders import Folders, find_fault, look, order

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
        number: Which it is of those whose names are written alike, see `title`; from 1.
    """

    name: str
    kind: str = "file"
    error: str | None = None
    number: int = 1

    @property
    def title(self) -> str:
        """Its name as it is written: in UTF-8, without a password, with its number from 2 on."""
        text = plain_text(self.name)
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
