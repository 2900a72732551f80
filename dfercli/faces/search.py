"""Detection in key frames, in threads that run ahead of the tracker."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np

from dfercli.faces.types import Detector, Face, NearDetector, box_iou, find_least_track_score
from dfercli.media.video import Frame

MAX_THREADS = 8
"""Most frames searched at the same time (our choice): mtcnn holds Python's lock for a sixth of its
time, and each thread keeps frames in memory."""

T = TypeVar("T")

Search = Callable[[], list[Face]]
"""Returns the faces of a frame, after waiting for them if necessary."""


@runtime_checkable
class CopyableDetector(Detector, Protocol):
    """A detector that can be copied for another thread."""

    def copy(self) -> Detector:
        """Return a detector that finds the same faces."""
        ...


class DetectorPool:
    """Copies of a detector, one per thread, made when they are needed."""

    def __init__(self, detector: CopyableDetector, threads: int) -> None:
        self.ahead = threads
        self.least_track_score = find_least_track_score(detector)
        self._original = detector
        self._idle: list[Detector] = [detector]
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="detector")

    def start(self, image_rgb: np.ndarray) -> Search:
        """Queue a frame for the next free thread."""
        return self._threads.submit(self.detect, image_rgb).result

    def detect(self, image_rgb: np.ndarray) -> list[Face]:
        """Return the faces of a frame, found in the calling thread."""
        try:
            detector = self._idle.pop()
        except IndexError:
            detector = self._original.copy()
        try:
            return detector.detect(image_rgb)
        finally:
            self._idle.append(detector)

    def close(self) -> None:
        """Cancel queued frames and wait for those being searched."""
        self._threads.shutdown(cancel_futures=True)


def count_threads(kind: str, cores: int) -> int:
    """Return the number of detector threads beside a model on a device of this kind.

    On a `cpu` the model needs the cores itself.
    """
    return 1 if kind == "cpu" else min(cores, MAX_THREADS)


@contextmanager
def searching_ahead(detector: Detector, threads: int) -> Iterator[Detector]:
    """Provide a pool of detectors that searches frames ahead in threads.

    With one thread, or if the detector cannot be copied, it is the detector itself. OpenCV's own
    threads are switched off meanwhile: one detector per thread uses the cores better.
    """
    if threads == 1 or not isinstance(detector, CopyableDetector):
        yield detector
        return
    pool, opencv_threads = DetectorPool(detector, threads), cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield pool
    finally:
        pool.close()
        cv2.setNumThreads(opencv_threads)


def look_ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """Yield items in order, after drawing up to `count` more of them.

    An error in drawing is raised after all items that were drawn before it.
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
"""Most frames from one key frame to the next (our choice)."""

KEY_STEP_S = 0.21
"""Longest time between key frames of training videos (our choice): five frames at 24 per second."""

SAME_IOU = 0.7
"""Overlap of the boxes in two key frames from which a face is steady in between (our choice)."""

FULL_S = 1.0
"""Longest time between searches of the whole frame in prediction (our choice): so much later, at
most, is a new face found beside a known one."""

ROUNDING_S = 1e-6
"""Tolerance for sums of times."""


def search_frames(
    frames: Iterable[Frame],
    detector: Detector,
    carry_s: float,
    everyone: bool = False,
    full_s: float = 0.0,
) -> Iterator[tuple[Frame, list[Face] | None]]:
    """Yield frames, in order of time, with their faces, or with None if they were not searched.

    Key frames are at most `carry_s` apart; 0 makes every frame one, and the first and last frame
    always are. Other frames are searched only if the largest face of a key frame on either side
    (or, with `everyone`, any face) is not at about the same place in the other. A `DetectorPool`
    searches ahead.

    A `NearDetector` searches the whole frame only in key frames that are `full_s` apart, and where
    a known face is not near its place; 0 searches every frame as a whole.
    """
    if full_s > 0 and isinstance(detector, NearDetector):
        yield from _search_near(frames, detector, carry_s, None if everyone else 1, full_s)
        return
    if isinstance(detector, DetectorPool):
        start, ahead = detector.start, detector.ahead
    else:
        start, ahead = partial(partial, detector.detect), 0  # searches when called
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
    """Yield each frame with its search, or None if it lies between two similar key frames.

    Key frames are similar if each has the `count` largest faces of the other; None means all faces.
    """
    before: list[Face] = []
    for (*between, key), search in at_keys:
        after = search()
        steady = _is_steady(before, after, count)
        for frame in between:
            yield frame, None if steady else start(frame.image_rgb)
        yield key, partial(list, after)
        before = after


def _search_near(
    frames: Iterable[Frame],
    detector: NearDetector,
    carry_s: float,
    count: int | None,
    full_s: float,
) -> Iterator[tuple[Frame, list[Face] | None]]:
    """Yield frames with their faces, searched around the known faces; see `search_frames`."""

    def search(frame: Frame, known: Sequence[Face]) -> list[Face]:
        near = detector.detect_near(frame.image_rgb, known) if known else None
        return detector.detect(frame.image_rgb) if near is None else near

    before: list[Face] = []
    due_s = -inf
    for *between, key in part_at_keys(frames, carry_s):
        is_due = key.time_s >= due_s - ROUNDING_S
        due_s = key.time_s + full_s if is_due else due_s
        after = search(key, [] if is_due else before)
        steady = _is_steady(before, after, count)
        known = before if len(before) == len(after) else []
        for frame in between:
            yield frame, None if steady else search(frame, known)
        yield key, after
        before = after


def part_at_keys(frames: Iterable[Frame], carry_s: float) -> Iterator[list[Frame]]:
    """Split frames into stretches of up to `KEY_FRAMES`; the last frame of each is a key frame."""
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
    """Return whether each of two key frames has the `count` largest faces of the other."""
    return all(
        any(box_iou(large.box_xyxy, face.box_xyxy) >= SAME_IOU for face in other)
        for one, other in ((before, after), (after, before))
        for large in sorted(one, key=lambda face: -face.area)[:count]
    )
