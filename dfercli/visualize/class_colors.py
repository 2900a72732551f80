"""The colour and letter of each class, the same in every picture, page and terminal."""

import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase, digits

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

Color = tuple[int, int, int]
"""Red, green and blue of 255."""


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


def _is_narrow_letter(sign: str) -> bool:
    """Tell whether a letter takes one column of a terminal."""
    return len(sign) == 1 and sign.isalnum() and unicodedata.east_asian_width(sign) not in "WF"
