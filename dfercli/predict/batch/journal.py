"""The journal of a batch: the finished videos on disk, which a second call does not predict again.

The journal is a text file beside the predictions. Each finished video is one line: the SHA-256 of
the rest of the line, and JSON. Until the batch is finished, lines are only appended. Lines that are
incomplete or changed do not match their hash and are ignored.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, TextIO

from filelock import Timeout

from dfercli.errors import ConfigError, DataError, naming
from dfercli.files import locking, replacing
from dfercli.predict.batch.formats import (
    LINES,
    WRITERS,
    LineWriter,
    Recorded,
    continue_lines,
    has_videos,
    write_document,
)
from dfercli.predict.batch.inputs import Input
from dfercli.predict.hashes import hash_content
from dfercli.predict.prediction import UNREADABLE, Record
from dfercli.progress import show_progress

HEADER = b"dfer journal 1\n"


@dataclass(frozen=True)
class _Entry:
    """A line of the journal."""

    start: int
    length: int
    intact: bool
    status: str
    sha256: str | None


class Journal:
    """The finished videos of one call and the calls before it; see `open_journal`.

    Attributes:
        kept: Titles of the videos that an earlier call finished.
        dropped: Number of videos that were finished with other settings or another content.
        unasked: Number of finished videos that are not requested now; `finish` drops them.
    """

    def __init__(self, path: Path, outs: Sequence[Path], origin: Record) -> None:
        self.kept: set[str] = set()
        self.dropped = self.unasked = 0
        self._path, self._outs, self._origin = path, outs, origin
        self._name = outs[0] if outs else path  # in errors
        self._key = _make_key(origin)
        self._entries: dict[str, _Entry] = {}
        self._windows: dict[str, list[Record]] = {}
        self._stream: BinaryIO | None = None
        self._lines: list[LineWriter] = []

    def add_window(self, title: str, window: Record) -> None:
        """Add a window; it is written to the journal with its video."""
        self._windows.setdefault(title, []).append(window)
        for lines in self._lines:
            lines.add_window(title, window)

    def add_video(self, record: Record, pictures: Mapping[str, str] | None = None) -> None:
        """Add a finished video, and wait until it is on the disk.

        Windows of faces without any prediction are dropped. `pictures` has the SHA-256 of each
        timeline or annotated video by its name.
        """
        tracks = {track["track"] for track in record["tracks"]}
        windows = [w for w in self._windows.pop(record["video"], ()) if w["track"] in tracks]
        values: Record = {
            "origin": self._key,
            "video": record,
            "windows": sorted(windows, key=lambda w: (w["start_s"], w["track"])),
            "pictures": dict(pictures or {}),
        }
        text = json.dumps(values, ensure_ascii=False, allow_nan=False).encode("utf-8")
        line = hashlib.sha256(text).hexdigest().encode() + b" " + text + b"\n"
        for lines in self._lines:
            lines.add_video(record, values["pictures"])
        assert self._stream is not None  # opened by `open`
        with naming(self._name, self._path):
            start = self._stream.tell()
            self._stream.write(line)
            self._stream.flush()
            os.fsync(self._stream.fileno())
        entry = _Entry(start, len(line), True, record["status"], record["sha256"])
        self._entries[record["video"]] = entry

    def records(self, titles: Iterable[str]) -> Iterator[Recorded]:
        """Yield the finished ones of these videos, each with its windows in order of time."""
        for values in self._read(titles):
            yield values["video"], values["windows"]

    def pictures(self, title: str) -> dict[str, str]:
        """Return the SHA-256 of each timeline or annotated video of a video, by its name."""
        (values,) = self._read([title])
        return dict(values["pictures"])

    def write_json(self, stream: TextIO, titles: Iterable[str]) -> None:
        """Write the document of these videos to an open file."""
        write_document(stream, self._origin, self.records(titles))

    def finish(self, titles: Sequence[str]) -> None:
        """Write the files of predictions with these videos in this order, and drop all others."""
        self.close()
        for out in self._outs:
            if out.suffix.lower() == LINES:
                with replacing(out) as partial, partial.open("wb") as stream:
                    lines = LineWriter(stream, self._origin, out)
                    for values in self._read(titles):
                        for window in values["windows"]:
                            lines.add_window(values["video"]["video"], window)
                        lines.add_video(values["video"], values["pictures"])
            else:
                WRITERS[out.suffix.lower()](out, self._origin, self.records(titles))
        entries = [self._entries[title] for title in titles if title in self._entries]
        with replacing(self._path) as partial, partial.open("wb") as stream:
            stream.write(HEADER)
            with self._path.open("rb") as journal:
                for entry in entries:
                    journal.seek(entry.start)
                    stream.write(journal.read(entry.length))

    def open(self, inputs: Sequence[Input]) -> None:
        """Find the videos that earlier calls finished, and open the journal.

        Raises:
            ConfigError: The journal or a `.jsonl` file was not written by dfer.
        """
        own, others, end = self._scan()
        statuses = {title: entry.status for title, entry in (others | own).items()}
        finished = {title for title, status in statuses.items() if status != UNREADABLE}
        before = [video for video in inputs if video.title in finished]
        for video in show_progress(before, desc="checking finished videos", unit="video"):
            entry = own.get(video.title)
            if entry is not None and entry.intact and _is_same(video, entry.sha256):
                self.kept.add(video.title)
        self.dropped = len(before) - len(self.kept)
        self.unasked = len(finished - {video.title for video in inputs})
        self._entries = {title: entry for title, entry in own.items() if title in self.kept}
        streams = [(out, continue_lines(out)) for out in self._outs if out.suffix.lower() == LINES]
        with naming(self._name, self._path):
            self._stream = self._path.open("ab")
            self._stream.truncate(end)
            self._stream.seek(end)
            if end == 0:
                self._stream.write(HEADER)
                self._stream.flush()
        self._lines = [LineWriter(stream, self._origin, out) for out, stream in streams]

    def close(self) -> None:
        """Close the files."""
        for stream in (self._stream, *(lines.stream for lines in self._lines)):
            if stream is not None:
                with suppress(OSError):  # the disk is full, which was reported
                    stream.close()
        self._stream, self._lines = None, []

    def _scan(self) -> tuple[dict[str, _Entry], dict[str, _Entry], int]:
        """Return the last entry of each video, of this origin and of others, and the file's end."""
        own: dict[str, _Entry] = {}
        others: dict[str, _Entry] = {}
        end = 0
        if not os.path.lexists(self._path):
            return own, others, end
        if not self._path.is_file():
            raise ConfigError(
                f"{self._path} was not written by dfer; move it, or choose another output file"
            )
        damaged = False
        with self._path.open("rb") as stream:
            for line in stream:
                if end == 0:
                    damaged = not HEADER.startswith(line)
                if not line.endswith(b"\n"):
                    break
                digest, _, text = line.rstrip(b"\n").partition(b" ")
                with suppress(ValueError, KeyError, TypeError):  # damaged
                    values = json.loads(text)
                    record = values["video"]
                    intact = hashlib.sha256(text).hexdigest().encode() == digest
                    entry = _Entry(end, len(line), intact, record["status"], record["sha256"])
                    entries = own if values["origin"] == self._key else others
                    entries[str(record["video"])] = entry
                end += len(line)
        if damaged and not any(entry.intact for entry in (own | others).values()):
            raise ConfigError(
                f"{self._path} is damaged or was not written by dfer; remove it to predict all "
                f"videos again"
            )
        return own, others, end

    def _read(self, titles: Iterable[str]) -> Iterator[Record]:
        with self._path.open("rb") as stream:
            for title in titles:
                if title in self._entries:
                    stream.seek(self._entries[title].start)
                    line = stream.read(self._entries[title].length)
                    values: Record = json.loads(line.partition(b" ")[2])
                    yield values


def journal_file(out: Path) -> Path:
    """Return the journal of a file of predictions."""
    return out.with_name(f".{out.name}.journal")


@contextmanager
def open_journal(
    outs: Sequence[Path], origin: Record, inputs: Sequence[Input], resume: bool = True
) -> Iterator[Journal]:
    """Open the journal of files of predictions and lock the files; it is beside the first file.

    A video counts as finished if its line is intact, and its content, the checkpoint, settings,
    version of dfer and schema are the same.

    Args:
        outs: The files, `.jsonl`, `.json`, `.csv` or `.parquet`.
        origin: Model and settings, see `describe_origin`.
        inputs: All requested videos.
        resume: Continue an earlier call. If False, or without files, the journal is temporary.

    Raises:
        ConfigError: A file was not written by dfer, or a `.jsonl` file lacks its journal.
        DataError: Another process is writing a file.
    """
    with ExitStack() as stack:
        for out in outs:
            out.parent.mkdir(parents=True, exist_ok=True)
        if resume and outs:
            path = journal_file(outs[0])
            for out in outs:
                try:
                    stack.enter_context(locking(out.with_name(f".{out.name}.lock")))
                except Timeout as error:
                    raise DataError(
                        f"another dfer is writing {out}; wait for it, or choose another file"
                    ) from error
            if not os.path.lexists(path):
                _check_no_predictions(outs, path)
        else:
            path = Path(stack.enter_context(TemporaryDirectory()), "journal")
        journal = Journal(path, outs, origin)
        stack.callback(journal.close)
        journal.open(inputs)
        yield journal


def _check_no_predictions(outs: Sequence[Path], journal: Path) -> None:
    """Refuse to continue files whose journal is missing: their predictions would be lost."""
    for out in outs:
        if out.suffix.lower() == LINES and has_videos(out):
            raise ConfigError(
                f"{out} has predictions, but its journal {journal.name} is missing, so they cannot "
                f"be continued; move {out.name}, or choose another file"
            )


def _make_key(origin: Record) -> str:
    """Return a hash of the model and settings; a checkpoint may have moved."""
    checkpoint = origin["checkpoint"]["sha256"] or origin["checkpoint"]
    text = json.dumps({**origin, "checkpoint": checkpoint}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _is_same(video: Input, sha256: str | None) -> bool:
    """Return whether a video still has this hash; False for a stream."""
    if sha256 is None or video.path is None or video.error:
        return False
    try:
        return hash_content(video.path) == sha256
    except (OSError, DataError):
        return False
