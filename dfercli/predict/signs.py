"""How a prediction is shown wherever one looks at it: the same colour and letter of each class.

Here too what is true of a moment, of windows that overlap the one that speaks then; and names that
are safe to be shown.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from string import ascii_uppercase, digits

from dfercli.cells import escape_letter
from dfercli.predict.prediction import STILL_S, VideoPrediction, Window

CLASS_COLORS = (
    "#CC6677",
    "#332288",
    "#DDAA33",
    "#117733",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#777777",
    "#000000",
)
"""A colour a class. Source: Tol's muted scheme, safe for the colour-blind; a darker sand."""

PALER = 0.55
"""Strength of a colour that comes again, after all were used (our choice)."""

PALE = 0.35
"""Strength of a class's colour where the expression is uncertain (our choice)."""

DARK = 115
"""Luminance of 255 under which letters on a colour are white: so that the contrast is four or more
on every colour (our choice)."""

DRAWN_REST = 0.25
"""Share of a window that is left at the end of a video at most, without a window of its own."""

Color = tuple[int, int, int]
"""Red, green and blue of 255."""


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


def class_color(index: int) -> Color:
    """Give the colour of a class, by its place among the classes."""
    rounds, place = divmod(index, len(CLASS_COLORS))
    text = CLASS_COLORS[place]
    color = int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
    return fade(color, PALER**rounds)


def fade(color: Color, strength: float) -> Color:
    """Mix a colour with white: all of it at a strength of 1, none at 0."""
    red, green, blue = (round(255 - (255 - value) * strength) for value in color)
    return red, green, blue


def ink_on(color: Color) -> Color:
    """Give the colour of letters that are read on this one: black or white."""
    red, green, blue = color
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue  # Source: ITU-R BT.601
    return (255, 255, 255) if luminance < DARK else (0, 0, 0)


def class_letters(class_names: Sequence[str]) -> tuple[str, ...]:
    """Give each class a capital letter of its own, where there is one the first of its name.

    A later class takes another letter of its name, then any other letter or digit; `#` is left
    where these are used up.
    """
    given: list[str] = []
    for name in class_names:
        wanted = [*map(str.upper, name), *ascii_uppercase, *digits]
        free = (sign for sign in wanted if _is_narrow_letter(sign) and sign not in given)
        given.append(next(free, "#"))
    return tuple(given)


def printable(name: object) -> str:
    r"""Give a name for one line of a terminal: what would break it is escaped, as `\n` or `\xff`.

    Undecodable bytes, control characters and those that turn the direction of writing are; letters
    and emoji of any script are not. Passwords of streams are hidden.
    """
    return "".join(escape_letter(letter) for letter in hide_password(str(name)))


def hide_password(text: str) -> str:
    """Give a text in which addresses do not tell who may read them: `rtsp://***@host`.

    Nor do the values of their queries: `?user=***&password=***`; which of them is a secret, nobody
    knows.
    """
    text = re.sub(r"(?<=://)[^/\s]+@", "***@", text)
    return re.sub(r"(://[^?\s]*\?)(\S+)", lambda found: found[1] + _hide_values(found[2]), text)


def _hide_values(query: str) -> str:
    """Hide the values of a query; what ends a clause behind it is no part of it."""
    whole = query.rstrip(":;,.)'\"")
    hidden = "&".join(re.sub(r"(?<==).+|^[^=]+$", "***", part) for part in whole.split("&"))
    return hidden + query[len(whole) :]


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


def _is_narrow_letter(sign: str) -> bool:
    """Tell whether a letter takes one column of a terminal."""
    return len(sign) == 1 and sign.isalnum() and unicodedata.east_asian_width(sign) not in "WF"
