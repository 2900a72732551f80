"""Predictions on the screen: one line as each window ends, then a timeline of each face.

All names are printed as `Text`, so that nothing in them is interpreted as markup of rich.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from rich.text import Text

from dfercli.cli.printing import screen
from dfercli.predict import TrackSummary, VideoPrediction, Window
from dfercli.predict.prediction import Stretch, drawn_stretches, split_time
from dfercli.text import count_of, printable
from dfercli.visualize.class_colors import PALE, Color, class_color, class_letters, fade, ink_on

MAX_TRACKS = 8
"""Maximum number of timelines (our choice); other faces are only counted."""

BAR = 10
"""Length of the bar of a probability of 1 (our choice)."""

LEAST_LINE = 20
"""Minimum length of a timeline (our choice)."""

TICK = 10
"""Minimum number of characters between two times of the axis (our choice)."""

NICE_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
"""Possible steps of the axis in seconds (our choice)."""

UNSEEN = "·"


def print_window(window: Window, class_names: Sequence[str], calibrated: bool) -> None:
    """Print a window in one line; it can be uncertain only if the model is calibrated."""
    begin = f"{window.start_s:5.1f} – {window.end_s:5.1f} s  face {window.track}  "
    if window.probs is None:
        screen.print(Text(f"{begin}seen too briefly", "dim"), soft_wrap=True)
        return
    first, *others = window.probs.argsort()[::-1]
    name, share = printable(class_names[first]), float(window.probs[first])
    line = Text(begin)
    if window.is_uncertain(calibrated):
        line.append(f"uncertain ({name} {_percent(share)})", "dim")
    else:
        line.append(f"{name:<{max(map(len, class_names))}} {_percent(share):>5}")
        color = class_color(int(first))
        style = _style(color) if any(color) else ""  # black is invisible on most terminals
        _append(line, f" {'█' * round(BAR * share):<{BAR}}", style)
        for second in others[:1]:
            following = f"{printable(class_names[second])} {_percent(window.probs[second])}"
            _append(line, f"  then {following}", "dim")
    screen.print(line, soft_wrap=True)


def _append(line: Text, more: str, style: str) -> None:
    """Append text if it fits on the terminal; in a file it always fits."""
    if not screen.is_terminal or line.cell_len + len(more) <= screen.width:
        line.append(more, style)


def print_prediction(prediction: VideoPrediction) -> None:
    """Print the timeline of each face in letters, with its classes.

    A letter is the most frequent class of its time, a small letter an uncertain class, and a dot
    means that the face is not visible.
    """
    predicted = any(window.top is not None for window in prediction.windows)
    tracks = prediction.tracks if predicted else ()
    _print_head(prediction, len(tracks))
    present = sorted(tracks, key=_seen_s, reverse=True)
    for track in sorted(present[:MAX_TRACKS], key=lambda track: track.track):
        _print_track(prediction, track)
    if len(tracks) > MAX_TRACKS:
        rest = len(tracks) - MAX_TRACKS
        screen.print(f"\nand {count_of(rest, 'more face')}, seen for less time")
    if not tracks:
        screen.print("no face is visible for long enough to be classified")


def _print_head(prediction: VideoPrediction, number: int) -> None:
    line = Text(printable(prediction.video), "bold")
    faces = "1 face" if number == 1 else f"{number} faces"
    seen = f"seen in {_percent(prediction.coverage)} of {prediction.num_frames} searched frames"
    line.append(f": {prediction.length_text}, {faces}, {seen}", "not bold")
    screen.print(line)


def _print_track(prediction: VideoPrediction, track: TrackSummary) -> None:
    name = printable(prediction.class_names[track.top])
    head = Text(f"\nface {track.track}", "bold")
    head.append(f"  {track.start_s:.1f} – {track.end_s:.1f} s  ", "not bold")
    head.append(name)
    head.append(f" ({_percent(track.mean_probs[track.top])} on average)", "not bold")
    doubtful = [prediction.is_uncertain(window) for window in track.windows]
    if any(doubtful):
        share = doubtful.count(True) / (len(doubtful) - doubtful.count(None))
        head.append(f", uncertain {_percent(share)} (small letters)", "not bold")
    screen.print(head)
    width = max(LEAST_LINE, screen.width)
    for line in (
        _draw_line(prediction, track, width),
        Text(_draw_axis(prediction.start_s, prediction.shown_s, width), "dim"),
        *_draw_legend(prediction, track, width),
    ):
        line.rstrip()
        screen.print(line, no_wrap=True, overflow="crop")


def _draw_line(prediction: VideoPrediction, track: TrackSummary, width: int) -> Text:
    """Return the timeline of a face; all characters have the same length of time."""
    letters = class_letters(prediction.class_names)
    start_s = prediction.start_s
    borders = np.linspace(start_s, start_s + prediction.shown_s, width + 1)
    stretches = drawn_stretches(prediction, track.windows)
    line, first = Text(), 0
    for start_s, end_s in pairwise(borders):
        while first < len(stretches) - 1 and stretches[first].end_s <= start_s:
            first += 1
        top, doubtful = _majority(prediction, stretches[first:], start_s, end_s)
        if top is None:
            line.append(UNSEEN, "dim")
            continue
        color = fade(class_color(top), PALE if doubtful else 1.0)
        line.append(_small(letters[top]) if doubtful else letters[top], _block(color))
    return line


def _majority(
    prediction: VideoPrediction, stretches: Sequence[Stretch], start_s: float, end_s: float
) -> tuple[int | None, bool]:
    """Return the most frequent class of a time, and whether most of this time is uncertain.

    The class is None if the face is not visible for more than half of the time.
    """
    shares: dict[int | None, float] = {None: 0.0}
    doubtful_s = 0.0
    left_s = end_s - start_s
    for stretch in stretches:
        if stretch.start_s >= end_s:
            break
        length_s = max(0.0, min(end_s, stretch.end_s) - max(start_s, stretch.start_s))
        shares[stretch.window.top] = shares.get(stretch.window.top, 0.0) + length_s
        doubtful_s += length_s if prediction.is_uncertain(stretch.window) else 0.0
        left_s -= length_s
    unseen_s = shares.pop(None) + left_s
    seen_s = sum(shares.values())
    if not shares or unseen_s > seen_s:
        return None, False
    return max(shares, key=lambda top: shares[top]), doubtful_s > seen_s / 2


def _draw_axis(start_s: float, length_s: float, width: int) -> str:
    """Return the axis below a timeline; each label starts at its time."""
    most = max(1, width // TICK)
    step_s = next((step for step in NICE_S if length_s / step <= most), length_s / most)
    line = ""
    for tick in range(math.ceil(start_s / step_s), int((start_s + length_s) / step_s) + 1):
        place = int((tick * step_s - start_s) / length_s * width)
        label = f"{tick * step_s:g}" + ("" if line else " s")
        if place + len(label) <= width:
            line = f"{line:<{place}}{label}"
    return line


def _draw_legend(prediction: VideoPrediction, track: TrackSummary, width: int) -> list[Text]:
    """Return lines with the classes of a face and their letters, most frequent first."""
    letters = class_letters(prediction.class_names)
    lines = [Text()]
    for index in sorted(range(len(letters)), key=lambda index: -track.shares[index]):
        if track.shares[index] <= 0:
            break
        name = printable(prediction.class_names[index])
        part = Text.assemble(
            (f" {letters[index]} ", _block(class_color(index))),
            f" {name} {_percent(track.shares[index])}  ",
        )
        if lines[-1].cell_len + part.cell_len > width and lines[-1]:
            lines.append(Text())
        lines[-1].append_text(part)
    return lines


def _seen_s(track: TrackSummary) -> float:
    """Return the seconds for which a face has predictions."""
    predicted = [part for part in split_time(track.windows) if part.window.top is not None]
    return sum(part.end_s - part.start_s for part in predicted)


def _small(letter: str) -> str:
    small = letter.lower()
    return small if small != letter and len(small) == 1 else "?"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _style(color: Color) -> str:
    return "rgb({},{},{})".format(*color)


def _block(color: Color) -> str:
    return f"{_style(ink_on(color))} on {_style(color)}"
