"""The videos and frames below a dataset's root, however it was unpacked."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dfercli.errors import DataError
from dfercli.text import count_of

MAX_DEPTH = 8
"""Folders below the root that are entered (our choice; FERV39k nested twice needs 7)."""

ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".001")

NOTHING = r"(?!)"
"""A pattern that matches nothing."""

OWN_CROPS = r"faces-.+-\d+"
"""Folders that `dfer preprocess` writes; they are no part of what the authors hand out."""

SHOWN_NAMES = 3
"""Names that a message gives of many (our choice)."""


@dataclass(frozen=True)
class Tree:
    """Files and clip folders below a root, relative to it, in POSIX form, the shallowest first.

    Attributes:
        root: The root.
        files: All files but those inside clip folders.
        clips: Folders that are named by a number; they are not entered.
    """

    root: Path
    files: tuple[str, ...]
    clips: tuple[str, ...]

    @property
    def packed(self) -> str:
        """The end of a sentence on what is missing: archives that perhaps hold it."""
        archives = [path for path in self.files if path.lower().endswith(ARCHIVES)]
        return f"; still packed: {name_some(archives, 'archive')}" if archives else ""


@dataclass(frozen=True)
class Found:
    """Clips found on disk.

    Attributes:
        paths: Path below the root by key of the clip.
        holders: Folders that hold them, the shallowest first.
        copies: How many more clips of the same keys there are.
        guessed: Whether no folder had a known name.
        others: Paths of these further clips by key, the shallowest first.
        joined: How many clips were put together from several folders.
        faults: What must not pass unnoticed about several folders of one clip, one line each.
    """

    paths: dict[str, str]
    holders: tuple[str, ...]
    copies: int
    guessed: bool
    others: dict[str, list[str]] = field(default_factory=dict)
    joined: int = 0
    faults: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The folder that holds them all."""
        return os.path.commonpath(self.holders) if self.holders else ""

    def __str__(self) -> str:
        if not self.paths:
            return "none"
        notes = [
            count_of(len(self.paths), "clip"),
            f"{self.joined:,} of them joined from several folders" if self.joined else "",
            "" if not self.copies else f"{_count_copies(self.copies)} elsewhere left alone",
            "under a name that is not known" if self.guessed else "",
        ]
        where = self.where or "."
        if where == "." and len(self.holders) > 1:
            where = f"{self.holders[0]} and {count_of(len(self.holders) - 1, 'more folder')}"
        return f"{where} ({', '.join(filter(None, notes))})"


def scan_tree(root: Path) -> Tree:
    """List what lies below a root, but hidden names, what macOS adds, and our own crops.

    Raises:
        DataError: There is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}; give the dataset's folder as --root")
    files: list[str] = []
    clips: list[str] = []
    level = [""]
    for _ in range(MAX_DEPTH):
        below: list[str] = []
        for folder in level:
            for entry in _list_folder(root / folder):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if not entry.is_dir():
                    if entry.is_file():  # reading a pipe might never end
                        files.append(path)
                elif entry.name.isdecimal():
                    clips.append(path)
                else:
                    below.append(path)
        level = below
    return Tree(root, tuple(files), tuple(clips))


def find_clips(
    paths: Iterable[str],
    key: Callable[[str], str | None],
    known: str | Sequence[str],
    excluded: str = NOTHING,
    guess: bool = True,
) -> Found:
    """Find the clips of one kind of media among paths.

    Of the folders above a clip, the nearest that matches either pattern decides. Those of a known
    name are taken together, however many parts there are, of the first pattern that finds any;
    where none does, the one folder of an unknown name that holds the most.

    Args:
        paths: The shallowest first; of copies, the first is taken.
        key: Gives a clip's key by its path, None for what is no clip.
        known: Pattern of the folders that these media are usually in, or several, the authors'
            own names first.
        excluded: Pattern of those that hold other media.
        guess: Whether to take folders of an unknown name.
    """
    clips = [(name, _holder(path, name), path) for path in paths if (name := key(path))]
    taken: list[tuple[str, str, str]] = []
    for pattern in [known] if isinstance(known, str) else known:
        taken = taken or [c for c in clips if _depth(pattern, c[1]) > _depth(excluded, c[1])]
    guessed = guess and not taken
    if guessed:
        strange = [clip for clip in clips if not _depth(excluded, clip[1])]
        most = Counter(_whole(holder) for _, holder, _ in strange).most_common(1)
        taken = [clip for clip in strange if _whole(clip[1]) == most[0][0]]
    found: dict[str, str] = {}
    holders: dict[str, None] = {}
    others: dict[str, list[str]] = defaultdict(list)
    for name, holder, path in taken:
        if found.setdefault(name, path) == path:
            holders[holder] = None
        else:
            others[name].append(path)
    return Found(found, tuple(holders), len(taken) - len(found), guessed, dict(others))


def by_number(path: str) -> str | None:
    """Give the key of a clip that is named by a number: five digits, as DFEW and MAFW pad it."""
    stem = PurePosixPath(path).stem
    return f"{int(stem):05d}" if stem.isdecimal() else None


def name_some(
    names: Sequence[str], noun: str, among: int | None = None, shown: int = SHOWN_NAMES
) -> str:
    """Name a few of many, and how many there are, of how many."""
    named = ", ".join(names[:shown])
    more = ", ..." if len(names) > shown else ""
    of_all = "" if among is None else f" of {among:,}"
    plural = "s" if (len(names) if among is None else among) != 1 else ""
    return f"{len(names):,}{of_all} {noun}{plural} ({named}{more})"


def _count_copies(number: int) -> str:
    return "1 copy" if number == 1 else f"{number:,} copies"


def _list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder by name; one that may not be read, such as `lost+found`, holds nothing."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        return []
    left_out = (".", "__MACOSX")
    return [
        entry
        for entry in entries
        if not entry.name.startswith(left_out) and not re.fullmatch(OWN_CROPS, entry.name)
    ]


def _holder(path: str, key: str) -> str:
    """Give the folder that a clip's key is relative to."""
    return "/".join(path.split("/")[: -1 - key.count("/")])


def _whole(holder: str) -> str:
    """Give the folder that a holder is a part of, such as `a` of `a/part_1` and of `a_part_1`."""
    return re.sub(r"[/ _-]*part[ _-]*\d+$", "", holder, flags=re.IGNORECASE)


def _depth(pattern: str, folder: str) -> int:
    """Count folders down to the last that a pattern matches; 0 where none does."""
    ends = [match.end() for match in re.finditer(pattern, folder, re.IGNORECASE)]
    return folder.count("/", 0, ends[-1]) + 1 if ends else 0
