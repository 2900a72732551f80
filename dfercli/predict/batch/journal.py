"""What is finished of a batch, on disk line by line, so that a second call does the rest."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from filelock import Timeout

from dfercli.errors import ConfigError, DataError
from dfercli.files import locking, replacing
from dfercli.predict.batch.formats import (
    UNREADABLE,
    WRITERS,
    Record,
    Recorded,
    describe_origin,
    to_line,
    write_document,
)
from dfercli.predict.batch.inputs import Input
from dfercli.predict.batch.origin import Origin, hash_content
from dfercli.progress import show_progress
from dfercli.system_errors import naming

SEAL = "seal"
"""Entry of a closing line: see `Sealer`."""

Place = tuple[int, int]
"""First byte and length of a line."""


@dataclass(frozen=True)
class Finished:
    """Where the lines of one video are."""

    windows: list[Place]
    closing: Place
    status: str


class Index:
    """Where the lines of videos are; one that is read again counts once it is closed again.

    Attributes:
        closed: By title.
    """

    def __init__(self) -> None:
        self.closed: dict[str, Finished] = {}
        self._windows: dict[str, list[Place]] = {}

    def begin(self) -> None:
        """Begin the lines of another call: what the one before was reading is broken off."""
        self._windows.clear()

    def enter(self, values: Record, place: Place) -> None:
        """Take note of a line."""
        video = str(values.get("video"))
        if values["type"] == "window":
            self._windows.setdefault(video, []).append(place)
        else:
            windows = self._windows.pop(video, [])
            self.closed[video] = Finished(windows, place, str(values.get("status")))


@dataclass
class Scan:
    """What earlier calls have left.

    Attributes:
        ours: Lines that were made as now.
        others: Status of the videos that were read otherwise, by title.
        end: Bytes up to the first line that is cut off or damaged.
    """

    ours: Index = field(default_factory=Index)
    others: dict[str, str] = field(default_factory=dict)
    end: int = 0

    @property
    def statuses(self) -> dict[str, str]:
        """Status of all videos, by title."""
        return self.others | {title: each.status for title, each in self.ours.closed.items()}


def scan(path: Path, origin: Record) -> Scan:
    """Read where the lines of each video are, up to the first that is cut off or damaged.

    Args:
        path: The journal, which need not be there.
        origin: What makes predictions now.

    Raises:
        ConfigError: The file is there, and not ours.
    """
    found = Scan()
    if not os.path.lexists(path):
        return found
    if not path.is_file():
        raise ConfigError(f"{path} was not written by dfer; name another file than it")
    is_ours = False
    with path.open("rb") as stream:
        for line in stream:
            values = _parse(line)
            if found.end == 0 and not line.strip(b"\0\n"):
                raise ConfigError(
                    f"{path} is damaged: it holds nothing but zeros, as after a power failure; "
                    f"remove it, and all videos are predicted again"
                )
            if found.end == 0 and (values is None or "checkpoint" not in values):
                raise ConfigError(f"{path} was not written by dfer; name another file than it")
            if values is None:
                break
            if values["type"] == "settings":
                is_ours = _is_same_origin(values, origin)
                found.ours.begin()
            elif is_ours:
                found.ours.enter(values, (found.end, len(line)))
            elif values["type"] == "video":
                found.others[str(values.get("video"))] = str(values.get("status"))
            found.end += len(line)
    return found


def read_video(stream: BinaryIO, lines: Finished) -> Recorded:
    """Read a video as its closing line has it, and its windows in order of time.

    Windows of a face that was not named in the end are left out.
    """
    record = _without(read_line(stream, lines.closing), "type", SEAL)
    told = {track["track"] for track in record["tracks"]}
    windows = [_without(read_line(stream, place), "type", "video") for place in lines.windows]
    shown = [window for window in windows if window["track"] in told]
    return record, sorted(shown, key=lambda window: (window["start_s"], window["track"]))


def read_line(stream: BinaryIO, place: Place) -> Record:
    """Read the values of a line."""
    values: Record = json.loads(read_bytes(stream, place))
    return values


def read_bytes(stream: BinaryIO, place: Place) -> bytes:
    """Read a line as it is."""
    stream.seek(place[0])
    return stream.read(place[1])


class Sealer:
    """Hashes all lines of a video, so that a number that somebody changed in one is noticed."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, line: bytes) -> None:
        """Add the line of a window, exactly as written to the file."""
        self._digest.update(line)

    def close(self, closing: Record) -> str:
        """Add the closing line without its seal, and return the seal."""
        values = _without(closing, "type", SEAL)
        self._digest.update(json.dumps(values, sort_keys=True).encode())
        return self._digest.hexdigest()


def make_seal(windows: Iterable[bytes], closing: Record) -> str:
    """Return the seal of a video, of the lines of its windows and the values of its closing one."""
    sealer = Sealer()
    for line in windows:
        sealer.add(line)
    return sealer.close(closing)


def is_sealed(stream: BinaryIO, lines: Finished) -> bool:
    """Return whether the lines of a video are as they were written."""
    closing = read_line(stream, lines.closing)
    windows = (read_bytes(stream, place) for place in lines.windows)
    return bool(closing.get(SEAL) == make_seal(windows, closing))


def _is_same_origin(head: Record, origin: Record) -> bool:
    """Whether predictions are made alike: a checkpoint whose content is known may be moved."""
    if "checkpoint" not in head:
        return False
    one, other = (
        {**each, "type": "", "checkpoint": each["checkpoint"]["sha256"] or each["checkpoint"]}
        for each in (head, origin)
    )
    return one == other


def _parse(line: bytes) -> Record | None:
    """Give a line's values; None where it is cut off or none of ours."""
    try:
        values: Any = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return values if isinstance(values, dict) and "type" in values else None


def _without(record: Record, *names: str) -> Record:
    return {name: value for name, value in record.items() if name not in names}


LINES = ".jsonl"


def journal_file(out: Path) -> Path:
    """Give the file of the lines from which `out` is written."""
    is_lines = out.suffix.lower() == LINES
    return out if is_lines else out.with_name(f".{out.name}{LINES}")


class Journal:
    """The lines of finished videos, and of those that are being read; made by `open_journal`.

    Attributes:
        out: The file that is asked for.
        kept: Titles of the videos that an earlier call has finished.
        dropped: How many it has finished with other settings, or with another content.
        unasked: How many it has finished that are not asked for now; `finish` drops them.
    """

    def __init__(self, out: Path, origin: Record) -> None:
        self.out = out
        self.kept: set[str] = set()
        self.dropped = 0
        self.unasked = 0
        self._origin = origin
        self._path = journal_file(out)
        self._index = Index()
        self._sealers: dict[str, Sealer] = {}
        self._stream: BinaryIO | None = None

    def add_window(self, video: str, window: Record) -> None:
        """Append the line of a window that has ended.

        Args:
            video: Title of the video.
            window: Of `describe_window`.
        """
        line = self._append("window", {"video": video, **window})
        self._sealers.setdefault(video, Sealer()).add(line)

    def add_video(self, record: Record, pictures: Mapping[str, str] | None = None) -> None:
        """Append the closing line of a video, and see it on the disk.

        Args:
            record: Of `describe_video` or `describe_failure`.
            pictures: Hashes of what was made of it, by file.
        """
        closing = {**record, "pictures": dict(pictures or {})}
        closing[SEAL] = self._sealers.pop(record["video"], Sealer()).close(closing)
        self._append("video", closing)
        assert self._stream is not None  # opened by `_append`
        with naming(self.out, self._path):
            os.fsync(self._stream.fileno())

    def records(self, titles: Sequence[str]) -> Iterator[Recorded]:
        """Give the finished ones among videos, in this order, with their windows in order of time.

        Windows of a face that was not named in the end are left out, and those of a video that
        broke off.
        """
        for record, windows in self._read(titles):
            record.pop("pictures", None)
            yield record, windows

    def pictures(self, title: str) -> dict[str, str]:
        """Give the hashes of what was made of a finished video, by file."""
        with self._path.open("rb") as stream:
            closing = read_line(stream, self._index.closed[title].closing)
        return dict(closing.get("pictures", {}))

    def write_json(self, stream: TextIO, titles: Sequence[str]) -> None:
        """Write the document of these videos into an open file."""
        write_document(stream, self._origin, self.records(titles))

    def finish(self, titles: Sequence[str]) -> None:
        """Write the file that is asked for, of these videos and in this order; drop all others."""
        if self.out != self._path:
            WRITERS[self.out.suffix.lower()](self.out, self._origin, self.records(titles))
        self._rewrite(titles)

    def take_over(self, inputs: Sequence[Input]) -> None:
        """Keep what an earlier call has finished of these videos; nothing is dropped from the disk.

        Raises:
            ConfigError: The file is there, and not ours.
        """
        found = scan(self._path, self._origin)
        statuses = {t: status for t, status in found.statuses.items() if status != UNREADABLE}
        before = [each for each in inputs if each.title in statuses]
        self._index = found.ours
        for each in show_progress(before, desc="looking for what is finished", unit="video"):
            if self._is_whole(each):
                self.kept.add(each.title)
            else:
                self.dropped += 1
        self.unasked = len(statuses.keys() - {each.title for each in inputs})
        closed = self._index.closed
        self._index.closed = {title: closed[title] for title in closed if title in self.kept}
        self._begin(found.end)

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _begin(self, end: int) -> None:
        """Cut off what is damaged, and say what makes the lines that follow."""
        self._index.begin()
        with naming(self.out, self._path), self._path.open("ab") as stream:
            stream.truncate(end)
            stream.write(to_line("settings", self._origin).encode("utf-8"))

    def _is_whole(self, each: Input) -> bool:
        """Return whether a video is finished, has the same content, and its lines their seal."""
        lines = self._index.closed.get(each.title)
        if lines is None:
            return False
        with self._path.open("rb") as stream:
            sealed = is_sealed(stream, lines)
            return sealed and _is_same(each, read_line(stream, lines.closing)["sha256"])

    def _read(self, titles: Sequence[str]) -> Iterator[Recorded]:
        """Give the finished ones among videos, their pictures too."""
        finished = [title for title in titles if title in self._index.closed]
        if not finished:
            return
        with self._path.open("rb") as stream:
            for title in finished:
                yield read_video(stream, self._index.closed[title])

    def _append(self, kind: str, record: Record) -> bytes:
        """Append a line, and return it."""
        line = to_line(kind, record).encode("utf-8")
        with naming(self.out, self._path):
            if self._stream is None:
                self._stream = self._path.open("ab")
            at = self._stream.tell()
            self._stream.write(line)
            self._stream.flush()
        self._index.enter({"type": kind, **record}, (at, len(line)))
        return line

    def _rewrite(self, titles: Sequence[str]) -> None:
        """Write the lines of these videos and no others, in this order."""
        self.close()
        index = Index()
        with replacing(self._path) as partial, partial.open("wb") as stream:
            stream.write(to_line("settings", self._origin).encode("utf-8"))
            for record, windows in self._read(titles):
                name = record["video"]
                inner = [to_line("window", {"video": name, **each}) for each in windows]
                sealed = {**record, SEAL: make_seal([line.encode() for line in inner], record)}
                for text in [*inner, to_line("video", sealed)]:
                    line = text.encode("utf-8")
                    index.enter(json.loads(line), (stream.tell(), len(line)))
                    stream.write(line)
        self._index = index


@contextmanager
def open_journal(out: Path, origin: Origin, inputs: Sequence[Input]) -> Iterator[Journal]:
    """Open the journal of a file, for this process alone, with what an earlier call has finished.

    A video counts as finished when its closing line is there and tells by its seal that no line of
    it was changed, and its content, the checkpoint, settings, version of dfer and schema are the
    same.

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
        with locking(out.with_name(f".{out.name}.lock")):
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
