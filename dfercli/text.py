"""Text for people: safe to print on a terminal, safe to open in a spreadsheet."""

import re

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet computes. Source: OWASP, CSV Injection."""


def escape_cell(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: an apostrophe stands before one."""
    return f"'{text}" if text.startswith(FORMULA) else text


def escape_letter(letter: str) -> str:
    """Return a letter as a terminal may have it: what would steer the terminal is escaped."""
    if letter.isprintable() or letter == "\u200d":  # the joiner within emoji
        return letter
    if "\udc80" <= letter <= "\udcff":  # a byte, as `surrogateescape` keeps it
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


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


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
