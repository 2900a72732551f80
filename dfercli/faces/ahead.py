"""Detection ahead of what follows it: frames are searched in threads while earlier ones are used.

Frames do not depend on each other in a detector, so that the faces, and their order, are those of
one thread, bit for bit.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar, runtime_checkable

import cv2
import numpy as np

from dfercli.faces.base import Detector, Face, find_least_track_score

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
