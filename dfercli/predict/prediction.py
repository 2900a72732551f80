"""What was seen in a video: windows of tracks, and what they come to for each face."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

MIN_CONFIDENCE = 0.5
"""Calibrated probability of the top class under which an expression is uncertain (our choice): the
answer is then wrong more often than right."""

STILL_S = 1e-3
"""Length that a still, and its window, are given where they are drawn (our choice)."""


@dataclass(frozen=True)
class Window:
    """A stretch of a video, one face in it, and its expression.

    Attributes:
        track: Number of the face, from 1, the same as long as it is followed.
        start_s: First moment of the stretch.
        end_s: Its last.
        coverage: Share of the stretch's searched frames that show this face.
        box_xyxy: (4,) where it is in the middle of those frames, in pixels of the video.
        probs: (K,) probabilities; None where too few frames show the face.
        face_rgb: The middle one of the aligned faces; kept for a few windows of a long video.
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
        """The moment in its middle."""
        return (self.start_s + self.end_s) / 2

    @property
    def top(self) -> int | None:
        """Index of the class of the greatest probability; None without any."""
        return None if self.probs is None else int(self.probs.argmax())

    def is_uncertain(self, calibrated: bool) -> bool | None:
        """Whether its expression is uncertain; None where that is not known.

        Args:
            calibrated: Whether its probabilities are.
        """
        if self.probs is None or not calibrated:
            return None
        return bool(self.probs.max() < MIN_CONFIDENCE)


@dataclass(frozen=True)
class TrackSummary:
    """One face over the whole video.

    Attributes:
        track: Its number.
        start_s: Start of the first window that shows it.
        end_s: End of the last.
        windows: Its windows in order of time, of which at least one is named.
        mean_probs: (K,) mean over the named windows.
        shares: (K,) share of the named windows that each class is the top of.
    """

    track: int
    start_s: float
    end_s: float
    windows: tuple[Window, ...]
    mean_probs: np.ndarray
    shares: np.ndarray

    @property
    def top(self) -> int:
        """Index of the class of the greatest mean probability."""
        return int(self.mean_probs.argmax())

    @property
    def coverage(self) -> float:
        """Mean coverage of its windows."""
        return float(np.mean([window.coverage for window in self.windows]))


@dataclass(frozen=True)
class SeenFace:
    """Where a face was in one searched frame.

    Attributes:
        time_s: Time of the frame; or the end of the video, for faces of its last searched frame.
        box_xyxy: (4,) in pixels of the video.
    """

    time_s: float
    box_xyxy: np.ndarray


@dataclass(frozen=True)
class VideoPrediction:
    """The time line of one video.

    Attributes:
        video: Its path or address, as it was given.
        class_names: K classes.
        calibrated: Whether the probabilities are: the checkpoint has a temperature.
        size: Width and height of its frames.
        duration_s: From the first frame to the end of the last.
        num_frames: Frames that were searched for faces, or that carry a face between two such.
        coverage: Share of them that show any face, however shortly.
        windows: In order of time, then of tracks.
        paths: Each track's places, by its number, in order of time; empty where not asked for.
        model: What made it: a model's name, its training, and whether it is calibrated.
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
        """Length that is drawn: to the end of the video, or of its last window; never 0."""
        return max(self.duration_s, *(window.end_s for window in self.windows), STILL_S)

    @cached_property
    def tracks(self) -> tuple[TrackSummary, ...]:
        """Each face with a named window, by its number."""
        of: dict[int, list[Window]] = {}
        for window in self.windows:
            of.setdefault(window.track, []).append(window)
        return tuple(_sum_up(number, of[number], len(self.class_names)) for number in sorted(of))

    def is_uncertain(self, window: Window) -> bool | None:
        """Whether a window's expression is uncertain; None where that is not known."""
        return window.is_uncertain(self.calibrated)

    def name(self, window: Window) -> str | None:
        """Give the top class of a window; None where too few frames show the face."""
        return None if window.top is None else self.class_names[window.top]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per window and face: times, expression, box, one `prob_*` per class.

        The expression stands early, since pandas leaves out columns in the middle where a terminal
        is narrow. Files of `--out` have the order of `COLUMNS`.
        """
        columns = [*SHOWN_FIRST, *(name for name in COLUMNS if name not in SHOWN_FIRST)]
        columns += [f"prob_{name}" for name in self.class_names]
        return pd.DataFrame([self._row(window) for window in self.windows], columns=columns)

    def _row(self, window: Window) -> dict[str, Any]:
        missing = np.full(len(self.class_names), np.nan)
        probs = missing if window.probs is None else window.probs
        left, top, right, bottom = (round(float(value), 1) for value in window.box_xyxy)
        row = {
            "track": window.track,
            "start_s": round(window.start_s, 3),
            "end_s": round(window.end_s, 3),
            "coverage": round(window.coverage, 4),
            "left": left,
            "top": top,
            "right": right,
            "bottom": bottom,
            "expression": self.name(window),
            "confidence": float(probs.max()),
            "uncertain": self.is_uncertain(window),
        }
        return row | {
            f"prob_{name}": float(p) for name, p in zip(self.class_names, probs, strict=True)
        }


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

SHOWN_FIRST = ("track", "start_s", "end_s", "expression", "confidence", "uncertain")
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
