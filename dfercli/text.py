"""Text helpers: escaping for terminals and spreadsheets, options, counts, short lists."""

import re
from collections.abc import Sequence

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that a spreadsheet evaluates. Source: OWASP, CSV Injection."""

LISTED_NAMES = 3
"""Names that `list_some` shows (our choice)."""


def escape_cell(text: str) -> str:
    """Prefix text that a spreadsheet would evaluate as a formula with an apostrophe."""
    return f"'{text}" if text.startswith(FORMULA) else text


def as_option(setting: str) -> str:
    """Return the option of a setting: `--batch-size` for `batch_size`."""
    return f"--{setting.replace('_', '-')}"


def escape_letter(letter: str) -> str:
    """Return a character, escaped if a terminal would interpret it."""
    if letter.isprintable() or letter == "\u200d":  # joins emoji
        return letter
    if "\udc80" <= letter <= "\udcff":  # an undecodable byte, by `surrogateescape`
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")


def printable(name: object) -> str:
    r"""Return a name as one line that is safe to print, with escapes such as `\n` or `\xff`.

    Undecodable bytes, control characters and characters that change the writing direction are
    escaped; letters of any script and emoji are not. Passwords of streams are hidden.
    """
    return "".join(escape_letter(letter) for letter in hide_password(str(name)))


def hide_password(text: str) -> str:
    """Hide user names, passwords and query values in URLs: `rtsp://***@host`, `?user=***`."""
    text = re.sub(r"(?<=://)[^/\s]+@", "***@", text)
    return re.sub(r"(://[^?\s]*\?)(\S+)", lambda match: match[1] + _hide_values(match[2]), text)


def _hide_values(query: str) -> str:
    """Hide the values of a URL's query, but keep punctuation after it."""
    stripped = query.rstrip(":;,.)'\"")
    hidden = "&".join(re.sub(r"(?<==).+|^[^=]+$", "***", part) for part in stripped.split("&"))
    return hidden + query[len(stripped) :]


def shorten(text: str, length: int) -> str:
    """Shorten text to `length` characters, with an ellipsis at its end."""
    return text if len(text) <= length else text[: length - 1] + "…"


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, such as `1 clip` or `1,234 clips`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def list_some(names: Sequence[str], noun: str, total: int | None = None) -> str:
    """Return the number of names and the first few, such as `4 of 12 clips (a, b, c, ...)`.

    Without `total`, the number that the names are part of, it is `4 clips (a, b, c, ...)`.
    """
    shown = ", ".join([*names[:LISTED_NAMES], *(["..."] if len(names) > LISTED_NAMES else [])])
    if total is None:
        return f"{count_of(len(names), noun)} ({shown})"
    return f"{len(names):,} of {count_of(total, noun)} ({shown})"
