"""The face and the detector protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class Face:
    """One face in one frame, in pixels of that frame, origin top left.

    Attributes:
        box_xyxy: (4,) float, left, top, right, bottom.
        landmarks_xy: (5, 2) float: the eye at the image's left, the one at its right, the tip of
            the nose, the corner of the mouth at the left, the one at the right.
        score: The detector's confidence in [0, 1].
    """

    box_xyxy: np.ndarray
    landmarks_xy: np.ndarray
    score: float

    @property
    def area(self) -> float:
        """Area of the box in square pixels; 0 for a box that is inside out."""
        left, top, right, bottom = self.box_xyxy
        return float(max(0.0, right - left) * max(0.0, bottom - top))


class Detector(Protocol):
    """Protocol of a face detector."""

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Return all faces of a (H, W, 3) uint8 image, in no particular order."""
        ...


@runtime_checkable
class NearDetector(Detector, Protocol):
    """A detector that can also search around the places of known faces, which is quicker."""

    def detect_near(self, image_rgb: np.ndarray, known: Sequence[Face]) -> list[Face] | None:
        """Return known faces of an earlier frame as they are in this one, in the same order.

        The result is None if one of them is not near its place, or if searching the whole image is
        quicker.
        """
        ...


def find_least_track_score(detector: Detector) -> float:
    """Return the score that a track's best detection must reach.

    It is the detector's `least_track_score`, or 0 if it has none.
    """
    return float(getattr(detector, "least_track_score", 0.0))


def box_iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two (4,) boxes."""
    left, top = np.maximum(a[:2], b[:2])
    right, bottom = np.minimum(a[2:], b[2:])
    intersection = max(0.0, right - left) * max(0.0, bottom - top)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return float(intersection / (areas - intersection)) if areas > intersection else 0.0


def blend_faces(first: Face, last: Face, share: float) -> Face:
    """Interpolate linearly between two faces; a share of 0 is the first, 1 the last."""
    return Face(
        box_xyxy=(1 - share) * first.box_xyxy + share * last.box_xyxy,
        landmarks_xy=(1 - share) * first.landmarks_xy + share * last.landmarks_xy,
        score=(1 - share) * first.score + share * last.score,
    )
