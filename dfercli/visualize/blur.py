"""Faces made unrecognisable in the frames of a video."""

from collections.abc import Sequence

import cv2
import numpy as np

from dfercli.errors import require_known
from dfercli.faces.search import FULL_S
from dfercli.predict.prediction import SeenFace, VideoPrediction

BLUR = ("others", "all")
"""Faces that can be blurred: all but the largest one, or all."""

SIDES = 1.6
"""Side of the square that is blurred, in sides of the face's box (our choice: hair and ears)."""

BLOCKS = 6
"""Blocks in a side of that square (our choice): about four across the face."""

HOLD_S = FULL_S + 0.25
"""Time before the first and after the last detection in which the place of a face is blurred (our
choice): a new face may be found that late."""


class FaceBlur:
    """Blurs the faces of one video, also those that were seen too briefly for a prediction.

    Args:
        prediction: Predictions of the video, with the paths of its faces.
        faces: `all`, or `others`: all but the track with the largest area, summed over time.
    """

    def __init__(self, prediction: VideoPrediction, faces: str) -> None:
        require_known("choice of blurred faces", faces, BLUR)
        paths = {number: path for number, path in prediction.paths.items() if path}
        if faces == "others" and paths:
            del paths[max(paths, key=lambda number: _presence(paths[number]))]
        blurred = [path for path in (*paths.values(), *prediction.brief_paths) if path]
        self._paths = [
            (np.array([seen.time_s for seen in path]), np.array([seen.box_xyxy for seen in path]))
            for path in blurred
        ]

    def draw(self, image_rgb: np.ndarray, time_s: float) -> np.ndarray:
        """Return the frame (H, W, 3) at a time with its faces blurred."""
        boxes = [
            [np.interp(time_s, times_s, side) for side in boxes_xyxy.T]
            for times_s, boxes_xyxy in self._paths
            if times_s[0] - HOLD_S <= time_s <= times_s[-1] + HOLD_S
        ]
        if boxes:
            image_rgb = image_rgb.copy()
        for box_xyxy in boxes:
            pixelate(image_rgb, np.array(box_xyxy))
        return image_rgb


def _presence(path: Sequence[SeenFace]) -> float:
    boxes = np.array([seen.box_xyxy for seen in path], dtype=float)
    return float(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).sum())


def pixelate(image_rgb: np.ndarray, box_xyxy: np.ndarray) -> None:
    """Replace the surroundings of a face by a few blocks of its mean colours, in place."""
    side = float(max(box_xyxy[2:] - box_xyxy[:2]))
    centre = (box_xyxy[:2] + box_xyxy[2:]) / 2
    left, top = np.maximum(0, np.floor(centre - SIDES / 2 * side).astype(int))
    right, bottom = np.maximum(0, np.ceil(centre + SIDES / 2 * side).astype(int))
    region = image_rgb[top:bottom, left:right]
    if region.size == 0:
        return
    height, width = region.shape[:2]
    block = SIDES * side / BLOCKS
    size = max(1, round(width / block)), max(1, round(height / block))
    small = cv2.resize(region, size, interpolation=cv2.INTER_AREA)
    region[:] = cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST)
