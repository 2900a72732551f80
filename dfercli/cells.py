"""Texts of others, made harmless: for spreadsheets that compute, and terminals that obey."""

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
