"""What is finished of many videos, on disk line by line, so that a second call does the rest.

The journal is JSON Lines: the file of `--out x.jsonl` itself, or a hidden one beside `x.json`,
`x.csv` or `x.parquet`, which are written from it, whole, when all videos are done. After Ctrl-C it
keeps what is finished, and they are not written.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from filelock import FileLock, Timeout
from tqdm import tqdm

from dfercli.bulk.document import (
    UNREADABLE,
    WRITERS,
    Record,
    Recorded,
    describe_origin,
    to_line,
    write_document,
)
from dfercli.bulk.hashes import hash_content
from dfercli.bulk.inputs import Input
from dfercli.bulk.origin import Origin
from dfercli.errors import ConfigError, DataError
from dfercli.files import replacing

LINES = ".jsonl"


def journal_file(out: Path) -> Path:
    """Give the file of the lines from which `out` is written."""
    is_lines = out.suffix.lower() == LINES
    return out if is_lines else out.with_name(f".{out.name}{LINES}")


@dataclass
class _Lines:
    """Where the lines of one video are: first byte and length of each."""

    windows: list[tuple[int, int]] = field(default_factory=list)
    closing: tuple[int, int] | None = None


class Journal:
    """The lines of finished videos, and of those that are being read; made by `open_journal`.

    Attributes:
        out: The file that is asked for.
        kept: Titles of the videos that an earlier call has finished.
        dropped: How many it has finished with other settings, or with another content.
    """

    def __init__(self, out: Path, origin: Record) -> None:
        self.out = out
        self.kept: set[str] = set()
        self.dropped = 0
        self._origin = origin
        self._path = journal_file(out)
        self._lines: dict[str, _Lines] = {}
        self._stream: BinaryIO | None = None

    def add_window(self, video: str, window: Record) -> None:
        """Append the line of a window that has ended.

        Args:
            video: Title of the video.
            window: Of `describe_window`.
        """
        self._append("window", {"video": video, **window})

    def add_video(self, record: Record) -> None:
        """Append the closing line of a video, and see it on the disk."""
        self._append("video", record)
        assert self._stream is not None  # opened by `_append`
        os.fsync(self._stream.fileno())

    def records(self, titles: Sequence[str]) -> Iterator[Recorded]:
        """Give the finished ones among videos, in this order, with their windows in order of time.

        Windows of a face that was not named in the end are left out, and those of a video that
        broke off.
        """
        if not self._lines:
            return
        with self._path.open("rb") as stream:
            for title in titles:
                lines = self._lines.get(title, _Lines())
                if lines.closing is not None:
                    yield _read_video(stream, lines)

    def write_json(self, stream: TextIO, titles: Sequence[str]) -> None:
        """Write the document of these videos into an open file."""
        write_document(stream, self._origin, self.records(titles))

    def finish(self, titles: Sequence[str]) -> None:
        """Write the file that is asked for, of these videos and in this order."""
        if self.out == self._path:
            self._rewrite(self.records(titles))
        else:
            WRITERS[self.out.suffix.lower()](self.out, self._origin, self.records(titles))

    def take_over(self, inputs: Sequence[Input]) -> None:
        """Keep what an earlier call has finished of these videos, and drop all else.

        Raises:
            ConfigError: The file is there, and not ours.
        """
        head, lines = _scan(self._path)
        same = head is not None and _drop_name(head) == _drop_name(self._origin)
        closed = {name for name, each in lines.items() if each.closing is not None}
        before = [each for each in inputs if each.title in closed]
        self._lines = lines
        for each in tqdm(before, "looking for what is finished", unit="video", disable=None):
            ((record, _),) = self.records([each.title])
            if record["status"] == UNREADABLE:
                continue  # it is tried again
            if same and _is_same(each, record["sha256"]):
                self.kept.add(each.title)
            else:
                self.dropped += 1
        kept = [each.title for each in inputs if each.title in self.kept]
        self._rewrite(self.records(kept))

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _append(self, kind: str, record: Record) -> None:
        if self._stream is None:
            self._stream = self._path.open("ab")
        line = to_line(kind, record).encode("utf-8")
        at = self._stream.tell()
        self._stream.write(line)
        self._stream.flush()
        _enter(self._lines, kind, record["video"], (at, len(line)))

    def _rewrite(self, videos: Iterator[Recorded]) -> None:
        """Write the lines of these videos and no others, in this order."""
        self.close()
        lines: dict[str, _Lines] = {}
        with replacing(self._path) as partial, partial.open("wb") as stream:
            stream.write(to_line("settings", self._origin).encode("utf-8"))
            for record, windows in videos:
                name = record["video"]
                inner = [("window", {"video": name, **window}) for window in windows]
                for kind, values in [*inner, ("video", record)]:
                    line = to_line(kind, values).encode("utf-8")
                    _enter(lines, kind, name, (stream.tell(), len(line)))
                    stream.write(line)
        self._lines = lines


@contextmanager
def open_journal(out: Path, origin: Origin, inputs: Sequence[Input]) -> Iterator[Journal]:
    """Open the journal of a file, for this process alone, with what an earlier call has finished.

    A video counts as finished when its closing line is there, its content is the same, and
    checkpoint, settings, version of dfer and schema are.

    Args:
        out: The file that is asked for: `.jsonl`, `.json`, `.csv` or `.parquet`.
        origin: What makes the predictions.
        inputs: All videos that are asked for.

    Raises:
        ConfigError: The file is there, and not ours.
        DataError: Another process is at it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out.with_name(f".{out.name}.lock"), timeout=0):
            journal = Journal(out, describe_origin(origin))
            try:
                journal.take_over(inputs)
                yield journal
            finally:
                journal.close()
    except Timeout as error:
        raise DataError(f"another dfer is writing {out}; wait for it, or name another") from error


def _is_same(each: Input, sha256: str | None) -> bool:
    """Whether a video still has the content of which this is the hash; of a stream nobody knows."""
    if sha256 is None or each.path is None or each.error:
        return False
    try:
        return hash_content(each.path) == sha256
    except (OSError, DataError):
        return False


def _drop_name(head: Record) -> Record:
    """Give a head without the checkpoint's name where its content is known: that may be moved."""
    checkpoint = head["checkpoint"]
    return {**head, "checkpoint": checkpoint["sha256"] or checkpoint["name"]}


def _scan(path: Path) -> tuple[Record | None, dict[str, _Lines]]:
    """Read where the lines of each video are, up to the first that is cut off or damaged."""
    lines: dict[str, _Lines] = {}
    if not path.exists():
        return None, lines
    with path.open("rb") as stream:
        first = stream.readline()
        head = _parse(first)
        if first and (head is None or head["type"] != "settings" or "checkpoint" not in head):
            raise ConfigError(f"{path} was not written by dfer; name another file than it")
        at = len(first)
        for line in stream:
            values = _parse(line)
            if values is None:
                break
            _enter(lines, values["type"], str(values.get("video")), (at, len(line)))
            at += len(line)
    return head and _without(head, "type"), lines


def _parse(line: bytes) -> Record | None:
    """Give a line's values; None where it is cut off or none of ours."""
    try:
        values: Any = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return values if isinstance(values, dict) and "type" in values else None


def _enter(lines: dict[str, _Lines], kind: str, video: str, place: tuple[int, int]) -> None:
    of = lines.setdefault(video, _Lines())
    if of.closing is not None:  # it is read a second time
        of = lines[video] = _Lines()
    if kind == "window":
        of.windows.append(place)
    else:
        of.closing = place


def _read_video(stream: BinaryIO, lines: _Lines) -> Recorded:
    assert lines.closing is not None  # asked by the caller
    record = _without(_read_line(stream, lines.closing), "type")
    told = {track["track"] for track in record["tracks"]}
    windows = [_without(_read_line(stream, place), "type", "video") for place in lines.windows]
    shown = [window for window in windows if window["track"] in told]
    return record, sorted(shown, key=lambda window: (window["start_s"], window["track"]))


def _read_line(stream: BinaryIO, place: tuple[int, int]) -> Record:
    stream.seek(place[0])
    values: Record = json.loads(stream.read(place[1]))
    return values


def _without(record: Record, *names: str) -> Record:
    return {name: value for name, value in record.items() if name not in names}
