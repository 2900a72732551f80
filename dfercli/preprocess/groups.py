"""Groups that a user names for the clips of a set whose lists have none: `groups.csv`."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from dfercli.data.spec import Listing
from dfercli.errors import DataError

GROUPS_FILE = "groups.csv"
"""Optional list in the root folder of a set with official lists."""

COLUMNS = ("clip_id", "group")


def add_groups(listing: Listing, root: Path) -> Listing:
    """Give the same listing with the groups of `groups.csv`, where there is one.

    A clip that it does not list gets an empty group.

    Args:
        listing: From the official lists.
        root: The dataset's folder.

    Raises:
        DataError: `groups.csv` cannot be read, names a clip twice or without a group, or one that
            the lists do not have.
    """
    path = root / GROUPS_FILE
    if not path.is_file():
        return listing
    groups = _read_groups(path)
    listed = [source.clip_id for source in listing.sources]
    strays = sorted(groups.keys() - set(listed))
    if strays:
        more = f" and {len(strays) - 1:,} more" if len(strays) > 1 else ""
        raise DataError(
            f"{path}: the lists have no clip {strays[0]!r}{more}; clips are called like "
            f"{listed[0]!r}, correct these lines or remove them"
        )
    sources = tuple(replace(s, group=groups.get(s.clip_id, "")) for s in listing.sources)
    count = len(set(groups.values()))
    line = (
        f"groups: {GROUPS_FILE} ({count:,} group{'s' * (count > 1)}, "
        f"{len(groups):,} of {len(listed):,} clips)"
    )
    return replace(listing, sources=sources, taken=(*listing.taken, line))


def _read_groups(path: Path) -> dict[str, str]:
    """Read the group of each clip that is listed."""
    table = _parse_groups(path)
    table = table[(table != "").any(axis=1)]  # spreadsheets leave lines of commas
    if table.empty:
        raise DataError(f"{path} lists no clip; add a line for each, or remove the file")
    repeated = table["clip_id"][table["clip_id"].duplicated()]
    if len(repeated):
        raise DataError(f"{path}: clip {repeated.iloc[0]!r} is listed twice; keep one line of it")
    empty = table["clip_id"][table["group"] == ""]
    if len(empty):
        raise DataError(
            f"{path}: no group for clip {empty.iloc[0]!r}; name it, or remove the line: "
            f"a clip that is not listed is a group of its own"
        )
    return dict(zip(table["clip_id"], table["group"], strict=True))


def _parse_groups(path: Path) -> pd.DataFrame:
    """Read the two columns as text, without outer and double spaces."""
    needed = ",".join(COLUMNS)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8; save it as CSV in UTF-8") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty; it begins with {needed}") from error
    except pd.errors.ParserError as error:
        reason = str(error).strip().splitlines()[0].rpartition("C error: ")[2]
        raise DataError(f"cannot read {path}: {reason}; is a comma in a group? quote it") from error
    if not isinstance(table.index, pd.RangeIndex):  # pandas names lines by what is left over
        raise DataError(f"{path}: the lines have more fields than the header; name each column")
    table.columns = [str(name).strip().lower() for name in table.columns]
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise DataError(
            f"{path} has no column {missing[0]!r}, its first line reads "
            f"{','.join(table.columns)!r}; it needs {needed}, with commas and in UTF-8"
        )
    # One code for each letter: macOS and others write accents as letters of their own.
    return table[[*COLUMNS]].apply(lambda c: c.str.normalize("NFC").str.split().str.join(" "))
