"""Predictions as data: one JSON document, JSON Lines, or a table of windows, in CSV or Parquet.

`schema.json` beside this describes the document and the lines. Nothing tells the time of day, so
that the same videos give the same bytes.
"""

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from itertools import islice
from pathlib import Path
from textwrap import indent
from typing import Any, TextIO

import numpy as np

from dfercli.errors import ConfigError, VideoError
from dfercli.files import replacing
from dfercli.predict.batch.origin import Origin
from dfercli.predict.prediction import COLUMNS, TrackSummary, VideoPrediction, Window
from dfercli.text import escape_cell, hide_password

SCHEMA_VERSION = 3
"""Version of the document; 1 was a document of one video and its main face."""

TIME_DECIMALS = 3
COVERAGE_DECIMALS = 4
BOX_DECIMALS = 1
PROB_DECIMALS = 6
"""Decimals that are written (our choice): milliseconds, a tenth of a pixel, what float32 holds."""

ROWS = 50_000
"""Rows that are turned to Parquet at a time, so that memory does not grow (our choice)."""

HEAD = 4096
"""Bytes that tell a document of ours from another file (our choice)."""

OK, NO_FACE, UNREADABLE = "ok", "no face", "unreadable"

Record = dict[str, Any]
"""A window, a video or a line as it is written: nothing but what JSON has."""

Recorded = tuple[Record, list[Record]]
"""A video without its windows, and they."""


def describe_origin(origin: Origin) -> Record:
    """Give the head of a document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "dfer_version": origin.dfer_version,
        "checkpoint": {
            "name": plain_text(origin.checkpoint),
            "sha256": origin.checkpoint_sha256,
        },
        "settings": origin.settings,
        "class_names": list(origin.class_names),
        "calibrated": origin.calibrated,
    }


def plain_text(text: str) -> str:
    r"""Give a text that UTF-8 can hold: the bytes of a name that are none become `\xff` and so on.

    That is for reading; a name that holds these four letters itself looks the same, and so do
    streams whose passwords differ, which are hidden: see `Input.title`.
    """

    def escape(found: re.Match[str]) -> str:
        code = ord(found[0])
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"

    return re.sub(r"[\ud800-\udfff]", escape, hide_password(text))


def describe_window(window: Window, class_names: tuple[str, ...], calibrated: bool) -> Record:
    """Give a window as it is written.

    Raises:
        VideoError: A number of it is none: the model went out of its range.
    """
    of = VideoPrediction("", class_names, calibrated, (0, 0), 0.0, 0, 0.0, ())
    probs = None if window.probs is None else _name_probs(window.probs, class_names)
    return {
        "track": window.track,
        "start_s": _round(window.start_s, TIME_DECIMALS),
        "end_s": _round(window.end_s, TIME_DECIMALS),
        "coverage": _round(window.coverage, COVERAGE_DECIMALS),
        "box_xyxy": [_round(value, BOX_DECIMALS) for value in window.box_xyxy],
        "expression": of.name(window),
        "confidence": None if probs is None else max(probs.values()),
        "uncertain": of.is_uncertain(window),
        "probs": probs,
    }


def describe_video(prediction: VideoPrediction, sha256: str | None) -> Record:
    """Give a video that was read, without its windows.

    Args:
        prediction: What was seen in it.
        sha256: See `hash_content`; None of a stream.
    """
    named = any(window.probs is not None for window in prediction.windows)
    tracks = prediction.tracks if named else ()
    return {
        "video": plain_text(prediction.video),
        "sha256": sha256,
        "status": OK if named else NO_FACE,
        "error": None,
        "width": int(prediction.size[0]) or None,  # a stream that was ended before its first frame
        "height": int(prediction.size[1]) or None,
        "duration_s": _round(prediction.duration_s, TIME_DECIMALS),
        "frames_searched": prediction.num_frames,
        "coverage": _round(prediction.coverage, COVERAGE_DECIMALS),
        "tracks": [_describe_track(track, prediction.class_names) for track in tracks],
    }


def describe_failure(video: str, error: str) -> Record:
    """Give a video that could not be read.

    Args:
        video: Its name.
        error: Why, in one line.
    """
    return {
        "video": plain_text(video),
        "sha256": None,
        "status": UNREADABLE,
        "error": plain_text(error),
        "width": None,
        "height": None,
        "duration_s": None,
        "frames_searched": None,
        "coverage": None,
        "tracks": [],
    }


def _describe_track(track: TrackSummary, class_names: tuple[str, ...]) -> Record:
    return {
        "track": track.track,
        "start_s": _round(track.start_s, TIME_DECIMALS),
        "end_s": _round(track.end_s, TIME_DECIMALS),
        "coverage": _round(track.coverage, COVERAGE_DECIMALS),
        "expression": class_names[track.top],
        "mean_probs": _name_probs(track.mean_probs, class_names),
        "shares": _name_probs(track.shares, class_names),
    }


def _name_probs(probs: np.ndarray, class_names: tuple[str, ...]) -> dict[str, float]:
    return {n: _round(p, PROB_DECIMALS) for n, p in zip(class_names, probs, strict=True)}


def _round(value: float, decimals: int) -> float:
    if not math.isfinite(value):
        raise VideoError("the model's numbers went out of range; try --precision fp32")
    return round(float(value), decimals)


def to_line(kind: str, record: Record) -> str:
    """Give a line of JSON Lines: `settings`, `window` or `video`."""
    return json.dumps({"type": kind, **record}, ensure_ascii=False, allow_nan=False) + "\n"


def write_document(stream: TextIO, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write the document, a video at a time.

    Args:
        stream: Open for writing, in UTF-8.
        origin: Its head, of `Origin.to_dict`.
        videos: In order, each with its windows.
    """
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
    """Give the columns of the table of windows."""
    return ["video", *COLUMNS, *(f"prob_{name}" for name in origin["class_names"])]


def table_rows(origin: Record, videos: Iterable[Recorded]) -> Iterator[Record]:
    """Give a row a window; what is not known is None."""
    for record, windows in videos:
        for window in windows:
            probs = window["probs"] or dict.fromkeys(origin["class_names"])
            box = zip(("left", "top", "right", "bottom"), window["box_xyxy"], strict=True)
            row = {"video": record["video"], **window, **dict(box)}
            row |= {f"prob_{name}": probs[name] for name in origin["class_names"]}
            yield {name: row[name] for name in table_columns(origin)}


def write_csv(path: Path, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write the table of windows as CSV in UTF-8; what is not known is empty."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        table = csv.DictWriter(stream, table_columns(origin), lineterminator="\n")
        table.writeheader()
        for row in table_rows(origin, videos):
            texts = {name: escape_cell(v) for name, v in row.items() if isinstance(v, str)}
            table.writerow(row | texts)


def write_parquet(path: Path, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write the table of windows as Parquet; what is not known is null.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    check_parquet(path)
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = {"video": pa.string(), "expression": pa.string(), "uncertain": pa.bool_()}
    kinds = {**words, "track": pa.int64()}
    columns = table_columns(origin)
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in columns])
    rows = table_rows(origin, videos)
    with replacing(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        while some := list(islice(rows, ROWS)):
            writer.write_table(pa.Table.from_pylist(some, schema))


def check_parquet(path: Path) -> None:
    """Refuse a Parquet file where it cannot be written.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{path} needs pyarrow: pip install '.[parquet]' in the checkout; or name a .csv file"
        ) from error


def write_json_document(path: Path, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write the document as a file."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        write_document(stream, origin, videos)


WRITERS = {".json": write_json_document, ".csv": write_csv, ".parquet": write_parquet}
"""What writes a file, by its suffix; `.jsonl` is written line by line."""


def is_document(path: Path) -> bool:
    """Return whether a file is empty, or begins as one that one of `WRITERS` wrote."""
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
    if suffix == ".csv":
        return head.startswith(",".join(("video", *COLUMNS)).encode())
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
    except (OSError, pa.ArrowException):
        return False
    return names[: 1 + len(COLUMNS)] == ["video", *COLUMNS]


def load_schema() -> Mapping[str, Any]:
    """Give the JSON Schema of the document; that of a line is its `$defs/line`."""
    text = files("dfercli.predict.batch").joinpath("schema.json").read_text(encoding="utf-8")
    schema: Mapping[str, Any] = json.loads(text)
    return schema
