"""Tell dfer's own files and folders, which it may replace or remove, from those of others.

A folder is dfer's only if it is not a link and contains nothing but files that dfer writes there. A
folder with many files also has a record that dfer wrote, such as a recipe. Files that dfer writes
into a folder of the user are listed in a mark file, `.dfer`, beside them.
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

from dfercli.errors import DataError, naming

MARK_FILE = ".dfer"
"""Lists the files that dfer wrote into a folder of the user."""

PARTIAL = r"(^|/)\.([^/]+)\.partial(?=/|$)"
"""Temporary names of `dfercli.files`, which remain if dfer is killed."""

JUNK = r"\.DS_Store|\._.*|Thumbs\.db|desktop\.ini|\.nfs.*"
"""Files that operating systems put into any folder."""

NEXT_STEP = "move it elsewhere, and run the same command again"

MAX_NAME = 255
"""Bytes that file systems allow in a file name. Source: NAME_MAX of Linux and macOS."""

MAX_PATH = 1000
"""Bytes of a name with the folders in it (our choice; macOS allows 1,024 for a whole path)."""

RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows reserves for devices, with any suffix."""


@dataclass(frozen=True)
class FolderKind:
    """A kind of folder that dfer makes.

    Attributes:
        title: What it is, for errors.
        contents: Pattern of all paths in it that dfer writes, in POSIX form.
        record: JSON file among them that says how the folder was made; empty if it has none.
        keys: Keys of the record.
    """

    title: str
    contents: str
    record: str = ""
    keys: tuple[str, ...] = ()

    def find_fault(self, folder: Path) -> str | None:
        """Return why dfer may not replace a folder; None if it may, or if there is no folder."""
        if folder.is_symlink():
            return f"{folder} is a link; remove it, or put what it points to in its place"
        if not folder.exists():
            return None
        if not folder.is_dir():
            return f"{folder} is a file where dfer puts {self.title}; {NEXT_STEP}"
        foreign = self._find_foreign(folder)
        if foreign is None and self.record and os.path.lexists(folder / self.record):
            foreign = None if _is_record(folder / self.record, self.keys) else self.record
        if foreign is None:
            return None
        return f"{folder} holds {foreign}, which dfer did not write; {NEXT_STEP}"

    def check(self, folder: Path) -> None:
        """Refuse to replace a folder that dfer did not make.

        Raises:
            DataError: `folder` is a link or a file, or contains something that dfer did not write.
        """
        if fault := self.find_fault(folder):
            raise DataError(fault)

    def remove(self, folder: Path) -> None:
        """Remove a folder that dfer made.

        Raises:
            DataError: As in `check`; nothing is removed then.
        """
        self.check(folder)
        if folder.exists():
            shutil.rmtree(folder)

    def drop(self, folder: Path) -> None:
        """Remove a folder if dfer made it and it can be removed; never raise."""
        if self.find_fault(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)

    def _find_foreign(self, folder: Path) -> str | None:
        """Return the path of a file in a folder that dfer did not write, or None."""
        for parent, folders, names in os.walk(folder):
            links = [name for name in folders if Path(parent, name).is_symlink()]
            for name in sorted([*links, *names]):
                path = Path(parent, name).relative_to(folder).as_posix()
                final = re.sub(PARTIAL, r"\1\2", path)
                if not (re.fullmatch(self.contents, final) or re.fullmatch(JUNK, name)):
                    return path
        return None


def check_recorded(folder: Path, record: str, keys: Iterable[str], ignored: Iterable[str]) -> None:
    """Refuse to write into a folder that dfer did not make; a link to one that it made is fine.

    The folder may be missing, empty except for `ignored` names, or have a `record` with the `keys`
    of dfer's.

    Raises:
        DataError: The folder has contents but no such record.
    """
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; {NEXT_STEP}")
    if not {path.name for path in folder.iterdir()} - set(ignored):
        return
    if not _is_record(folder / record, keys):
        target = f" (a link to {os.path.realpath(folder)})" if folder.is_symlink() else ""
        raise DataError(
            f"{folder}{target} was not made by dfer: it has files and no {record}; {NEXT_STEP}"
        )


def check_recorded_file(path: Path, keys: Iterable[str]) -> None:
    """Refuse to replace a JSON file that dfer did not write.

    Raises:
        DataError: The file exists and lacks one of the keys.
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
    """Refuse to replace files that no mark file lists.

    `is_older` tells files of earlier versions of dfer, which left no mark files.

    Raises:
        DataError: A file exists that dfer did not write.
    """
    for folder, names in _group_by_folder(paths).items():
        for name in sorted(names - _read_mark(folder)):
            path = folder / name
            if os.path.lexists(path) and not is_older(path):
                raise DataError(
                    f"{path} is there already, and dfer did not write it; move it elsewhere, or "
                    f"name another folder"
                )


def claim_files(paths: Iterable[Path]) -> None:
    """List files in the mark files of their folders, which are created; see `check_claim`."""
    for folder, names in _group_by_folder(paths).items():
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


def _group_by_folder(paths: Iterable[Path]) -> dict[Path, set[str]]:
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
        ) from error


def check_name(name: str, what: str) -> None:
    """Refuse a name that is not safe for a folder.

    Raises:
        DataError: The name or a part of it is empty, begins with a dot, ends with a dot or a space,
            has a control character, a backslash or a drive, is reserved on Windows, or is too long.
    """
    parts = name.split("/")
    for part in parts:
        if fault := _find_name_fault(part):
            raise DataError(f"{what}: the name {name[:MAX_NAME]!r} {fault}; rename it")
    if len(parts) > 1 and re.fullmatch("[A-Za-z]:", parts[0]):
        raise DataError(f"{what}: the name {name!r} begins with a drive; rename it")
    if len(os.fsencode(name)) > MAX_PATH:
        raise DataError(
            f"{what}: the name {name[:40]!r}... is longer than {MAX_PATH} bytes; shorten it"
        )


def check_plain_name(name: str, what: str) -> None:
    """Refuse a name that is not safe or contains folders.

    Raises:
        DataError: As in `check_name`, or the name has a slash.
    """
    if "/" in name:
        raise DataError(
            f"{what}: the name {name!r} has a slash in it, and run folders are named after it; "
            "rename it"
        )
    check_name(name, what)


def has_controls(text: str) -> bool:
    """Return whether a text has characters that control a terminal."""
    return any(unicodedata.category(letter) == "Cc" for letter in text)


def _find_name_fault(part: str) -> str | None:
    """Return what is wrong with one part of a name, or None."""
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
