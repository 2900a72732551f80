"""Atomic writes, and which files and folders dfer may replace or remove.

Files and folders are written under a temporary name and then renamed. A folder is dfer's only if it
is not a link and contains nothing but files that dfer writes there. A folder with many files also
has a record that dfer wrote, such as a recipe. Files that dfer writes into a folder of the user are
listed in a mark file, `.dfer`, beside them.
"""

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dfercli.errors import DataError, naming

SCRATCH_LOCK = ".dfer-lock"
"""Lock file in a scratch folder, held by the process that uses it."""

BLOCK = 1 << 20
"""Bytes that are hashed at a time, so that memory does not grow with the file (our choice)."""

LONG_NAME = 200
"""Bytes above which a temporary name does not contain the file's name (our choice)."""

MARK_FILE = ".dfer"
"""Lists the files that dfer wrote into a folder of the user."""

PARTIAL = r"(^|/)\.([^/]+)\.partial(?=/|$)"
"""Temporary names, which remain if dfer is killed."""

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
            return f"{folder} is a symbolic link; replace it by its target, or remove it"
        if not folder.exists():
            return None
        if not folder.is_dir():
            return f"{folder} is a file, but dfer writes {self.title} there; {NEXT_STEP}"
        foreign = self._find_foreign(folder)
        if foreign is None and self.record and os.path.lexists(folder / self.record):
            foreign = None if _is_record(folder / self.record, self.keys) else self.record
        if foreign is None:
            return None
        return f"{folder} holds {foreign}, which dfer did not write; {NEXT_STEP}"

    def check(self, folder: Path) -> None:
        """Raise a DataError if `find_fault` finds one."""
        if fault := self.find_fault(folder):
            raise DataError(fault)

    def remove(self, folder: Path) -> None:
        """Remove a folder that dfer made; raise a DataError as in `check`."""
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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces a file when the block succeeds.

    The old file is lost only once the new one is complete; after an error it is unchanged. A link
    is replaced, never its target.

    Raises:
        DataError: A folder is in the way.
    """
    if path.is_dir():
        raise DataError(f"cannot write {path}: it is a folder; move it, or choose another name")
    _make_parents(path)
    partial = path.with_name(f".{_temporary_name(path.name)}.partial")
    if partial.is_dir() and not partial.is_symlink():
        raise DataError(f"cannot write {path}: the folder {partial} is in the way; move it")
    partial.unlink(missing_ok=True)
    try:
        with naming(path, partial):
            yield partial
            _flush(partial)
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path, kind: FolderKind) -> Iterator[Path]:
    """Yield a temporary path that replaces a folder when the block succeeds.

    The old folder is lost only once the new one is complete.

    Raises:
        DataError: The folder was not made by dfer; nothing is written then.
    """
    partial = folder.with_name(f".{_temporary_name(folder.name)}.partial")
    kind.check(folder)
    kind.remove(partial)
    _make_parents(folder)
    try:
        with naming(folder, partial):
            yield partial
            kind.remove(folder)
            partial.rename(folder)
    finally:
        kind.drop(partial)


@contextmanager
def replacing_files(folder: Path, kind: FolderKind) -> Iterator[Path]:
    """Yield a temporary folder whose files move into `folder` when the block succeeds.

    Unlike with `replacing_folder`, `folder` always exists: its files are replaced one at a time,
    and only a new folder appears as a whole. Other files in it stay.

    Raises:
        DataError: A link or a file is in the way.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    check_place(folder, kind)
    kind.remove(partial)
    _make_parents(folder)
    try:
        with naming(folder, partial):
            yield partial
            for path in partial.iterdir():
                _flush(path)
            move_files(partial, folder, kind)
    finally:
        kind.drop(partial)


def move_files(source: Path, folder: Path, kind: FolderKind) -> None:
    """Move the files of a folder into another, or the whole folder if the other does not exist.

    Raises:
        DataError: A link or a file is in the way.
    """
    check_place(folder, kind)
    if not folder.is_dir():
        try:
            source.rename(folder)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            folder.mkdir()
        else:
            return
    for path in sorted(source.iterdir()):
        move_file(path, folder / path.name)


def move_file(source: Path, target: Path) -> None:
    """Move a file, also to another disk; an existing target is replaced atomically."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(target) as partial:
            shutil.copyfile(source, partial)
        source.unlink()


def check_place(folder: Path, kind: FolderKind) -> None:
    """Raise a DataError if there is a link or a file at the path of a folder."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        kind.check(folder)


@contextmanager
def locking(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Return a context that holds a lock, an empty file.

    Wait up to `wait_s` for another process that holds it; a negative value waits forever.

    Raises:
        filelock.Timeout: Another process holds it.
        DataError: The path is a link or a file with content, which locking would erase.
    """
    if path.is_symlink() or (path.exists() and (not path.is_file() or path.stat().st_size)):
        raise DataError(f"{path} is not a lock file of dfer; move it elsewhere")
    with FileLock(path, timeout=wait_s):
        yield


@contextmanager
def scratch_folder(prefix: str, parent: Path | None) -> Iterator[Path]:
    """Yield a private temporary folder and remove it after the block.

    Folders left by killed processes, whose locks nobody holds any more, are removed too.
    """
    location = Path(tempfile.gettempdir()) if parent is None else parent
    for lock in location.glob(f"{prefix}*/{SCRATCH_LOCK}"):
        with suppress(OSError, Timeout, DataError):
            if not lock.parent.is_symlink() and os.access(lock.parent, os.W_OK):
                with locking(lock):
                    shutil.rmtree(lock.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=location))
    try:
        with locking(folder / SCRATCH_LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8 with POSIX line ends."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: Any) -> None:
    """Write readable JSON atomically."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def hash_file(path: Path, prefix: bytes = b"") -> str:
    """Return the SHA-256 of a prefix and a file's content, in hex digits."""
    digest = hashlib.sha256(prefix)
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def _make_parents(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f"{path.parent}: a file or a link is in the way; move it") from error


def _temporary_name(name: str) -> str:
    """Return a name that leaves room for a suffix: file systems allow 255 bytes."""
    encoded = os.fsencode(name)
    return name if len(encoded) <= LONG_NAME else hashlib.sha256(encoded).hexdigest()


def _flush(path: Path) -> None:
    """Wait until the content is on the disk, so that it gets there before the name."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


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
        raise DataError(f"{folder} is not a folder; {NEXT_STEP}")
    if not {path.name for path in folder.iterdir()} - set(ignored):
        return
    if not _is_record(folder / record, keys):
        target = f" (a link to {os.path.realpath(folder)})" if folder.is_symlink() else ""
        raise DataError(
            f"{folder}{target} was not made by dfer: it has files but no {record}; {NEXT_STEP}"
        )


def check_recorded_file(path: Path, keys: Iterable[str]) -> None:
    """Raise a DataError if a JSON file exists and lacks one of the keys that dfer writes."""
    if os.path.lexists(path) and not _is_record(path, keys):
        raise DataError(f"{path} already exists, and dfer did not write it; move it elsewhere")


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
                    f"{path} already exists, and dfer did not write it; move it elsewhere, or "
                    f"choose another folder"
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
        raise DataError(f"{folder} is not a folder; choose another") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"cannot read {folder / MARK_FILE}; remove it, and choose a new folder"
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
    """Raise a DataError if a name is not safe, as in `check_name`, or contains a slash."""
    if "/" in name:
        raise DataError(
            f"{what}: the name {name!r} contains a slash, but run folders are named after it; "
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
