"""How all pictures of a report look: sizes, letters, colours.

A point of a picture is never shown smaller than a CSS pixel, so sizes in points are sizes on a
phone. What is as wide as `WIDTH_IN` fits a phone's screen; what is wider scrolls in its own box.
"""

import io
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH_IN = 4.8
"""Width of most pictures: 346 points, what is left of a phone's 390 pixels (our choice)."""

POINTS_PER_INCH = 72
PIXELS_PER_POINT = 3
"""Twice the 1.5 CSS pixels that a point takes on a wide screen."""

SERIES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000")
"""Colours of lines and bars. Source: Okabe and Ito, 2008; less their yellows, pale on white."""

MARKERS = "osD^vPX<>*p"
"""A form a class, so that colour is not all that tells them apart."""

LONGEST_NAME = 18
"""Letters of a name that are drawn (our choice: longer ones leave no room for the picture)."""

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

Given = ParamSpec("Given")


def styled(draw: Callable[Given, Figure]) -> Callable[Given, Figure]:
    """Have a function draw in the report's style, whatever matplotlib's settings are."""

    @wraps(draw)
    def wrapped(*args: Given.args, **kwargs: Given.kwargs) -> Figure:
        with style.context(["default", SETTINGS]):
            figure = draw(*args, **kwargs)
        FigureCanvasAgg(figure)
        return figure

    return wrapped


def make_figure(width_in: float, height_in: float) -> Figure:
    """Begin a picture whose parts make room for each other's letters."""
    return Figure(figsize=(width_in, height_in), layout="constrained")


def to_png(figure: Figure) -> bytes:
    """Give a picture as PNG, the same bytes each time."""
    stream = io.BytesIO()
    dpi = POINTS_PER_INCH * PIXELS_PER_POINT
    with style.context(["default", SETTINGS]):
        figure.savefig(stream, format="png", dpi=dpi, metadata={"Software": None})
    return stream.getvalue()


def shorten(name: str) -> str:
    """Cut a name that is too long to be drawn, and what a font has no letter for."""
    name = "".join(letter if letter.isprintable() else " " for letter in name)
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def hide_axes(axes: Axes) -> None:
    """Leave of axes that show an image just the image, and their label."""
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
