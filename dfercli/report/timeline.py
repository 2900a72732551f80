"""The picture of a video's prediction: faces, and the probabilities over time."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfercli.errors import ConfigError
from dfercli.files import replacing
from dfercli.predict import VideoPrediction, Window

PICTURES = (".png", ".pdf", ".svg")
MAX_FACES = 10
"""Faces shown above a time line (our choice: what fits at a readable size)."""


def check_picture(path: Path) -> None:
    """Refuse a kind of picture that cannot be drawn, before time is spent on what it shows.

    Raises:
        ConfigError: The suffix is none of `PICTURES`.
    """
    if path.suffix.lower() not in PICTURES:
        raise ConfigError(f"cannot draw {path}; name it with one of {', '.join(PICTURES)}")


def plot_prediction(prediction: VideoPrediction, path: Path) -> None:
    """Draw a video's faces, the expression of each window, and the probabilities over time.

    Args:
        prediction: With at least one window that shows a face.
        path: A `.png`, `.pdf` or `.svg` file.

    Raises:
        ConfigError: It is none of these.
    """
    check_picture(path)
    shown = [window for window in prediction.windows if window.face_rgb is not None]
    chosen = np.linspace(0, len(shown) - 1, min(MAX_FACES, len(shown))).round().astype(int)
    figure = Figure(figsize=(12, 5.2), dpi=120, layout="constrained")
    grid = figure.add_gridspec(2, MAX_FACES, height_ratios=[1.1, 2.4])
    for column, index in enumerate(chosen):
        _draw_face(figure.add_subplot(grid[0, column]), shown[index], prediction.class_names)
    _draw_lines(figure.add_subplot(grid[1, :]), prediction)
    figure.suptitle(f"{prediction.video.name}: face in {prediction.coverage:.0%} of the frames")
    with replacing(path) as partial:
        figure.savefig(partial, format=path.suffix.lower().removeprefix("."))


def _draw_face(axis: Axes, window: Window, class_names: tuple[str, ...]) -> None:
    if window.face_rgb is None or window.probs is None:
        return
    top = int(window.probs.argmax())
    axis.imshow(window.face_rgb)
    axis.axis("off")
    axis.set_title(f"{_middle_s(window):.1f} s\n{class_names[top]}", fontsize=9, color=_color(top))


def _draw_lines(axis: Axes, prediction: VideoPrediction) -> None:
    windows = prediction.windows
    times_s = [_middle_s(window) for window in windows]
    missing = np.full(len(prediction.class_names), np.nan)
    probs = np.array([missing if w.probs is None else w.probs for w in windows])
    for index, name in enumerate(prediction.class_names):
        axis.plot(times_s, probs[:, index], color=_color(index), label=name, marker=".", lw=2)
    for left, right, window in zip(*_borders(windows), windows, strict=True):
        shade = "0.9" if window.probs is None else _color(int(window.probs.argmax()))
        axis.axvspan(left, right, ymin=0.0, ymax=0.04, color=shade, lw=0)
    axis.set(xlim=(0, max(windows[-1].end_s, 1e-3)), ylim=(-0.05, 1.02))
    axis.set(xlabel="time in s (middle of the window)", ylabel="probability")
    axis.grid(alpha=0.3)
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _borders(windows: tuple[Window, ...]) -> tuple[list[float], list[float]]:
    """Give each window the stretch that is nearest to its middle."""
    middles = [_middle_s(window) for window in windows]
    between = [(a + b) / 2 for a, b in pairwise(middles)]
    return [windows[0].start_s, *between], [*between, windows[-1].end_s]


def _middle_s(window: Window) -> float:
    return (window.start_s + window.end_s) / 2


def _color(index: int) -> tuple[float, float, float, float]:
    """Give one of twenty colours: ten strong ones, then their pale fellows."""
    return colormaps["tab20"](2 * index if index < 10 else 2 * index - 19)
