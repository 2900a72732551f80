"""The style of all matplotlib figures: sizes, fonts and colours.

A point of a figure is never shown smaller than a CSS pixel, so that sizes in points are sizes on a
phone. A figure of `WIDTH_IN` fits a phone's screen; wider ones scroll in a box of their own.
"""

import io
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dfercli.text import shorten

WIDTH_IN = 4.8
"""Width of most figures: 346 points, which fit a phone's 390 pixels (our choice)."""

POINTS_PER_INCH = 72
PIXELS_PER_POINT = 3
"""Twice the 1.5 CSS pixels of a point on a wide screen."""

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
"""Colours of lines and bars. Source: Okabe and Ito, 2008, without their yellows, pale on white."""

MARKERS = "osD^vPX<>*p"
"""Markers of classes, so that colour is not the only difference."""

MAX_NAME = 18
"""Characters of a class name in a figure (our choice: longer ones leave no room for the data)."""

SETTINGS: Any = {  # of a type that differs between versions of matplotlib
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "text.parse_math": False,  # a class may be called `$x`
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw in this style, whatever the user's matplotlib settings are."""

    @wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style.context(["default", SETTINGS]):
            figure = draw(*args, **kwargs)
        FigureCanvasAgg(figure)
        return figure

    return wrapped


def make_figure(width_in: float, height_in: float) -> Figure:
    """Return an empty figure that is laid out so that texts do not overlap."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG, reproducible byte for byte."""
    stream = io.BytesIO()
    dpi = POINTS_PER_INCH * PIXELS_PER_POINT
    with style.context(["default", SETTINGS]):
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def figure_name(name: str) -> str:
    """Return a class name for a figure: shortened, and without characters that fonts lack."""
    return shorten("".join(char if char.isprintable() else " " for char in name), MAX_NAME)


def hide_axes(axes: Axes) -> None:
    """Hide the ticks and lines of axes that show an image; their label stays."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
