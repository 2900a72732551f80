"""The timeline of a video's prediction as a picture: one row per face, with its expressions."""

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
from dfercli.media.figure_style import SETTINGS, styled
from dfercli.predict.prediction import (
    Stretch,
    TrackSummary,
    VideoPrediction,
    Window,
    drawn_stretches,
)
from dfercli.text import printable, shorten
from dfercli.visualize.class_colors import PALE, class_color, class_letters, fade, ink_on

PICTURES = (".png", ".pdf", ".svg")

MAX_FACES = 10
"""Maximum number of images of a face above its timeline (our choice: fits at a readable size)."""

MAX_TRACKS = 6
"""Maximum number of faces in a picture; others are only counted (our choice)."""

MAX_NAME = 20
"""Maximum length of a class name (our choice); a video's name may be three times as long."""

MAX_MODEL = 150
"""Maximum length of the model's name (our choice)."""

DPI = 120

LEFT_IN, STRIP_IN, RIGHT_IN = 1.25, 9.0, 2.35
"""Widths in inches of the labels, timelines and legend (our choices, as are the heights)."""

TOP_IN, FACE_IN, FALL_IN, BAND_IN, GAP_IN, AXIS_IN, CURVES_IN = 0.7, 0.8, 0.2, 0.42, 0.5, 0.65, 2.3
"""Heights in inches of the title, an image of a face, the line from it to its time, a timeline, the
text above the next face, the time axis, and the curves."""

SIDE_IN = STRIP_IN / MAX_FACES
"""Minimum distance between two images of a face."""

LEGEND_IN = 0.21
"""Height of a line of the legend."""


def check_picture(path: Path) -> None:
    """Raise a ConfigError if the suffix of a path is not one of `PICTURES`."""
    if path.suffix.lower() not in PICTURES:
        raise ConfigError(f"cannot draw {path}: unknown suffix; use one of {', '.join(PICTURES)}")


def plot_prediction(prediction: VideoPrediction, path: Path) -> None:
    """Draw the timeline of each face with images of it; for a single face also all probabilities.

    A block of a timeline has the colour of its class and the height of its probability. It is pale
    and hatched if the expression is uncertain, and omitted where the face is not visible.

    Args:
        prediction: The prediction; without a face, the picture has a message instead.
        path: A `.png`, `.pdf` or `.svg` file.

    Raises:
        ConfigError: The path has another suffix.
    """
    check_picture(path)
    figure = _draw(prediction)
    with (
        replacing(path) as partial,
        style.context(["default", SETTINGS]),
        warnings.catch_warnings(),
    ):
        # The font may lack letters of the video's name, which are drawn as boxes.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure.savefig(partial, format=path.suffix.lower().removeprefix("."), dpi=DPI)


@styled
def _draw(prediction: VideoPrediction) -> Figure:
    has_faces = any(window.top is not None for window in prediction.windows)
    tracks = _choose_tracks(prediction.tracks) if has_faces else []
    curves_in = CURVES_IN if len(tracks) == 1 else 0.0
    row_in = FACE_IN + FALL_IN + BAND_IN + GAP_IN
    legend_in = LEGEND_IN * (len(prediction.class_names) + 3)
    body_in = max(legend_in, len(tracks) * row_in + curves_in, row_in)
    canvas = _Canvas(LEFT_IN + STRIP_IN + RIGHT_IN, TOP_IN + body_in + AXIS_IN)
    canvas.figure.text(
        0.15 / canvas.width_in, 1 - 0.3 / canvas.height_in, _title(prediction), size=11
    )
    model = printable(prediction.model)
    if len(model) > MAX_MODEL:  # the end says whether it is calibrated
        model = f"{model[:MAX_NAME]}…{model[MAX_NAME + 1 - MAX_MODEL :]}"
    canvas.figure.text(
        0.15 / canvas.width_in, 1 - 0.52 / canvas.height_in, model, size=8, color="#555"
    )
    _draw_legend(canvas, prediction)
    if not tracks:
        text = "no face is visible for long enough to be classified"
        canvas.figure.text(0.45, 0.5, text, ha="center")
    top_in = TOP_IN + GAP_IN
    for number, track in enumerate(tracks):
        last = number == len(tracks) - 1 and not curves_in
        _draw_track(canvas, top_in, prediction, track, last)
        top_in += row_in
    if curves_in:
        axes = canvas.add_axes(LEFT_IN, top_in - GAP_IN + 0.15, STRIP_IN, curves_in)
        _draw_curves(axes, prediction, tracks[0].windows)
        _mark_time(axes, prediction, last=True)
    return canvas.figure


class _Canvas:
    """A figure whose axes are placed in inches from its top left corner."""

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
    """Return the faces with the most classified windows, then the largest, ordered by number."""
    ranked = sorted(tracks, key=_prominence, reverse=True)[:MAX_TRACKS]
    return sorted(ranked, key=lambda track: track.track)


def _prominence(track: TrackSummary) -> tuple[int, float]:
    boxes = np.array([window.box_xyxy for window in track.windows], dtype=float)
    area = float(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).mean())
    return sum(window.top is not None for window in track.windows), area


def _title(prediction: VideoPrediction) -> str:
    name = printable(Path(prediction.video).name or prediction.video)
    if len(name) > 3 * MAX_NAME:
        name = f"…{name[1 - 3 * MAX_NAME :]}"
    parts = [name, prediction.length_text, f"face in {prediction.coverage:.0%} of frames"]
    number = len({window.track for window in prediction.windows})
    if number > MAX_TRACKS:
        parts.append(
            f"{MAX_TRACKS} of {number} faces shown, {number - MAX_TRACKS} smaller or briefer"
        )
    elif number > 1:
        parts.append(f"{number} faces")
    return "  ·  ".join(parts)


def _draw_legend(canvas: _Canvas, prediction: VideoPrediction) -> None:
    letters = class_letters(prediction.class_names)
    handles = [
        Patch(facecolor=_unit(class_color(index)), label=f"{letter}  {_shorten(name)}")
        for index, (letter, name) in enumerate(zip(letters, prediction.class_names, strict=True))
    ]
    if prediction.calibrated:
        handles.append(
            Patch(facecolor="#dddddd", hatch="////", edgecolor="white", label="uncertain")
        )
    left = (LEFT_IN + STRIP_IN + 0.15) / canvas.width_in
    canvas.figure.legend(
        handles=handles,
        title="height: probability",
        title_fontsize=8,
        alignment="left",
        loc="upper left",
        bbox_to_anchor=(left, 1 - TOP_IN / canvas.height_in),
    )


def _draw_track(
    canvas: _Canvas, top_in: float, prediction: VideoPrediction, track: TrackSummary, last: bool
) -> None:
    """Draw the images of a face, and its timeline below them."""
    faces = canvas.add_axes(LEFT_IN, top_in, STRIP_IN, FACE_IN + FALL_IN)
    _draw_faces(faces, prediction, track)
    band = canvas.add_axes(LEFT_IN, top_in + FACE_IN + FALL_IN, STRIP_IN, BAND_IN)
    band.set(ylim=(0, 1), yticks=[])
    band.set_facecolor("#f6f6f6")
    _draw_band(band, prediction, drawn_stretches(prediction, track.windows))
    _mark_time(band, prediction, last)
    name = _shorten(prediction.class_names[track.top])
    text = f"face {track.track}\n{name}\n{track.mean_probs.max():.0%} on average"
    band.text(-0.012, 0.5, text, transform=band.transAxes, ha="right", va="center", size=7.5)


def _mark_time(axes: Axes, prediction: VideoPrediction, last: bool) -> None:
    axes.set_xlim(prediction.start_s, prediction.start_s + prediction.shown_s)
    axes.tick_params(axis="x", labelbottom=last)
    if last:
        axes.set_xlabel("time in s")


def _draw_band(axes: Axes, prediction: VideoPrediction, stretches: Sequence[Stretch]) -> None:
    letters = class_letters(prediction.class_names)
    certain_blocks: list[tuple[np.ndarray, Any]] = []
    uncertain_blocks: list[tuple[np.ndarray, Any]] = []
    least_s = 0.03 * prediction.shown_s * BAND_IN  # a letter's width
    for stretch in stretches:
        window = stretch.window
        if window.probs is None or window.top is None:
            continue
        uncertain = bool(prediction.is_uncertain(window))
        color = fade(class_color(window.top), PALE if uncertain else 1.0)
        height = float(window.probs[window.top])
        start_s, end_s = stretch.start_s, stretch.end_s
        corners = [(start_s, 0), (end_s, 0), (end_s, height), (start_s, height)]
        blocks = uncertain_blocks if uncertain else certain_blocks
        blocks.append((np.array(corners), _unit(color)))
        if end_s - start_s > least_s and height > 0.3:
            middle = (start_s + end_s) / 2, height / 2
            ink = _unit(ink_on(color))
            axes.text(*middle, letters[window.top], size=7, color=ink, ha="center", va="center")
    for blocks, hatch in ((certain_blocks, None), (uncertain_blocks, "////")):
        if blocks:
            polygons, colors = zip(*blocks, strict=True)
            # Without antialiasing, which would show seams between the blocks.
            style: Any = {"facecolors": colors, "linewidths": 0, "antialiaseds": False}
            collection = PolyCollection(polygons, hatch=hatch, edgecolors="white", **style)
            axes.add_collection(collection, autolim=False)


def _draw_faces(axes: Axes, prediction: VideoPrediction, track: TrackSummary) -> None:
    """Draw images of a face side by side, each with a line to its time."""
    axes.set(xlim=(0, STRIP_IN), ylim=(FACE_IN + FALL_IN, 0))
    axes.axis("off")
    shown = [w for w in track.windows if w.face_rgb is not None and w.top is not None]
    scale = STRIP_IN / prediction.shown_s
    span_in = (shown[-1].middle_s - shown[0].middle_s) * scale if shown else 0.0
    # More images would be far from their times.
    number = min(MAX_FACES, len(shown), 3 + int(span_in / SIDE_IN))
    chosen = np.linspace(0, len(shown) - 1, number).round().astype(int)
    times_in = np.array([(shown[i].middle_s - prediction.start_s) * scale for i in chosen])
    for index, x_in, time_in in zip(chosen, _spread(times_in), times_in, strict=True):
        _draw_face(axes, shown[index], float(x_in), prediction)
        line: Any = {"color": "#999999", "lw": 0.7, "solid_capstyle": "butt"}
        axes.plot([x_in, time_in], [FACE_IN, FACE_IN + FALL_IN], **line)


def _spread(positions: np.ndarray) -> np.ndarray:
    """Move sorted positions so that they are at least `SIDE_IN` apart and inside the strip."""
    steps = SIDE_IN * np.arange(len(positions))
    to_right = np.maximum.accumulate(positions - steps) + steps
    to_left = np.minimum.accumulate((positions - steps)[::-1])[::-1] + steps
    last = STRIP_IN - SIDE_IN / 2 - steps[::-1]
    return np.clip((to_right + to_left) / 2, SIDE_IN / 2 + steps, last)


def _draw_face(axes: Axes, window: Window, x_in: float, prediction: VideoPrediction) -> None:
    assert window.face_rgb is not None and window.top is not None  # _draw_faces chooses only such
    half = FACE_IN / 2 - 0.03
    extent = (x_in - half, x_in + half, FACE_IN - 0.03, 0.03)  # left, right, bottom, top
    axes.imshow(window.face_rgb, extent=extent, aspect="auto", zorder=2)
    edge: Any = {"ec": _unit(class_color(window.top)), "lw": 3, "fill": False, "zorder": 3}
    if prediction.is_uncertain(window):
        edge |= {"ls": (0, (1, 1)), "lw": 2}
    axes.add_patch(Rectangle((x_in - half, 0.03), 2 * half, FACE_IN - 0.06, **edge))
    name = _shorten(prediction.class_names[window.top])
    size = min(7.5, 7.5 * 13 / len(name))  # long names are not wider than short ones
    axes.text(x_in, -0.02, f"{window.middle_s:.1f} s\n{name}", size=size, ha="center", va="bottom")


def _draw_curves(axes: Axes, prediction: VideoPrediction, windows: Sequence[Window]) -> None:
    times_s = [window.middle_s for window in windows]
    missing = np.full(len(prediction.class_names), np.nan)
    probs = np.array([missing if w.probs is None else w.probs for w in windows])
    marker = "." if len(windows) < 100 else ""
    for index in range(len(prediction.class_names)):
        axes.plot(times_s, probs[:, index], color=_unit(class_color(index)), marker=marker, lw=1.5)
    axes.set(ylim=(-0.02, 1.02), ylabel="probability")
    axes.grid(alpha=0.5)


def _shorten(name: str) -> str:
    return shorten(printable(name), MAX_NAME)


def _unit(color: tuple[int, int, int]) -> tuple[float, float, float]:
    """Return a colour with values from 0 to 1, for matplotlib."""
    red, green, blue = color
    return red / 255, green / 255, blue / 255
