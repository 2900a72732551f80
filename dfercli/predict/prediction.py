"""Predictions of a video: windows of each track, and a summary of each face."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from dfercli.errors import VideoError

TIME_DECIMALS = 3
COVERAGE_DECIMALS = 4
BOX_DECIMALS = 1
PROB_DECIMALS = 6
"""Decimals in tables and files (our choice): ms, tenths of a pixel, what float32 holds."""

MIN_CONFIDENCE = 0.5
"""Calibrated probability of the top class under which an expression is uncertain (our choice): the
answer is then wrong more often than right."""

STILL_S = 1e-3
"""Length that a still, and its window, are given where they are drawn (our choice)."""


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
        face_rgb: Middle one of the aligned faces; kept for only some windows of a long video.
    """

    track: int
    start_s: float
    end_s: float
    coverage: float
    box_xyxy: np.ndarray
    probs: np.ndarray | None
    face_rgb: np.ndarray | None = None

    @property
    def middle_s(self) -> float:
        """Middle of the window in seconds."""
        return (self.start_s + self.end_s) / 2

    @property
    def top(self) -> int | None:
        """Index of the most probable class; None without probabilities."""
        return None if self.probs is None else int(self.probs.argmax())

    def is_uncertain(self, calibrated: bool) -> bool | None:
        """Return whether the top probability is below 0.5; None if that is not known.

        Args:
            calibrated: Whether the probabilities are calibrated.
        """
        if self.probs is None or not calibrated:
            return None
        return bool(self.probs.max() < MIN_CONFIDENCE)


@dataclass(frozen=True)
class TrackSummary:
    """One face over the whole video.

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
        duration_s: Time from the first frame to the end of the last one.
        num_frames: Frames that were searched for faces, or in which faces were interpolated.
        coverage: Fraction of these frames that show any face, however briefly.
        windows: Windows in order of time, then of tracks.
        paths: Places of each track by its number, in order of time; empty unless requested.
        model: The model's name, its training, and whether it is calibrated.
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

    @property
    def shown_s(self) -> float:
        """Length of the drawn timeline in seconds, never 0: to the end of video or last window."""
        return max(self.duration_s, *(window.end_s for window in self.windows), STILL_S)

    @cached_property
    def tracks(self) -> tuple[TrackSummary, ...]:
        """One summary per face that has a window with probabilities, ordered by number."""
        of: dict[int, list[Window]] = {}
        for window in self.windows:
            of.setdefault(window.track, []).append(window)
        return tuple(_sum_up(number, of[number], len(self.class_names)) for number in sorted(of))

    def is_uncertain(self, window: Window) -> bool | None:
        """Return whether a window's expression is uncertain; None if that is not known."""
        return window.is_uncertain(self.calibrated)

    def name(self, window: Window) -> str | None:
        """Return the top class of a window; None if too few frames show the face."""
        return None if window.top is None else self.class_names[window.top]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per window and face: times, expression, box, one `prob_*` per class.

        The expression stands early, since pandas leaves out columns in the middle where a terminal
        is narrow. Files of `--out` have the order of `COLUMNS`.
        """
        columns = [*SHOWN_FIRST, *(name for name in COLUMNS if name not in SHOWN_FIRST)]
        columns += [f"prob_{name}" for name in self.class_names]
        records = (
            describe_window(window, self.class_names, self.calibrated) for window in self.windows
        )
        rows = [flatten_window(record, self.class_names) for record in records]
        numbers = ["confidence", *(f"prob_{name}" for name in self.class_names)]
        return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, float))


def describe_window(window: Window, class_names: Sequence[str], calibrated: bool) -> dict[str, Any]:
    """Return a window as it is written to files, of types that JSON has.

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
    """Return a record of `describe_window` as a row: `COLUMNS`, then one `prob_*` per class."""
    box = dict(zip(("left", "top", "right", "bottom"), record["box_xyxy"], strict=True))
    probs = record["probs"] or dict.fromkeys(class_names)
    values = {**record, **box}
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


COLUMNS = (
    "track",
    "start_s",
    "end_s",
    "coverage",
    "left",
    "top",
    "right",
    "bottom",
    "expression",
    "confidence",
    "uncertain",
)
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
