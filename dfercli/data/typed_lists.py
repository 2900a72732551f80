"""Lists that a user types: CSV files with a header, read with patience and refused in one line."""

import codecs
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dfercli.errors import DataError


def read_list(path: Path, needed: Sequence[str], begins: str, quoted: str) -> pd.DataFrame:
    """Read a list as text, without spaces around; its columns in lower case.

    Args:
        path: Of the CSV file, which is there.
        needed: Columns that it must have.
        begins: Its first line as it should be, for an empty file.
        quoted: What may have a comma in it, for lines that are too long.

    Raises:
        DataError: It is empty, not in UTF-8, not CSV, or lacks a column.
    """
    try:
        with path.open("rb") as stream:
            encoding = find_encoding(stream.read(4))
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding=encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8; save it as CSV in UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty; it begins with {begins}") from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().splitlines()[0].rpartition("C error: ")[2]
        raise DataError(
            f"cannot read {path}: {reason}; is a comma in a {quoted}? quote it"
        ) from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas names lines by what is left over
        raise DataError(f"{path}: the lines have more fields than the header; name each column")
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r}, its first line reads "
            f"{','.join(table.columns)!r}; it needs {','.join(needed)}, with commas and in UTF-8"
        )
    table = table.apply(lambda column: column.str.strip())
    return table[(table != "").any(axis=1)]  # spreadsheets leave lines of commas


def find_encoding(content: bytes) -> str:
    """Return the encoding of a text by its byte order mark; UTF-8 where it has none."""
    marks = {
        codecs.BOM_UTF32_LE: "utf-32",  # begins like that of UTF-16
        codecs.BOM_UTF32_BE: "utf-32",
        codecs.BOM_UTF16_LE: "utf-16",
        codecs.BOM_UTF16_BE: "utf-16",
    }
    return next((name for mark, name in marks.items() if content.startswith(mark)), "utf-8-sig")


def normalise_words(words: pd.Series) -> pd.Series:
    """Give words without outer and double spaces, and with one code for each letter.

    macOS and others write accents as letters of their own.
    """
    return words.str.normalize("NFC").str.split().str.join(" ")
