"""Times that single windows stand for: overlapping windows share their overlap."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from dfercli.predict.prediction import STILL_S, VideoPrediction, Window

DRAWN_REST = 0.25
"""Largest share of a window that may be left at the end of a video without a window of its own."""


@dataclass(frozen=True)
class Stretch:
    """The time for which one window is shown.

    Attributes:
        start_s: Its start.
        end_s: Its end: the start of the next, or earlier.
        window: The window.
    """

    start_s: float
    end_s: float
    window: Window


def split_time(windows: Iterable[Window]) -> list[Stretch]:
    """Split the time among the windows of a face; two that overlap get half of the overlap each.

    Args:
        windows: Windows of one track, in order of time, with overlaps or gaps.
    """
    ordered = list(windows)
    middles_s = ((a.end_s + b.start_s) / 2 for a, b in pairwise(ordered))
    borders = [float("-inf"), *middles_s, float("inf")]
    return [  # no window has one stretch too many
        Stretch(max(left, window.start_s), min(right, window.end_s), window)
        for window, (left, right) in zip(ordered, pairwise(borders), strict=False)
    ]


def drawn_stretches(prediction: VideoPrediction, windows: Iterable[Window]) -> list[Stretch]:
    """Split the time of a face as it is drawn.

    A still gets a length, and the last window also covers a rest of the video that was too short
    for a window of its own.

    Args:
        prediction: Prediction of the whole video.
        windows: Windows of one track, in order of time.
    """
    stretches = [
        replace(part, end_s=max(part.end_s, part.start_s + STILL_S)) for part in split_time(windows)
    ]
    if not stretches or stretches[-1].window.end_s < prediction.windows[-1].end_s:
        return stretches
    last = stretches[-1]
    length_s = last.window.end_s - last.window.start_s
    if 0 < prediction.duration_s - last.window.end_s <= DRAWN_REST * length_s:
        stretches[-1] = replace(last, end_s=prediction.duration_s)
    return stretches
