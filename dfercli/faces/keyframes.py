"""Detection in key frames, and between them only where the face changes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from math import inf

import numpy as np

from dfercli.faces.ahead import DetectorPool, Search, look_ahead
from dfercli.faces.base import Detector, Face, box_iou
from dfercli.video import Frame

KEY_FRAMES = 5
"""Frames from one key frame to the next, at most (our choice)."""

KEY_STEP_S = 0.21
"""Longest time between key frames (our choice): five frames of a film at 24 a second."""

SAME_IOU = 0.7
"""Overlap from which the boxes in two key frames are one face all the time between (our choice)."""

ROUNDING_S = 1e-6
"""What sums of times may be off by."""


def search_frames(
    frames: Iterable[Frame], detector: Detector, carry_s: float, everyone: bool = False
) -> Iterator[tuple[Frame, list[Face] | None]]:
    """Give each frame with its faces, or with None where it was not searched.

    The frames between two key frames are searched, one by one, only where the largest face of one
    is not in the other. The first frame is a key frame, and so is the last.

    Args:
        frames: In order of time.
        detector: Finds faces in single frames; a `DetectorPool` in several, ahead of what is asked.
        carry_s: Longest time between key frames.
        everyone: Look for all faces of a key frame in the other, not only for the largest.
    """
    if isinstance(detector, DetectorPool):
        start, ahead = detector.start, detector.ahead
    else:
        start, ahead = partial(partial, detector.detect), 0  # searches when it is asked
    parts = part_at_keys(frames, carry_s)
    at_keys = look_ahead(((part, start(part[-1].image_rgb)) for part in parts), ahead)
    everywhere = look_ahead(_search_between(at_keys, start, None if everyone else 1), ahead)
    for frame, search in everywhere:
        yield frame, search() if search else None


def _search_between(
    at_keys: Iterable[tuple[list[Frame], Search]],
    start: Callable[[np.ndarray], Search],
    count: int | None,
) -> Iterator[tuple[Frame, Search | None]]:
    """Begin to search the frames between key frames where one of the `count` largest faces changes.

    Yields:
        Each frame and its search; None where it is not searched.
    """
    before: list[Face] = []
    for (*between, key), search in at_keys:
        after = search()
        steady = _is_steady(before, after, count)
        for frame in between:
            yield frame, None if steady else start(frame.image_rgb)
        yield key, partial(list, after)
        before = after


def part_at_keys(frames: Iterable[Frame], carry_s: float) -> Iterator[list[Frame]]:
    """Part frames into stretches that end with a key frame each, of `KEY_FRAMES` at most."""
    key_s = -inf
    stretch: list[Frame] = []
    for frame in frames:
        if stretch and frame.time_s > key_s + carry_s + ROUNDING_S:
            key_s = stretch[-1].time_s
            yield stretch
            stretch = []
        stretch.append(frame)
        if len(stretch) == KEY_FRAMES or frame.time_s >= key_s + carry_s - ROUNDING_S:
            key_s = frame.time_s
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _is_steady(before: Sequence[Face], after: Sequence[Face], count: int | None) -> bool:
    """Whether the `count` largest faces of each key frame are in the other too; None asks all."""
    return all(
        any(box_iou(large.box_xyxy, face.box_xyxy) >= SAME_IOU for face in there)
        for here, there in ((before, after), (after, before))
        for large in sorted(here, key=lambda face: -face.area)[:count]
    )
