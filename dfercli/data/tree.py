"""What lies below a dataset's root, however it was unpacked, nested or renamed."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from dfercli.errors import DataError

MAX_DEPTH = 8
"""Folders below the root that are entered (our choice; FERV39k nested twice needs 7)."""

ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz")


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
    def archives(self) -> list[str]:
        """Archives, which perhaps nobody has unpacked."""
        return [path for path in self.files if path.lower().endswith(ARCHIVES)]


@dataclass(frozen=True)
class Found:
    """Clips found on disk.

    Attributes:
        paths: Path below the root by key of the clip.
        where: Folder that holds them all.
        twice: How many clips are there more than once.
    """

    paths: dict[str, str]
    where: str
    twice: int

    def __str__(self) -> str:
        again = f", {self.twice} of them there more than once" if self.twice else ""
        return f"{self.where or '.'} ({len(self.paths):,} clips{again})"


def scan_tree(root: Path) -> Tree:
    """List what lies below a root; hidden names and what macOS adds are left out.

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
            for entry in sorted(os.scandir(root / folder), key=lambda entry: entry.name):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.name.startswith((".", "__MACOSX")):
                    continue
                if not entry.is_dir():
                    files.append(path)
                elif entry.name.isdecimal():
                    clips.append(path)
                else:
                    below.append(path)
        level = below
    return Tree(root, tuple(files), tuple(clips))


def find_clips(
    paths: Iterable[str], known: str, excluded: str, key: Callable[[str], str | None]
) -> Found:
    """Find the clips of one kind of media among paths.

    Folders of a known name are taken together, however many parts there are; where no name is
    known, the one folder that holds the most.

    Args:
        paths: The shallowest first; of copies, the first is taken.
        known: Pattern of the folders above a clip that these media are usually in.
        excluded: Pattern of those that hold other media.
        key: Gives a clip's key by its path, None for what is no clip.
    """
    keyed = [(name, path) for path in paths if (name := key(path)) is not None]
    keyed = [(name, path) for name, path in keyed if not _above(path, excluded)]
    named = [(name, path) for name, path in keyed if _above(path, known)]
    if not named and keyed:
        holders = Counter(_parent(path) for _, path in keyed)
        most = holders.most_common(1)[0][0]
        named = [(name, path) for name, path in keyed if _parent(path) == most]
    taken: dict[str, str] = {}
    for name, path in named:
        taken.setdefault(name, path)
    where = os.path.commonpath([_parent(path) for path in taken.values()]) if taken else ""
    return Found(taken, where, len(named) - len(taken))


def by_number(path: str) -> str | None:
    """Give the key of a clip that is named by a number: five digits, as DFEW and MAFW pad it."""
    stem = PurePosixPath(path).stem
    return f"{int(stem):05d}" if stem.isdecimal() else None


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _above(path: str, pattern: str) -> bool:
    return re.search(pattern, _parent(path), re.IGNORECASE) is not None
