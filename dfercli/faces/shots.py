"""Where one shot of a film ends and the next begins."""

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from dfercli.video import Frame

THUMBNAIL = (32, 18)
"""Width and height of the pictures that are compared (our choice): motion hardly shows in them."""

CHANGED_LEVELS = 20
"""Levels of 255 by which a pixel of them must change to count (our choice)."""

MIN_CHANGED = 0.5
"""Share of their pixels that a cut changes at least (our choice)."""

MIN_RATIO = 2.5
"""Times that a cut changes more than the frames before it did, as in a pan (our choice)."""

MEMORY = 8
"""Frames before that are compared with: a second of those that are searched (our choice)."""


def number_shots(frames: Iterable[Frame]) -> Iterator[tuple[int, Frame]]:
    """Give each frame with the number of its shot, from 0.

    A shot ends where most of the picture changes at once, and far more than just before. A flash
    of light ends one too; a slow dissolve does not.

    Args:
        frames: In order of time.
    """
    shot = 0
    before: np.ndarray | None = None
    size: tuple[int, ...] = ()
    changes: deque[float] = deque(maxlen=MEMORY)
    for frame in frames:
        thumbnail = cv2.resize(frame.image_rgb, THUMBNAIL, interpolation=cv2.INTER_AREA)
        here = thumbnail.astype(np.int16)
        if before is not None:
            changed = measure_change(before, here)
            usual = float(np.median(changes)) if changes else 0.0
            changes.append(changed)
            if size != frame.image_rgb.shape or changed >= max(MIN_CHANGED, MIN_RATIO * usual):
                shot += 1
                changes.clear()
        before, size = here, frame.image_rgb.shape
        yield shot, frame


def measure_change(before: np.ndarray, after: np.ndarray) -> float:
    """Give the share of pixels of two (H, W, 3) int16 pictures that differ visibly."""
    return float((np.abs(after - before).max(axis=2) > CHANGED_LEVELS).mean())
