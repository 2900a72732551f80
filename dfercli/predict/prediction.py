"""Predictions of a video: windows, faces, the time of each window, and records for files."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from dfercli.errors import VideoError
from dfercli.media.video import WHOLE, Part
from dfercli.text import hide_password
from dfercli.versions import __version__

if TYPE_CHECKING:
    import pandas as pd

    from dfercli.predict.model_info import ModelInfo
    from dfercli.predict.settings import PredictSettings

TIME_DECIMALS = 3
COVERAGE_DECIMALS = 4
BOX_DECIMALS = 1
PROB_DECIMALS = 6
"""Decimals in tables and files (our choice): ms, tenths of a pixel, what float32 holds."""

MIN_CONFIDENCE = 0.5
"""Calibrated probability of the top class below which an expression is uncertain (our choice): it
is then wrong more often than right."""

STILL_S = 1e-3
"""Length of an image and its window in pictures (our choice)."""

DRAWN_REST = 0.25
"""Maximum share of a window that the last window of a video may be extended by."""

SCHEMA_VERSION = 4
"""Version of the document: 1 was of one video and its main face; 4 describes the model."""

OK, NO_FACE, UNREADABLE = "ok", "no face", "unreadable"

ZERO_SHOT = "zero-shot"
"""Name of the checkpoint of zero-shot CLIP."""

Record = dict[str, Any]
"""A window, a video or a line as it is written to files, in types of JSON."""


@dataclass(frozen=True)
class Window:
    """One face in one window of time, and its expression.

    Attributes:
        track: Number of the face, from 1; constant while the face is followed.
        start_s: Start of the window in seconds.
        end_s: End of the window in seconds.
        coverage: Fraction of the searched frames of the window that show this face.
        box_xyxy: (4,) the face in the middle one of these frames, in pixels of the video.
        probs: (K,) probabilities; None if too few frames show the face.
        face_rgb: The aligned face in this frame; None for most windows of a long video.
        embedding: (E,) the model's embedding of the clip, instead of probabilities, if requested.
    """

    track: int
    start_s: float
    end_s: float
    coverage: float
    box_xyxy: np.ndarray
    probs: np.ndarray | None
    face_rgb: np.ndarray | None = None
    embedding: np.ndarray | None = None

    @property
    def middle_s(self) -> float:
        """Middle of the window in seconds."""
        return (self.start_s + self.end_s) / 2

    @property
    def top(self) -> int | None:
        """Index of the most probable class; None without probabilities."""
        return None if self.probs is None else int(self.probs.argmax())

    def is_uncertain(self, calibrated: bool) -> bool | None:
        """Return whether the top probability is below 0.5; None unless it is calibrated."""
        if self.probs is None or not calibrated:
            return None
        return bool(self.probs.max() < MIN_CONFIDENCE)


@dataclass(frozen=True)
class TrackSummary:
    """Summary of one face over the whole video.

    Attributes:
        track: Number of the face.
        start_s: Start of the first window that shows it.
        end_s: End of the last window that shows it.
        windows: Windows in order of time; at least one has probabilities.
        mean_probs: (K,) mean over the windows with probabilities.
        shares: (K,) fraction of these windows in which each class is the top one.
    """

    track: int
    start_s: float
    end_s: float
    windows: tuple[Window, ...]
    mean_probs: np.ndarray
    shares: np.ndarray

    @property
    def top(self) -> int:
        """Index of the class with the highest mean probability."""
        return int(self.mean_probs.argmax())

    @property
    def coverage(self) -> float:
        """Mean coverage of the windows."""
        return float(np.mean([window.coverage for window in self.windows]))


@dataclass(frozen=True)
class SeenFace:
    """Place of a face in one searched frame.

    Attributes:
        time_s: Time of the frame in seconds, or the end of the video for its last searched frame.
        box_xyxy: (4,) in pixels of the video.
    """

    time_s: float
    box_xyxy: np.ndarray


@dataclass(frozen=True)
class VideoPrediction:
    """Predictions of one video.

    Attributes:
        video: Path or address of the video, as it was given.
        class_names: K class names, in the order of all probabilities.
        calibrated: Whether the probabilities are calibrated: the checkpoint has a temperature.
        size: Width and height of the frames.
        duration_s: Time from the first frame that was read to the end of the last one.
        num_frames: Frames that were searched for faces, or in which faces were interpolated.
        coverage: Fraction of these frames that show any face, however briefly.
        windows: Windows in order of time, then of tracks.
        paths: Places of each track by its number, in order of time; empty unless requested.
        brief_paths: Places of the faces without a number, in order of time; empty unless requested.
        model: The model's name, its training, and whether it is calibrated.
        part: Part of the video that was to be read.
    """

    video: str
    class_names: tuple[str, ...]
    calibrated: bool
    size: tuple[int, int]
    duration_s: float
    num_frames: int
    coverage: float
    windows: tuple[Window, ...]
    paths: Mapping[int, tuple[SeenFace, ...]] = field(default_factory=dict)
    model: str = ""
    part: Part = WHOLE
    brief_paths: tuple[tuple[SeenFace, ...], ...] = ()

    @property
    def start_s(self) -> float:
        """Start of the part that was read, and of the timeline, in seconds; 0 for a whole video."""
        return self.part.start_s

    @property
    def end_s(self) -> float:
        """End of the part that was read in seconds."""
        return self.start_s + self.duration_s

    @property
    def shown_s(self) -> float:
        """Length of the timeline in seconds, which is never 0."""
        lengths_s = (window.end_s - self.start_s for window in self.windows)
        return max(self.duration_s, *lengths_s, STILL_S)

    @property
    def length_text(self) -> str:
        """Length in seconds, and the start if it is not 0, such as `5.0 s from 60.0 s`."""
        start = f" from {self.start_s:.1f} s" if self.start_s else ""
        return f"{self.duration_s:.1f} s{start}"

    @cached_property
    def tracks(self) -> tuple[TrackSummary, ...]:
        """One summary per face that has a window with probabilities, ordered by number."""
        of: dict[int, list[Window]] = {}
        for window in self.windows:
            of.setdefault(window.track, []).append(window)
        return tuple(_sum_up(number, of[number], len(self.class_names)) for number in sorted(of))

    def is_uncertain(self, window: Window) -> bool | None:
        """Return whether a window is uncertain; None if the model is not calibrated."""
        return window.is_uncertain(self.calibrated)

    def name(self, window: Window) -> str | None:
        """Return the top class of a window; None if too few frames show the face."""
        return None if window.top is None else self.class_names[window.top]

    def to_frame(self) -> "pd.DataFrame":
        """Return one row per window and face: times, expression, box, one `prob_*` per class.

        The expression comes early, because pandas omits the middle columns on a narrow terminal.
        Files of `--out` have the order of `COLUMNS`.
        """
        import pandas as pd  # 0.3 s to import

        columns = [*SHOWN_FIRST, *(name for name in COLUMNS if name not in SHOWN_FIRST)]
        columns += [f"prob_{name}" for name in self.class_names]
        records = (
            describe_window(window, self.class_names, self.calibrated) for window in self.windows
        )
        rows = [flatten_window(record, self.class_names) for record in records]
        numbers = ["confidence", *(f"prob_{name}" for name in self.class_names)]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, float))


@dataclass(frozen=True)
class Stretch:
    """The time in seconds for which a window is shown; stretches do not overlap."""

    start_s: float
    end_s: float
    window: Window


def split_time(windows: Iterable[Window]) -> list[Stretch]:
    """Split the time among the windows of one track; overlapping windows share the overlap equally.

    The windows are in order of time, and may have gaps.
    """
    ordered = list(windows)
    middles_s = ((a.end_s + b.start_s) / 2 for a, b in pairwise(ordered))
    borders = [float("-inf"), *middles_s, float("inf")]
    return [  # without windows, there is one pair of borders too many
        Stretch(max(left, window.start_s), min(right, window.end_s), window)
        for window, (left, right) in zip(ordered, pairwise(borders), strict=False)
    ]


def drawn_stretches(prediction: VideoPrediction, windows: Iterable[Window]) -> list[Stretch]:
    """Split the time of one track for drawing, see `split_time`.

    An image gets a length, and the last window covers the short rest of the video, if any.
    """
    stretches = [
        replace(part, end_s=max(part.end_s, part.start_s + STILL_S)) for part in split_time(windows)
    ]
    if not stretches or stretches[-1].window.end_s < prediction.windows[-1].end_s:
        return stretches
    last = stretches[-1]
    length_s = last.window.end_s - last.window.start_s
    if 0 < prediction.end_s - last.window.end_s <= DRAWN_REST * length_s:
        stretches[-1] = replace(last, end_s=prediction.end_s)
    return stretches


def describe_window(window: Window, class_names: Sequence[str], calibrated: bool) -> dict[str, Any]:
    """Return the record of a window.

    Raises:
        VideoError: A number is not finite.
    """
    probs = None if window.probs is None else name_probs(window.probs, class_names)
    return {
        "track": window.track,
        "start_s": round_finite(window.start_s, TIME_DECIMALS),
        "end_s": round_finite(window.end_s, TIME_DECIMALS),
        "coverage": round_finite(window.coverage, COVERAGE_DECIMALS),
        "box_xyxy": [round_finite(value, BOX_DECIMALS) for value in window.box_xyxy],
        "expression": None if window.top is None else class_names[window.top],
        "confidence": None if probs is None else max(probs.values()),
        "uncertain": window.is_uncertain(calibrated),
        "probs": probs,
    }


def flatten_window(record: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the record of a window as a row: `COLUMNS`, then one `prob_*` per class."""
    probs = record["probs"] or dict.fromkeys(class_names)
    values = {**record, **dict(zip(BOX, record["box_xyxy"], strict=True))}
    row = {name: values[name] for name in COLUMNS}
    return row | {f"prob_{name}": probs[name] for name in class_names}


def name_probs(probs: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """Return rounded probabilities by class."""
    return {n: round_finite(p, PROB_DECIMALS) for n, p in zip(class_names, probs, strict=True)}


def round_finite(value: float, decimals: int) -> float:
    """Return a rounded number.

    Raises:
        VideoError: The number is not finite.
    """
    if not math.isfinite(value):
        raise VideoError("the model returned numbers that are not finite; use --precision fp32")
    return round(float(value), decimals)


BOX = ("left", "top", "right", "bottom")

COLUMNS = ("track", "start_s", "end_s", "coverage", *BOX, "expression", "confidence", "uncertain")
"""Columns of a prediction's table, before the probabilities."""

SHOWN_FIRST = ("track", "start_s", "expression", "confidence", "end_s", "uncertain")
"""Columns that `VideoPrediction.to_frame` begins with."""


def _sum_up(number: int, windows: list[Window], num_classes: int) -> TrackSummary:
    probs = np.array([window.probs for window in windows if window.probs is not None])
    counts = np.bincount(probs.argmax(axis=1), minlength=num_classes)
    return TrackSummary(
        track=number,
        start_s=min(window.start_s for window in windows),
        end_s=max(window.end_s for window in windows),
        windows=tuple(windows),
        mean_probs=probs.mean(axis=0),
        shares=counts / counts.sum(),
    )


def describe_origin(info: "ModelInfo", settings: "PredictSettings") -> Record:
    """Return the model and the settings: the head of a document."""
    return {
        "schema_version": SCHEMA_VERSION,
        "dfer_version": __version__,
        "checkpoint": {
            "name": plain_text(info.checkpoint or ZERO_SHOT),
            "sha256": info.checkpoint_sha256,
            "description": plain_text(info.describe()),
        },
        "settings": {
            "window_s": settings.window_s,
            "stride_s": settings.stride_s,
            "faces": settings.faces,
            "start_s": settings.start_s,
            "end_s": settings.end_s,
            "detector": info.detector_name,
            "precision": info.precision,
        },
        "class_names": list(info.class_names),
        "calibrated": info.calibrated,
    }


def plain_text(text: str) -> str:
    r"""Return a text in valid UTF-8: an undecodable byte becomes `\xff` or the like.

    Different names may then look the same, and so may streams, whose passwords are hidden; see
    `Input.title`.
    """

    def escape(match: re.Match[str]) -> str:
        code = ord(match[0])
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"

    return re.sub(r"[\ud800-\udfff]", escape, hide_password(text))


def describe_video(prediction: VideoPrediction, sha256: str | None) -> Record:
    """Return the record of a predicted video without its windows; a stream has no hash."""
    predicted = any(window.probs is not None for window in prediction.windows)
    tracks = prediction.tracks if predicted else ()
    return {
        "video": plain_text(prediction.video),
        "sha256": sha256,
        "status": OK if predicted else NO_FACE,
        "error": None,
        "width": int(prediction.size[0]) or None,  # None for a stream without frames
        "height": int(prediction.size[1]) or None,
        "duration_s": round_finite(prediction.duration_s, TIME_DECIMALS),
        "frames_searched": prediction.num_frames,
        "coverage": round_finite(prediction.coverage, COVERAGE_DECIMALS),
        "tracks": [_describe_track(track, prediction.class_names) for track in tracks],
    }


def describe_failure(video: str, error: str) -> Record:
    """Return the record of a video that could not be read."""
    unknown = ("width", "height", "duration_s", "frames_searched", "coverage")
    values = {"sha256": None, "status": UNREADABLE, "error": plain_text(error)}
    return {"video": plain_text(video), **values, **dict.fromkeys(unknown), "tracks": []}


def _describe_track(track: TrackSummary, class_names: tuple[str, ...]) -> Record:
    return {
        "track": track.track,
        "start_s": round_finite(track.start_s, TIME_DECIMALS),
        "end_s": round_finite(track.end_s, TIME_DECIMALS),
        "coverage": round_finite(track.coverage, COVERAGE_DECIMALS),
        "expression": class_names[track.top],
        "mean_probs": name_probs(track.mean_probs, class_names),
        "shares": name_probs(track.shares, class_names),
    }
