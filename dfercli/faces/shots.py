"""Cuts in a film, and the camera views between them."""

from collections.abc import Iterable, Iterator
from itertools import product

import cv2
import numpy as np

from dfercli.media.video import Frame

THUMBNAIL = (32, 18)
"""Width and height of the compared thumbnails (our choice): so small that a face's motion hardly
shows."""

MAX_PAN = (8, 3)
"""Largest shift between two frames of one shot, in thumbnail pixels to the side and up or down (our
choice): a moving camera shifts the picture by up to a quarter of its width."""

CHANGED_LEVELS = 20
"""Difference in levels (of 255) from which a pixel counts as changed (our choice)."""

MIN_CHANGED = 0.5
"""Share of pixels that must change at a cut, at the best shift (our choice)."""

MAX_VIEWS = 8
"""Earlier views that a new shot is compared with (our choice)."""


_Picture = tuple[tuple[int, ...], np.ndarray]
"""Shape of a frame, and its thumbnail: (18, 32, 3) int16, minus its mean."""


def number_views(frames: Iterable[Frame]) -> Iterator[tuple[int, Frame]]:
    """Yield each frame with the number of its camera view, counted from 0.

    The number changes at every cut: where most of the picture changes from one frame to the next,
    and neither a pan nor a change of brightness explains it. A slow dissolve is not a cut. A shot
    that shows the picture of an earlier one again, such as the one after a cutaway or a flash, has
    the earlier number.

    Args:
        frames: In order of time.
    """
    ends: dict[int, _Picture] = {}  # the last picture of each view, the latest view last
    view, num_views = 0, 1
    before: _Picture | None = None
    for frame in frames:
        thumbnail = cv2.resize(frame.image_rgb, THUMBNAIL, interpolation=cv2.INTER_AREA)
        picture = (frame.image_rgb.shape, thumbnail.astype(np.int16) - int(thumbnail.mean()))
        if before is not None and not _is_same(before, picture):
            ends.pop(view, None)
            known = [number for number, end in ends.items() if _is_same(end, picture)]
            ends[view] = before
            if len(ends) > MAX_VIEWS:
                del ends[next(iter(ends))]
            view = known[-1] if known else num_views
            num_views = max(num_views, view + 1)
        before = picture
        yield view, frame


def _is_same(before: _Picture, after: _Picture) -> bool:
    return before[0] == after[0] and measure_change(before[1], after[1]) < MIN_CHANGED


def measure_change(before: np.ndarray, after: np.ndarray) -> float:
    """Return the share of pixels that differ visibly, at the shift where the fewest do.

    Args:
        before: (H, W, 3) int16, minus its mean.
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
