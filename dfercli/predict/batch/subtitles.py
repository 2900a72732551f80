"""Predictions of one video as subtitles (SRT, WebVTT), or as annotations for ELAN (EAF 3.0)."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from itertools import groupby, islice
from mimetypes import guess_type
from pathlib import Path
from typing import TextIO
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from dfercli.errors import ConfigError
from dfercli.files import replacing
from dfercli.predict.prediction import Record

Recorded = tuple[Record, list[Record]]

SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"

NO_DATE = "1970-01-01T00:00:00Z"
"""The format requires a date; a constant one, so that the same video gives the same bytes."""

WRITTEN_BY = "dfer, "
"""Begins the line that names the model, and by which a file of dfer is recognised."""

LEVEL = "expression"
"""Name of the tiers' type in ELAN."""


@dataclass(frozen=True)
class Cue:
    """A text and the time at which it is shown.

    Attributes:
        track: Number of the face.
        start_ms: Its start.
        end_ms: Its end, after the start.
        text: Expression and probability.
    """

    track: int
    start_ms: int
    end_ms: int
    text: str


def list_cues(windows: Iterable[Record]) -> list[Cue]:
    """Return the cues of windows that have an expression, in order of time, then of faces.

    A window ends where the next one of the same face begins, so that no two cues of a face overlap.
    """
    by_track: dict[int, list[Record]] = {}
    for window in windows:
        by_track.setdefault(window["track"], []).append(window)
    cues = []
    for track, own in by_track.items():
        own.sort(key=lambda window: window["start_s"])
        ends_s = [window["start_s"] for window in own[1:]] + [float("inf")]
        for window, next_s in zip(own, ends_s, strict=True):
            start_ms = round(1000 * window["start_s"])
            end_ms = round(1000 * min(window["end_s"], next_s))
            if window["expression"] is not None and end_ms > start_ms:
                text = f"{window['expression']} {window['confidence']:.0%}"
                text += " (uncertain)" if window["uncertain"] else ""
                cues.append(Cue(track, start_ms, end_ms, text))
    return sorted(cues, key=lambda cue: (cue.start_ms, cue.track))


def write_srt(path: Path, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write SRT subtitles in UTF-8. The first one names the model, as the format has no comments.

    Without expressions, it says in the first second why there are none.

    Raises:
        ConfigError: There are several videos.
    """
    video, windows = _single(path, videos)
    cues = list(_join_faces(list_cues(windows))) or [(0, 1000, _explain_lack(video))]
    with _open(path) as stream:
        for number, (start_ms, end_ms, text) in enumerate(cues, start=1):
            model = f"\n({WRITTEN_BY}{origin['checkpoint']['description']})" if number == 1 else ""
            times = f"{_clock(start_ms, ',')} --> {_clock(end_ms, ',')}"
            stream.write(f"{number}\n{times}\n{text}{model}\n\n")


def write_vtt(path: Path, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write WebVTT subtitles, with the model as a comment.

    Raises:
        ConfigError: There are several videos.
    """
    video, windows = _single(path, videos)
    cues = list(_join_faces(list_cues(windows)))
    note = origin["checkpoint"]["description"]
    note += "" if cues else f"\n{_explain_lack(video)}"
    with _open(path) as stream:
        stream.write(f"WEBVTT\n\nNOTE {WRITTEN_BY}{note.replace('-->', '->')}\n\n")
        for start_ms, end_ms, text in cues:
            times = f"{_clock(start_ms, '.')} --> {_clock(end_ms, '.')}"
            stream.write(f"{times}\n{escape(text, quote=False)}\n\n")


def write_eaf(path: Path, origin: Record, videos: Iterable[Recorded]) -> None:
    """Write annotations for ELAN: one tier per face.

    Raises:
        ConfigError: There are several videos.
    """
    video, windows = _single(path, videos)
    cues = list_cues(windows)
    model = origin["checkpoint"]["description"]
    document = _build_eaf(video["video"], model, cues, "" if cues else _explain_lack(video))
    ElementTree.indent(document)
    with replacing(path) as partial:
        ElementTree.ElementTree(document).write(partial, "UTF-8", xml_declaration=True)


def _single(path: Path, videos: Iterable[Recorded]) -> Recorded:
    """Return the only video, or raise a ConfigError if there are several."""
    first, *others = islice(videos, 2)
    if others:
        raise ConfigError(f"{path} is for a single video; use .json, .jsonl, .csv or .parquet")
    return first


def _explain_lack(video: Record) -> str:
    """Return why a video has no expressions."""
    return f"no expressions: {video.get('error') or 'no face could be classified'}"


@contextmanager
def _open(path: Path) -> Iterator[TextIO]:
    """Open a text file that is written as a whole or not at all."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        yield stream


def _join_faces(cues: Iterable[Cue]) -> Iterator[tuple[int, int, str]]:
    """Yield start and end in ms and the text of subtitles: one line per face shown at that time."""
    cues = list(cues)
    several = len({cue.track for cue in cues}) > 1
    for (start_ms, end_ms), group in groupby(cues, lambda cue: (cue.start_ms, cue.end_ms)):
        lines = [f"face {cue.track}: {cue.text}" if several else cue.text for cue in group]
        yield start_ms, end_ms, "\n".join(lines)


def _clock(ms: int, point: str) -> str:
    """Return a time as `00:01:02,345`, with this character before the milliseconds."""
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{ms:03d}"


def _build_eaf(video: str, model: str, cues: list[Cue], remark: str) -> Element:
    """Return the document of ELAN: header, times, one tier per face, and the type of the tiers.

    The header names the model and, if it is not empty, a remark.
    """
    document = Element(
        "ANNOTATION_DOCUMENT",
        {"xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance"},
        AUTHOR="dfer",
        DATE=NO_DATE,
        FORMAT="3.0",
        VERSION="3.0",
    )
    document.set("xsi:noNamespaceSchemaLocation", SCHEMA)
    header = SubElement(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if "://" not in video:
        media = Path(video)
        SubElement(
            header,
            "MEDIA_DESCRIPTOR",
            MEDIA_URL=media.absolute().as_uri(),
            MIME_TYPE=guess_type(media.name)[0] or "video/mp4",
            RELATIVE_MEDIA_URL=f"./{media.name}",
        )
    SubElement(header, "PROPERTY", NAME="model").text = model
    if remark:
        SubElement(header, "PROPERTY", NAME="remark").text = remark
    SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(len(cues))
    times = SubElement(document, "TIME_ORDER")
    times_ms = sorted({ms for cue in cues for ms in (cue.start_ms, cue.end_ms)})
    slots = {ms: f"ts{number}" for number, ms in enumerate(times_ms, start=1)}
    for ms, slot in slots.items():
        SubElement(times, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(ms))
    tiers = {
        track: SubElement(document, "TIER", LINGUISTIC_TYPE_REF=LEVEL, TIER_ID=f"face {track}")
        for track in sorted({cue.track for cue in cues}) or [1]
    }
    for number, cue in enumerate(cues, start=1):
        annotation = SubElement(
            SubElement(tiers[cue.track], "ANNOTATION"),
            "ALIGNABLE_ANNOTATION",
            ANNOTATION_ID=f"a{number}",
            TIME_SLOT_REF1=slots[cue.start_ms],
            TIME_SLOT_REF2=slots[cue.end_ms],
        )
        SubElement(annotation, "ANNOTATION_VALUE").text = cue.text
    SubElement(
        document,
        "LINGUISTIC_TYPE",
        GRAPHIC_REFERENCES="false",
        LINGUISTIC_TYPE_ID=LEVEL,
        TIME_ALIGNABLE="true",
    )
    return document
