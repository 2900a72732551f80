"""Files of predictions: a document, lines, tables, and subtitles or annotations of one video.

`schema.json` in this folder describes the document and the lines. They contain no clock times, so
that the same videos give the same bytes.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO
from itertools import islice
from pathlib import Path
from textwrap import indent
from typing import Any, BinaryIO, TextIO

from dfercli.errors import ConfigError, naming
from dfercli.files import replacing
from dfercli.predict.batch.subtitles import WRITTEN_BY, write_eaf, write_srt, write_vtt
from dfercli.predict.prediction import COLUMNS, Record, flatten_window
from dfercli.text import escape_cell

ROWS = 50_000
"""Rows that are converted to Parquet at a time, to limit the memory (our choice)."""

HEAD = 4096
"""Bytes that are read to recognise a file of dfer (our choice)."""

LINES = ".jsonl"

Recorded = tuple[Record, list[Record]]
"""A video without its windows, and its windows."""


def to_line(kind: str, record: Record) -> str:
    """Return a line of JSON Lines: `settings`, `window` or `video`."""
    return json.dumps({"type": kind, **record}, ensure_ascii=False, allow_nan=False) + "\n"


class LineWriter:
    """Writes JSON Lines as windows and videos end; the lines of several videos may be mixed."""

    def __init__(self, stream: BinaryIO, origin: Record, path: Path) -> None:
        self.stream = stream
        self._path = path
        self._hashes: dict[str, Any] = {}
        self._write(to_line("settings", origin).encode("utf-8"))

    def add_window(self, title: str, window: Record) -> None:
        """Write the line of a window."""
        line = to_line("window", {"video": title, **window}).encode("utf-8")
        self._hashes.setdefault(title, hashlib.sha256()).update(line)
        self._write(line)

    def add_video(self, record: Record, pictures: Mapping[str, str]) -> None:
        """Write the last line of a video, with a hash of all its lines."""
        closing = {**record, "pictures": pictures}
        seal = self._hashes.pop(record["video"], hashlib.sha256())
        seal.update(json.dumps(closing, sort_keys=True).encode())
        self._write(to_line("video", {**closing, "seal": seal.hexdigest()}).encode("utf-8"))

    def _write(self, line: bytes) -> None:
        with naming(self._path):
            self.stream.write(line)
            self.stream.flush()


def continue_lines(path: Path) -> BinaryIO:
    """Open a file of JSON Lines by dfer for appending, without an incomplete last line."""
    end = 0
    if os.path.lexists(path):
        with path.open("rb") if path.is_file() else BytesIO(b"\n") as stream:
            for line in stream:
                if end == 0 and not _is_head(line):
                    raise ConfigError(f"{path} was not written by dfer; choose another file")
                end += len(line) if line.endswith(b"\n") else 0
    opened = path.open("ab")
    opened.truncate(end)
    return opened


def has_videos(path: Path) -> bool:
    """Return whether a file of JSON Lines exists and has a finished video."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return any(line.startswith(b'{"type": "video"') for line in stream)


def _is_head(line: bytes) -> bool:
    try:
        values = json.loads(line)
    except ValueError:
        return False
    return isinstance(values, dict) and "type" in values and "checkpoint" in values


def write_document(stream: TextIO, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write the document to an open text file (UTF-8), one video at a time."""
    head = _dump(origin).removesuffix("\n}")
    stream.write(f'{head},\n  "videos": [')
    between = "\n"
    for record, windows in videos:
        stream.write(between + indent(_dump({**record, "windows": windows}), "    "))
        between = ",\n"
    stream.write("]\n}\n" if between == "\n" else "\n  ]\n}\n")


def _dump(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)


def table_columns(origin: Record) -> list[str]:
    """Return the columns of the table of windows."""
    return ["video", *COLUMNS, *(f"prob_{name}" for name in origin["class_names"]), "model"]


def table_rows(origin: Record, videos: Iterable[Recorded]) -> Iterator[Record]:
    """Yield one row per window; unknown values are None."""
    for record, windows in videos:
        for window in windows:
            row = flatten_window(window, origin["class_names"])
            yield {"video": record["video"], **row, "model": origin["checkpoint"]["description"]}


def write_csv(path: Path, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write the table of windows as CSV in UTF-8; unknown values are empty."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, table_columns(origin), lineterminator="\n")
        table.writeheader()
        for row in table_rows(origin, videos):
            texts = {name: escape_cell(v) for name, v in row.items() if isinstance(v, str)}
            table.writerow(row | texts)


def write_parquet(path: Path, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write the table of windows as Parquet; unknown values are null."""
    check_parquet(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = {
        "video": pa.string(),
        "model": pa.string(),
        "expression": pa.string(),
        "uncertain": pa.bool_(),
    }
    kinds = {**words, "uncertain": pa.bool_(), "track": pa.int64()}
    columns = table_columns(origin)
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in columns])
    rows = table_rows(origin, videos)
    with replacing(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        while chunk := list(islice(rows, ROWS)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))


def check_parquet(path: Path) -> None:
    """Raise a ConfigError if pyarrow is not installed."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{path} needs pyarrow: pip install '.[parquet]' in the clone; or use another suffix"
        ) from error


def write_json_document(path: Path, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write the document as a file."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        write_document(stream, origin, videos)


WRITERS = {
    ".json": write_json_document,
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".srt": write_srt,
    ".vtt": write_vtt,
    ".eaf": write_eaf,
}
"""Functions that write a file, by suffix; `LineWriter` writes `.jsonl`."""

OF_ONE_VIDEO = {".srt": WRITTEN_BY, ".vtt": f"WEBVTT\n\nNOTE {WRITTEN_BY}", ".eaf": 'AUTHOR="dfer"'}
"""Suffixes of files for a single video, and the text by which dfer recognises its own."""


def is_document(path: Path) -> bool:
    """Return whether a file is empty or was written by one of `WRITERS`, by its first bytes."""
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:  # a loop of links
        return False
    if not head:
        return True
    if suffix == ".json":
        return head.startswith(b'{\n  "schema_version": ') or b'"dfer_version": ' in head
    if suffix in OF_ONE_VIDEO:
        return OF_ONE_VIDEO[suffix].encode() in head
    if suffix == ".csv":
        return head.startswith(",".join(("video", *COLUMNS)).encode())
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return False
    return names[: 1 + len(COLUMNS)] == ["video", *COLUMNS]
