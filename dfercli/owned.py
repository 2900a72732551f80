"""Folders that dfer makes, and may therefore replace or remove; all others belong to somebody else.

A folder counts as dfer's only while it holds nothing but files that dfer writes there, and is no
link. The folder around many of them also has a record that dfer wrote (a recipe, a run). Files that
dfer writes into a folder that its owner uses too are listed in a mark, `.dfer`, beside them.
"""

import json
import os
import re
import shutil
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from dfercli.errors import DataError
from dfercli.system_errors import naming

MARK_FILE = ".dfer"
"""In a folder that dfer shares with its owner: names of the files that dfer writes there."""

PARTIAL = r"(^|/)\.([^/]+)\.partial(?=/|$)"
"""Name of what was being written when dfer was killed, as `dfercli.files` gives it."""

JUNK = r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini|\.nfs.*"
"""Files that operating systems put into any folder; they are nobody's."""

WHAT_NEXT = "move it elsewhere, and run the same command again"

MAX_NAME = 255
"""Bytes of a file's name that file systems take. Source: NAME_MAX of Linux and macOS."""

MAX_PATH = 1000
"""Bytes of a name with the folders in it (our choice; macOS takes 1,024 for a whole path)."""

RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever their suffix."""


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that dfer makes.

    Attributes:
        title: What it is, for errors.
        contents: Pattern of all paths below it that dfer writes, in POSIX form.
        record: JSON file among them that says how the folder came about.
        keys: Entries that it has.
    """

    title: str
    contents: str
    record: str = ""
    keys: tuple[str, ...] = ()

    def find_fault(self, folder: Path) -> str | None:
        """Return why a folder is not dfer's to replace; None where it is, or is missing."""
        if folder.is_symlink():
            return f"{folder} is a link; remove it, or put what it points to in its place"
        if not folder.exists():
            return None
        if not folder.is_dir():
            return f"{folder} is a file where dfer puts {self.title}; {WHAT_NEXT}"
        foreign = self._find_foreign(folder)
        if foreign is None and self.record and os.path.lexists(folder / self.record):
            foreign = None if _is_record(folder / self.record, self.keys) else self.record
        if foreign is None:
            return None
        return f"{folder} holds {foreign}, which dfer did not write; {WHAT_NEXT}"

    def check(self, folder: Path) -> None:
        """Refuse to replace a folder that dfer did not make.

        Raises:
            DataError: `folder` is a link or a file, or holds something that dfer did not write.
        """
        if fault := self.find_fault(folder):
            raise DataError(fault)

    def remove(self, folder: Path) -> None:
        """Remove a folder that dfer made.

        Raises:
            DataError: As in `check`; nothing was removed then.
        """
        self.check(folder)
        if folder.exists():
            shutil.rmtree(folder)

    def drop(self, folder: Path) -> None:
        """Remove a folder if dfer made it; leave it otherwise, and where it cannot be removed."""
        if self.find_fault(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)

    def _find_foreign(self, folder: Path) -> str | None:
        """Return the path of one file below a folder that dfer did not write."""
        for parent, folders, names in os.walk(folder):
            links = [name for name in folders if Path(parent, name).is_symlink()]
            for name in sorted([*links, *names]):
                path = Path(parent, name).relative_to(folder).as_posix()
                whole = re.sub(PARTIAL, r"\1\2", path)
                if not (re.fullmatch(self.contents, whole) or re.fullmatch(JUNK, name)):
                    return path
        return None


def check_recorded(folder: Path, record: str, keys: Iterable[str], ignored: Iterable[str]) -> None:
    """Refuse to write into a folder that somebody else made; links to a folder of ours will do.

    Args:
        folder: Missing, empty, or with a record that dfer wrote.
        record: Name of the record, a JSON file.
        keys: Entries that a record of dfer's has.
        ignored: Names that do not count as contents.

    Raises:
        DataError: The folder has contents, and no such record.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; {WHAT_NEXT}")
    if not {path.name for path in folder.iterdir()} - set(ignored):
        return
    if not _is_record(folder / record, keys):
        real = os.path.realpath(folder)
        where = f"{folder} (a link to {real})" if folder.is_symlink() else str(folder)
        raise DataError(f"{where} was not made by dfer: it has files and no {record}; {WHAT_NEXT}")


def check_recorded_file(path: Path, keys: Iterable[str]) -> None:
    """Refuse to replace a JSON file that somebody else wrote.

    Args:
        path: Missing, or a record that dfer wrote.
        keys: Entries that a record of dfer's has.

    Raises:
        DataError: The file is there, and has no such entries.
    """
    if os.path.lexists(path) and not _is_record(path, keys):
        raise DataError(f"{path} is there already, and dfer did not write it; move it elsewhere")


def _is_record(path: Path, keys: Iterable[str]) -> bool:
    try:
        values = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and set(keys) <= values.keys()


def check_claim(
    paths: Iterable[Path], is_older: Callable[[Path], bool] = lambda path: False
) -> None:
    """Refuse to replace files that are in no mark.

    Args:
        paths: Files that dfer is about to write.
        is_older: Whether an earlier version of dfer, which left no mark, wrote a file.

    Raises:
        DataError: A file is there already, and dfer did not write it.
    """
    for folder, names in _group(paths).items():
        for name in sorted(names - _read_mark(folder)):
            path = folder / name
            if os.path.lexists(path) and not is_older(path):
                raise DataError(
                    f"{path} is there already, and dfer did not write it; move it elsewhere, or "
                    f"name another folder"
                )


def claim_files(paths: Iterable[Path]) -> None:
    """Enter files in the marks of their folders, which are made; see `check_claim`."""
    for folder, names in _group(paths).items():
        claimed = _read_mark(folder)
        if names <= claimed:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{MARK_FILE}.partial"
        partial.unlink(missing_ok=True)
        text = json.dumps({"written by dfer": sorted(names | claimed)}, indent=1)
        with naming(folder / MARK_FILE, partial):
            partial.write_text(text + "\n", encoding="utf-8")
            partial.replace(folder / MARK_FILE)


def _group(paths: Iterable[Path]) -> dict[Path, set[str]]:
    """Group files by their folder."""
    names: dict[Path, set[str]] = defaultdict(set)
    for path in paths:
        names[path.parent].add(path.name)
    return names


def _read_mark(folder: Path) -> set[str]:
    try:
        values = json.loads((folder / MARK_FILE).read_text(encoding="utf-8"))
        return {str(name) for name in values["written by dfer"]}
    except FileNotFoundError:
        return set()
    except NotADirectoryError as error:
        raise DataError(f"{folder} is no folder; name another") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"cannot read {folder / MARK_FILE}; remove it, and name a new folder"
        ) from (error)


def check_name(name: str, what: str) -> None:
    """Refuse a name that dfer could not safely give to a folder of its own.

    Args:
        name: May have folders in it, with `/` between them.
        what: Where it comes from, for the error.

    Raises:
        DataError: The name, or a part of it, is empty, `.` or `..`, begins with a dot, ends with a
            dot or a space, has a control character, a backslash or a drive, is reserved on Windows,
            or is too long.
    """
    parts = name.split("/")
    for part in parts:
        if fault := _find_fault(part):
            raise DataError(f"{what}: the name {name[:MAX_NAME]!r} {fault}; rename it")
    if len(parts) > 1 and re.fullmatch("[A-Za-z]:", parts[0]):
        raise DataError(f"{what}: the name {name!r} begins with a drive; rename it")
    if len(os.fsencode(name)) > MAX_PATH:
        raise DataError(
            f"{what}: the name {name[:40]!r}... is longer than {MAX_PATH} bytes; shorten it"
        )


def check_plain_name(name: str, what: str) -> None:
    """Refuse a name that is not safe, or that has folders in it.

    Raises:
        DataError: As in `check_name`, or the name has a slash.
    """
    if "/" in name:
        raise DataError(f"{what}: the name {name!r} has a slash in it; run folders are called so")
    check_name(name, what)


def has_controls(text: str) -> bool:
    """Return whether a text has characters that a terminal would obey."""
    return any(unicodedata.category(letter) == "Cc" for letter in text)


def _find_fault(part: str) -> str | None:
    """Return what is wrong with one part of a name."""
    if not part:
        return "is empty, or has an empty part"
    if part.startswith("."):
        return "has a part that begins with a dot"
    if part.endswith((".", " ")):
        return "has a part that ends with a dot or a space"
    if "\\" in part or has_controls(part):
        return "has a backslash or a control character"
    if RESERVED.fullmatch(part):
        return "is reserved on Windows"
    return "is too long" if len(os.fsencode(part)) > MAX_NAME else None
