"""Detection in key frames, and between them only where the face changes."""

from collections.abc import Iterable, Iterator, Sequence
from math import inf

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
        detector: Finds faces in single frames.
        carry_s: Longest time between key frames.
        everyone: Look for all faces of a key frame in the other, not only for the largest.
    """
    before: list[Face] = []
    for *between, key in part_at_keys(frames, carry_s):
        after = detector.detect(key.image_rgb)
        steady = _is_steady(before, after, None if everyone else 1)
        for frame in between:
            yield frame, None if steady else detector.detect(frame.image_rgb)
        yield key, after
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
