"""`groups.csv`: groups that a user gives to the clips of a dataset with official lists."""

from dataclasses import replace
from pathlib import Path

from dfercli.data.sources.base import Listing, normalise_words, read_user_list
from dfercli.errors import DataError
from dfercli.text import count_of

GROUPS_FILE = "groups.csv"
"""Optional file in the dataset's root folder."""

COLUMNS = ("clip_id", "group")


def add_groups(listing: Listing, root: Path) -> Listing:
    """Return the listing with the groups of `groups.csv`, if the file exists.

    A clip that the file does not list gets an empty group.

    Raises:
        DataError: `groups.csv` cannot be read, lists a clip twice, without a group, or one that
            the official lists do not contain.
    """
    path = root / GROUPS_FILE
    if not path.is_file():
        return listing
    groups = _read_groups(path)
    clip_ids = [source.clip_id for source in listing.sources]
    unknown = sorted(groups.keys() - set(clip_ids))
    if unknown:
        more = f" and {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
        raise DataError(
            f"{path}: the lists have no clip {unknown[0]!r}{more}; clip ids look like "
            f"{clip_ids[0]!r}, correct these lines or remove them"
        )
    sources = tuple(replace(s, group=groups.get(s.clip_id, "")) for s in listing.sources)
    line = (
        f"groups: {GROUPS_FILE} ({count_of(len(set(groups.values())), 'group')}, "
        f"{len(groups):,} of {len(clip_ids):,} clips)"
    )
    return replace(listing, sources=sources, taken=(*listing.taken, line))


def _read_groups(path: Path) -> dict[str, str]:
    """Return the group of each listed clip."""
    table = read_user_list(path, COLUMNS, ",".join(COLUMNS), "group")
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
