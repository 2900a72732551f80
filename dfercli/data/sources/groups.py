"""Groups that a user names for the clips of a set whose lists have none: `groups.csv`."""

from dataclasses import replace
from pathlib import Path

from dfercli.data.sources.base import Listing, normalise_words, read_list
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
    table = read_list(path, COLUMNS, ",".join(COLUMNS), "group")
    table = table[[*COLUMNS]].apply(normalise_words)
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
