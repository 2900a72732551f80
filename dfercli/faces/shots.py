"""Where one shot of a film ends and the next begins."""

from collections.abc import Iterable, Iterator
from itertools import product

import cv2
import numpy as np

from dfercli.media.video import Frame

THUMBNAIL = (32, 18)
"""Width and height of the pictures that are compared (our choice): a face's motion hardly shows."""

MAX_PAN = (8, 3)
"""Pixels of them that a moving camera may shift a picture by between two frames, to the side and up
or down (our choice): a quarter of its width."""

CHANGED_LEVELS = 20
"""Levels of 255 by which a pixel must change to count (our choice)."""

MIN_CHANGED = 0.5
"""Share of the pixels that a cut changes, however the pictures are shifted (our choice)."""


def number_shots(frames: Iterable[Frame]) -> Iterator[tuple[int, Frame]]:
    """Give each frame with the number of its shot, from 0.

    A shot ends where most of the picture changes from one frame to the next, and neither a pan of
    the camera nor more or less light explains it. A slow dissolve ends none.

    Args:
        frames: In order of time.
    """
    shot = 0
    before: np.ndarray | None = None
    size: tuple[int, ...] = ()
    for frame in frames:
        thumbnail = cv2.resize(frame.image_rgb, THUMBNAIL, interpolation=cv2.INTER_AREA)
        here = thumbnail.astype(np.int16) - int(thumbnail.mean())
        other_size = size != frame.image_rgb.shape
        if before is not None and (other_size or measure_change(before, here) >= MIN_CHANGED):
            shot += 1
        before, size = here, frame.image_rgb.shape
        yield shot, frame


def measure_change(before: np.ndarray, after: np.ndarray) -> float:
    """Give the share of pixels that differ visibly, at the shift where fewest do.

    Args:
        before: (H, W, 3) int16, less its mean.
        after: Of the same shape.
    """
    changed = _compare(before, after)
    if changed < MIN_CHANGED:
        return changed
    height, width = before.shape[:2]
    most_x, most_y = MAX_PAN
    shifts = product(range(-most_x, most_x + 1), range(-most_y, most_y + 1))
    return min(
        _compare(
            before[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)],
            after[max(0, -y) : height + min(0, -y), max(0, -x) : width + min(0, -x)],
        )
        for x, y in shifts
    )


def _compare(before: np.ndarray, after: np.ndarray) -> float:
    return float((np.abs(after - before).max(axis=2) > CHANGED_LEVELS).mean())
