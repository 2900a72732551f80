"""Atomic writes: files and folders are written under a temporary name and then renamed."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dfercli.errors import DataError, naming
from dfercli.owned import FolderKind

SCRATCH_LOCK = ".dfer-lock"
"""Lock file in a scratch folder, held by the process that uses it."""

BLOCK = 1 << 20
"""Bytes that are hashed at a time, so that memory does not grow with the file (our choice)."""

LONG_NAME = 200
"""Bytes above which a temporary name does not contain the file's name (our choice)."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces a file when the block succeeds.

    The old file is lost only once the new one is complete; after an error it is unchanged. A link
    is replaced, never its target.

    Raises:
        DataError: A folder is in the way.
    """
    if path.is_dir():
        raise DataError(f"cannot write {path}: a folder is there; move it, or name another file")
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
    """Refuse a link or a file at the path of a folder.

    Raises:
        DataError: There is one.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        kind.check(folder)


@contextmanager
def locking(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file, which is empty, during the block.

    Args:
        path: The file.
        wait_s: How long to wait for another process that holds it; a negative value waits forever.

    Raises:
        filelock.Timeout: Another process holds it.
        DataError: The path is a link or a file with content, which locking would erase.
    """
    if path.is_symlink() or (path.exists() and (not path.is_file() or path.stat().st_size)):
        raise DataError(f"{path} is no lock file of dfer's; move it elsewhere")
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
    """Return the SHA-256 of a file's content, in hex digits; a prefix is hashed before it.

    Raises:
        OSError: The file cannot be read.
    """
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
