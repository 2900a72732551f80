"""The picture of a video's prediction: a time line of each face under its pictures."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from dfercli.errors import ConfigError
from dfercli.files import replacing
from dfercli.predict.prediction import TrackSummary, VideoPrediction, Window
from dfercli.predict.segments import Stretch, drawn_stretches
from dfercli.text import printable
from dfercli.visualize.class_colors import PALE, class_color, class_letters, fade, ink_on
from dfercli.visualize.style import SETTINGS, styled

PICTURES = (".png", ".pdf", ".svg")

MAX_FACES = 10
"""Faces shown above a time line (our choice: what fits at a readable size)."""

MAX_TRACKS = 6
"""Time lines in a picture; the smaller faces are counted (our choice: a screen's height)."""

LONGEST_NAME = 20
"""Letters of a class's name that are drawn, and three times as many of a video's (our choice)."""

LONGEST_MODEL = 150
"""Letters of the line that names the model (our choice: what fits)."""

DPI = 120

LEFT_IN, STRIP_IN, RIGHT_IN = 1.25, 9.0, 2.35
"""Width of what names a time line, of the line, and of the legend (our choices, as the heights)."""

TOP_IN, FACE_IN, FALL_IN, BAND_IN, GAP_IN, AXIS_IN, CURVES_IN = 0.7, 0.8, 0.2, 0.42, 0.5, 0.65, 2.3
"""Height of title and model, a face, the line down to its time, a time line, the words above the
next face, the time axis, and the curves."""

SIDE_IN = STRIP_IN / MAX_FACES
"""From face to face, at least."""

LEGEND_IN = 0.21
"""Height of a class in the legend."""


def check_picture(path: Path) -> None:
    """Refuse a kind of picture that cannot be drawn, before time is spent on what it shows.

    Raises:
        ConfigError: The suffix is none of `PICTURES`.
    """
    if path.suffix.lower() not in PICTURES:
        raise ConfigError(f"cannot draw {path}; name it with one of {', '.join(PICTURES)}")


def plot_prediction(prediction: VideoPrediction, path: Path) -> None:
    """Draw a time line of each face, with its pictures; for one face also the probabilities.

    A block of a time line has the colour of its class, and is as high as that is probable; it is
    pale and hatched where the expression is uncertain, and not there where the face is not.

    Args:
        prediction: Without any named window the picture says just that.
        path: A `.png`, `.pdf` or `.svg` file.

    Raises:
        ConfigError: It is none of these.
    """
    check_picture(path)
    figure = _draw(prediction)
    with (
        replacing(path) as partial,
        style.context(["default", SETTINGS]),
        warnings.catch_warnings(),
    ):
        # A video may be named in letters that the font lacks: they are drawn as boxes.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure.savefig(partial, format=path.suffix.lower().removeprefix("."), dpi=DPI)


@styled
def _draw(prediction: VideoPrediction) -> Figure:
    named = any(window.top is not None for window in prediction.windows)
    tracks = _choose_tracks(prediction.tracks) if named else []
    curves_in = CURVES_IN if len(tracks) == 1 else 0.0
    row_in = FACE_IN + FALL_IN + BAND_IN + GAP_IN
    legend_in = LEGEND_IN * (len(prediction.class_names) + 3)
    body_in = max(legend_in, len(tracks) * row_in + curves_in, row_in)
    sheet = _Sheet(LEFT_IN + STRIP_IN + RIGHT_IN, TOP_IN + body_in + AXIS_IN)
    sheet.figure.text(0.15 / sheet.width_in, 1 - 0.3 / sheet.height_in, _title(prediction), size=11)
    model = printable(prediction.model)
    if len(model) > LONGEST_MODEL:  # its end says whether it is calibrated
        model = f"{model[:LONGEST_NAME]}…{model[LONGEST_NAME + 1 - LONGEST_MODEL :]}"
    sheet.figure.text(
        0.15 / sheet.width_in, 1 - 0.52 / sheet.height_in, model, size=8, color="#555"
    )
    _draw_legend(sheet, prediction)
    if not tracks:
        text = "no face is seen long enough to name its expression"
        sheet.figure.text(0.45, 0.5, text, ha="center")
    top_in = TOP_IN + GAP_IN
    for number, track in enumerate(tracks):
        last = number == len(tracks) - 1 and not curves_in
        _draw_track(sheet, top_in, prediction, track, last)
        top_in += row_in
    if curves_in:
        axes = sheet.add_axes(LEFT_IN, top_in - GAP_IN + 0.15, STRIP_IN, curves_in)
        _draw_curves(axes, prediction, tracks[0].windows)
        _mark_time(axes, prediction, last=True)
    return sheet.figure


class _Sheet:
    """A figure whose parts are placed in inches from its top left."""

    def __init__(self, width_in: float, height_in: float) -> None:
        self.width_in, self.height_in = width_in, height_in
        self.figure = Figure(figsize=(width_in, height_in))

    def add_axes(self, left_in: float, top_in: float, width_in: float, height_in: float) -> Axes:
        return self.figure.add_axes(
            (
                left_in / self.width_in,
                1 - (top_in + height_in) / self.height_in,
                width_in / self.width_in,
                height_in / self.height_in,
            )
        )


def _choose_tracks(tracks: Sequence[TrackSummary]) -> list[TrackSummary]:
    """Give the faces that are named longest, of these the largest; in order of their numbers."""
    ranked = sorted(tracks, key=_presence, reverse=True)[:MAX_TRACKS]
    return sorted(ranked, key=lambda track: track.track)


def _presence(track: TrackSummary) -> tuple[int, float]:
    boxes = np.array([window.box_xyxy for window in track.windows], dtype=float)
    area = float(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).mean())
    return sum(window.top is not None for window in track.windows), area


def _title(prediction: VideoPrediction) -> str:
    name = printable(Path(prediction.video).name or prediction.video)
    if len(name) > 3 * LONGEST_NAME:
        name = f"…{name[1 - 3 * LONGEST_NAME :]}"
    parts = [name, f"{prediction.duration_s:.1f} s", f"face in {prediction.coverage:.0%} of frames"]
    number = len({window.track for window in prediction.windows})
    if number > MAX_TRACKS:
        parts.append(
            f"{MAX_TRACKS} of {number} faces shown, {number - MAX_TRACKS} smaller or briefer"
        )
    elif number > 1:
        parts.append(f"{number} faces")
    return "  ·  ".join(parts)


def _draw_legend(sheet: _Sheet, prediction: VideoPrediction) -> None:
    letters = class_letters(prediction.class_names)
    handles = [
        Patch(facecolor=_unit(class_color(index)), label=f"{letter}  {_short(name)}")
        for index, (letter, name) in enumerate(zip(letters, prediction.class_names, strict=True))
    ]
    if prediction.calibrated:
        handles.append(
            Patch(facecolor="#dddddd", hatch="////", edgecolor="white", label="uncertain")
        )
    left = (LEFT_IN + STRIP_IN + 0.15) / sheet.width_in
    place: Any = {"loc": "upper left", "bbox_to_anchor": (left, 1 - TOP_IN / sheet.height_in)}
    place |= {"alignment": "left", "title_fontsize": 8}
    sheet.figure.legend(handles=handles, title="height: probability", **place)


def _draw_track(
    sheet: _Sheet, top_in: float, prediction: VideoPrediction, track: TrackSummary, last: bool
) -> None:
    """Draw the pictures of a face, and its time line below them."""
    faces = sheet.add_axes(LEFT_IN, top_in, STRIP_IN, FACE_IN + FALL_IN)
    _draw_faces(faces, prediction, track)
    band = sheet.add_axes(LEFT_IN, top_in + FACE_IN + FALL_IN, STRIP_IN, BAND_IN)
    band.set(ylim=(0, 1), yticks=[])
    band.set_facecolor("#f6f6f6")
    _draw_band(band, prediction, drawn_stretches(prediction, track.windows))
    _mark_time(band, prediction, last)
    name = _short(prediction.class_names[track.top])
    text = f"face {track.track}\n{name}\n{track.mean_probs.max():.0%} on average"
    band.text(-0.012, 0.5, text, transform=band.transAxes, ha="right", va="center", size=7.5)


def _mark_time(axes: Axes, prediction: VideoPrediction, last: bool) -> None:
    axes.set_xlim(0, prediction.shown_s)
    axes.tick_params(axis="x", labelbottom=last)
    if last:
        axes.set_xlabel("time in s")


def _draw_band(axes: Axes, prediction: VideoPrediction, stretches: Sequence[Stretch]) -> None:
    letters = class_letters(prediction.class_names)
    sure: list[tuple[np.ndarray, Any]] = []
    uncertain: list[tuple[np.ndarray, Any]] = []
    least_s = 0.03 * prediction.shown_s * BAND_IN  # a letter's width
    for stretch in stretches:
        window = stretch.window
        if window.probs is None or window.top is None:
            continue
        doubtful = bool(prediction.is_uncertain(window))
        color = fade(class_color(window.top), PALE if doubtful else 1.0)
        height = float(window.probs[window.top])
        start_s, end_s = stretch.start_s, stretch.end_s
        corners = [(start_s, 0), (end_s, 0), (end_s, height), (start_s, height)]
        (uncertain if doubtful else sure).append((np.array(corners), _unit(color)))
        if end_s - start_s > least_s and height > 0.3:
            middle = (start_s + end_s) / 2, height / 2
            ink = _unit(ink_on(color))
            axes.text(*middle, letters[window.top], size=7, color=ink, ha="center", va="center")
    for blocks, hatch in ((sure, None), (uncertain, "////")):
        if blocks:
            corners_of, colors = zip(*blocks, strict=True)
            # Without smoothing, for which seams would be seen between the blocks.
            look: Any = {"facecolors": colors, "linewidths": 0, "antialiaseds": False}
            axes.add_collection(
                PolyCollection(corners_of, hatch=hatch, edgecolors="white", **look), autolim=False
            )


def _draw_faces(axes: Axes, prediction: VideoPrediction, track: TrackSummary) -> None:
    """Draw a face's pictures beside each other, each with a line down to its time."""
    axes.set(xlim=(0, STRIP_IN), ylim=(FACE_IN + FALL_IN, 0))
    axes.axis("off")
    shown = [each for each in track.windows if each.face_rgb is not None and each.top is not None]
    scale = STRIP_IN / prediction.shown_s
    span_in = (shown[-1].middle_s - shown[0].middle_s) * scale if shown else 0.0
    most = min(
        MAX_FACES, len(shown), 3 + int(span_in / SIDE_IN)
    )  # more would be far from their times
    chosen = np.linspace(0, len(shown) - 1, most).round().astype(int)
    wanted = np.array([shown[index].middle_s * scale for index in chosen])
    for index, x_in, time_in in zip(chosen, _spread(wanted), wanted, strict=True):
        _draw_face(axes, shown[index], float(x_in), prediction)
        line: Any = {"color": "#999999", "lw": 0.7, "solid_capstyle": "butt"}
        axes.plot([x_in, time_in], [FACE_IN, FACE_IN + FALL_IN], **line)


def _spread(wanted: np.ndarray) -> np.ndarray:
    """Give places along the line that are near the wanted ones, in their order, and apart."""
    steps = SIDE_IN * np.arange(len(wanted))
    to_right = np.maximum.accumulate(wanted - steps) + steps
    to_left = np.minimum.accumulate((wanted - steps)[::-1])[::-1] + steps
    last = STRIP_IN - SIDE_IN / 2 - steps[::-1]
    return np.clip((to_right + to_left) / 2, SIDE_IN / 2 + steps, last)


def _draw_face(axes: Axes, window: Window, x_in: float, prediction: VideoPrediction) -> None:
    assert window.face_rgb is not None and window.top is not None  # chosen so
    half = FACE_IN / 2 - 0.03
    extent = (x_in - half, x_in + half, FACE_IN - 0.03, 0.03)  # left, right, bottom, top
    axes.imshow(window.face_rgb, extent=extent, aspect="auto", zorder=2)
    edge: Any = {"ec": _unit(class_color(window.top)), "lw": 3, "fill": False, "zorder": 3}
    if prediction.is_uncertain(window):
        edge |= {"ls": (0, (1, 1)), "lw": 2}
    axes.add_patch(Rectangle((x_in - half, 0.03), 2 * half, FACE_IN - 0.06, **edge))
    name = _short(prediction.class_names[window.top])
    size = min(7.5, 7.5 * 13 / len(name))  # a long name is as wide as a short one
    axes.text(x_in, -0.02, f"{window.middle_s:.1f} s\n{name}", size=size, ha="center", va="bottom")


def _draw_curves(axes: Axes, prediction: VideoPrediction, windows: Sequence[Window]) -> None:
    times_s = [window.middle_s for window in windows]
    missing = np.full(len(prediction.class_names), np.nan)
    probs = np.array([missing if each.probs is None else each.probs for each in windows])
    marker = "." if len(windows) < 100 else ""
    for index in range(len(prediction.class_names)):
        axes.plot(times_s, probs[:, index], color=_unit(class_color(index)), marker=marker, lw=1.5)
    axes.set(ylim=(-0.02, 1.02), ylabel="probability")
    axes.grid(alpha=0.5)


def _short(name: str) -> str:
    name = printable(name)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _unit(color: tuple[int, int, int]) -> tuple[float, float, float]:
    """Give a colour as matplotlib takes it, of 1 instead of 255."""
    red, green, blue = color
    return red / 255, green / 255, blue / 255
