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
"""One colour per class. Source: Paul Tol's muted scheme, which is safe for colour-blind people; its
sand is darker here."""

REPEAT = 0.55
"""Strength of a colour that is used for a second class (our choice)."""

PALE = 0.35
"""Strength of a class's colour if the expression is uncertain (our choice)."""

DARK = 115
"""Luminance from 0 to 255 below which text on a colour is white (our choice): the contrast is at
least 4 on every colour."""

Color = tuple[int, int, int]
"""Red, green and blue, from 0 to 255."""


def class_color(index: int) -> Color:
    """Return the colour of a class by its index."""
    rounds, index = divmod(index, len(CLASS_COLORS))
    red, green, blue = bytes.fromhex(CLASS_COLORS[index][1:])
    return fade((red, green, blue), REPEAT**rounds)


def fade(color: Color, strength: float) -> Color:
    """Mix a colour with white; strength 1 keeps the colour, 0 is white."""
    red, green, blue = (round(255 - (255 - value) * strength) for value in color)
    return red, green, blue


def ink_on(color: Color) -> Color:
    """Return the colour of text on a colour: black or white."""
    red, green, blue = color
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue  # Source: ITU-R BT.601
    return (255, 255, 255) if luminance < DARK else (0, 0, 0)


def class_letters(class_names: Sequence[str]) -> tuple[str, ...]:
    """Return a unique capital letter for each class, if possible the first letter of its name.

    Else it is another letter of the name, any letter or digit, or `#` if none is left.
    """
    letters: list[str] = []
    for name in class_names:
        candidates = [*map(str.upper, name), *ascii_uppercase, *digits]
        free = (char for char in candidates if _is_narrow_letter(char) and char not in letters)
        letters.append(next(free, "#"))
    return tuple(letters)


def _is_narrow_letter(char: str) -> bool:
    """Return whether a character is a letter or digit of one terminal column."""
    return len(char) == 1 and char.isalnum() and unicodedata.east_asian_width(char) not in "WF"
