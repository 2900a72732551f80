"""Segments of time in which one window speaks: overlapping windows share their overlap."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from dfercli.predict.prediction import STILL_S, VideoPrediction, Window

DRAWN_REST = 0.25
"""Share of a window that is left at the end of a video at most, without a window of its own."""


@dataclass(frozen=True)
class Stretch:
    """A time of which one window tells.

    Attributes:
        start_s: Its begin.
        end_s: Its end; the begin of the next, or earlier.
        window: The window that tells of it.
    """

    start_s: float
    end_s: float
    window: Window


def split_time(windows: Iterable[Window]) -> list[Stretch]:
    """Split the time among the windows of one face: two that overlap get half of the overlap each.

    Args:
        windows: Of one track, in order of time; they may overlap, and leave gaps.
    """
    ordered = list(windows)
    middles_s = ((a.end_s + b.start_s) / 2 for a, b in pairwise(ordered))
    borders = [float("-inf"), *middles_s, float("inf")]
    return [  # no window has one stretch too many
        Stretch(max(left, window.start_s), min(right, window.end_s), window)
        for window, (left, right) in zip(ordered, pairwise(borders), strict=False)
    ]


def drawn_stretches(prediction: VideoPrediction, windows: Iterable[Window]) -> list[Stretch]:
    """Share out the time of one face as it is drawn: a still lasts, and no rest is left at the end.

    A rest that was too short for a window of its own is told of by the last one.

    Args:
        prediction: Of the whole video.
        windows: Of one track of it, in order of time.
    """
    stretches = [
        replace(each, end_s=max(each.end_s, each.start_s + STILL_S)) for each in split_time(windows)
    ]
    if not stretches or stretches[-1].window.end_s < prediction.windows[-1].end_s:
        return stretches
    last = stretches[-1]
    length_s = last.window.end_s - last.window.start_s
    if 0 < prediction.duration_s - last.window.end_s <= DRAWN_REST * length_s:
        stretches[-1] = replace(last, end_s=prediction.duration_s)
    return stretches
