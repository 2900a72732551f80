"""Detection in key frames, ahead of what follows it, in threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np

from dfercli.faces.types import Detector, Face, box_iou, find_least_track_score
from dfercli.media.video import Frame

MAX_THREADS = 8
"""Frames that are searched at a time, at most (our choice): of the time that mtcnn takes, a sixth
holds Python's lock, and each thread keeps frames in memory."""

T = TypeVar("T")

Search = Callable[[], list[Face]]
"""Returns the faces of a frame; waits where they are not found yet."""


@runtime_checkable
class CopyableDetector(Detector, Protocol):
    """A detector of which each thread can have its own."""

    def copy(self) -> Detector:
        """Return another detector that finds the same faces."""
        ...


class DetectorPool:
    """Searches several frames at a time, each in a thread and with a detector of its own.

    Args:
        detector: The first of the detectors; the others are its copies, made as they are needed.
        threads: Frames that are searched at a time.
    """

    def __init__(self, detector: CopyableDetector, threads: int) -> None:
        self.ahead = threads
        self.least_track_score = find_least_track_score(detector)
        self._original = detector
        self._idle: list[Detector] = [detector]
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="detector")

    def start(self, image_rgb: np.ndarray) -> Search:
        """Begin to search a frame, as soon as a thread is free."""
        return self._threads.submit(self.detect, image_rgb).result

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Find the faces of a frame, in the thread that calls."""
        try:
            detector = self._idle.pop()
        except IndexError:
            detector = self._original.copy()
        try:
            return detector.detect(image_rgb)
        finally:
            self._idle.append(detector)

    def close(self) -> None:
        """Drop what has not begun, and wait for what has."""
        self._threads.shutdown(cancel_futures=True)


def count_threads(kind: str, cores: int) -> int:
    """Return how many frames to search at a time, beside a model.

    Args:
        kind: Kind of the device that the model runs on. On a CPU it takes the cores itself.
        cores: This process's share of them.
    """
    return 1 if kind == "cpu" else min(cores, MAX_THREADS)


@contextmanager
def searching_ahead(detector: Detector, threads: int) -> Iterator[Detector]:
    """Let a detector search frames ahead for as long as the block takes.

    OpenCV's own threads rest meanwhile: a detector in each thread uses the cores better.

    Args:
        detector: Finds faces in single frames.
        threads: Frames that are searched at a time.

    Yields:
        A pool of detectors; the detector itself for one thread, or where it cannot be copied.
    """
    if threads == 1 or not isinstance(detector, CopyableDetector):
        yield detector
        return
    pool, before = DetectorPool(detector, threads), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield pool
    finally:
        pool.close()
        cv2.setNumThreads(before)


def look_ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """Yield items in their order, with up to `count` more of them drawn already.

    An error of theirs is raised where it would be without looking ahead: behind all items before.
    """
    drawn: deque[T] = deque()
    try:
        for item in items:
            drawn.append(item)
            if len(drawn) > count:
                yield drawn.popleft()
    except Exception:
        yield from drawn
        raise
    yield from drawn


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
