"""What is finished of many videos, on disk line by line, so that a second call does the rest.

The journal is JSON Lines: the file of `--out x.jsonl` itself, or a hidden one beside `x.json`,
`x.csv` or `x.parquet`, which are written from it, whole, when all videos are done. After Ctrl-C it
keeps what is finished, and they are not written. Each call appends to it, behind a line of its
settings; the lines of earlier calls, whatever made them, are dropped when one is finished.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from filelock import Timeout

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
from dfercli.bulk.lines import (
    SEAL,
    Index,
    Sealer,
    is_sealed,
    make_seal,
    read_line,
    read_video,
    scan,
)
from dfercli.bulk.origin import Origin
from dfercli.errors import DataError
from dfercli.files import locking, replacing
from dfercli.progress import show_progress
from dfercli.system_errors import naming

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
