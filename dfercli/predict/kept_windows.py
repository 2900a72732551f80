"""The finished windows of a video; only a few keep a picture of the face."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from dfercli.predict.prediction import Window

MAX_KEPT = 40
"""Windows of a video whose face is kept to be shown (our choice): 6 MB at 224 px."""


class KeptWindows:
    """Windows in order of time; faces are kept for few of them, evenly spread over the video.

    Args:
        stride_s: Seconds from the start of one window to that of the next.
    """

    def __init__(self, stride_s: float) -> None:
        self._stride_s = stride_s
        self._windows: list[Window] = []
        self._keep_every, self._num_shown = 1, 0

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows)

    def __len__(self) -> int:
        return len(self._windows)

    def add(self, windows: Sequence[Window], first_s: float) -> None:
        """Add windows.

        Args:
            windows: Of one stretch of the video.
            first_s: Start of the video's first window.
        """
        thinned = [self._thin(window, first_s) for window in windows]
        self._windows += thinned
        self._num_shown += sum(window.face_rgb is not None for window in thinned)
        if self._num_shown > MAX_KEPT:
            self._keep_every *= 2
            self._windows = [self._thin(window, first_s) for window in self._windows]
            self._num_shown = sum(window.face_rgb is not None for window in self._windows)

    def _thin(self, window: Window, first_s: float) -> Window:
        """Return a window without its face, unless it is one of those that keep it."""
        index = round((window.start_s - first_s) / self._stride_s)
        return window if index % self._keep_every == 0 else replace(window, face_rgb=None)
