"""Writing that never leaves half a file: under a temporary name first, then renamed."""

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

from dfercli.errors import DataError
from dfercli.owned import FolderKind
from dfercli.system_errors import naming

SCRATCH_LOCK = ".dfer-lock"
"""File in a folder that goes with its process, which holds it."""

BLOCK = 1 << 20
"""Bytes that are hashed at a time, so that memory does not grow with a file (our choice)."""

LONG_NAME = 200
"""Bytes from which a temporary name does not repeat the name (our choice)."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside a file that takes its place when the block ends well.

    What stood at `path` before is lost only once the new file is whole; after an error it is
    untouched. A link is replaced, never what it points to.

    Raises:
        DataError: A folder is in the way.
    """
    if path.is_dir():
        raise DataError(f"cannot write {path}: a folder is there; move it, or name another file")
    _make_parents(path)
    partial = path.with_name(f".{_shorten(path.name)}.partial")
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
    """Give a temporary path for a folder that takes the old one's place when the block ends well.

    Args:
        folder: What stands there is lost only once the new folder is whole.
        kind: What dfer writes into such a folder: one that holds anything else is not replaced.

    Raises:
        DataError: The folder that is there was not made by dfer; nothing was written then.
    """
    partial = folder.with_name(f".{_shorten(folder.name)}.partial")
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
    """Give a temporary path for a folder whose files take their places when the block ends well.

    Unlike `replacing_folder`, there is no moment without `folder` once it is there: its files are
    replaced one at a time. A new folder comes into being whole. Either way the bytes are on the
    disk before the names are.

    Args:
        folder: What else somebody keeps in it stays.
        kind: What dfer writes into such a folder.

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
    """Move the files of a folder into another, or the folder itself where there is no other.

    Args:
        source: Has no folder in it.
        folder: Files of the same names are replaced one at a time; all others stay.
        kind: What dfer writes into such a folder.

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
    """Give a file another name, also on another disk; what stood there is replaced at once."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with replacing(target) as partial:
            shutil.copyfile(source, partial)
        source.unlink()


def check_place(folder: Path, kind: FolderKind) -> None:
    """Refuse a link or a file where a folder is to be.

    Raises:
        DataError: There is one.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        kind.check(folder)


@contextmanager
def locking(path: Path, wait_s: float = 0.0) -> Iterator[None]:
    """Hold a lock file, which is empty, for as long as the block runs.

    Args:
        path: The file.
        wait_s: How long to wait for another process that holds it; negative waits until it ends.

    Raises:
        filelock.Timeout: Another process holds it.
        DataError: The file is a link, or somebody's own: it would be emptied.
    """
    if path.is_symlink() or (path.exists() and (not path.is_file() or path.stat().st_size)):
        raise DataError(f"{path} is no lock file of dfer's; move it elsewhere")
    with FileLock(path, timeout=wait_s):
        yield


@contextmanager
def scratch_folder(prefix: str, parent: Path | None) -> Iterator[Path]:
    """Give a folder for its owner alone that goes when the block ends.

    Those that a killed process has left beside it go too: nobody holds their locks any more.

    Args:
        prefix: How its name begins.
        parent: Where it lies; None for the system's own folder.
    """
    where = Path(tempfile.gettempdir()) if parent is None else parent
    for left in where.glob(f"{prefix}*/{SCRATCH_LOCK}"):
        with suppress(OSError, Timeout, DataError):
            if not left.parent.is_symlink() and os.access(left.parent, os.W_OK):
                with locking(left):
                    shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=where))
    try:
        with locking(folder / SCRATCH_LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make_parents(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise DataError(f"{path.parent}: a file or a link is in the way; move it") from error


def _shorten(name: str) -> str:
    """Give a name that leaves room for more letters: file systems take 255 bytes."""
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()
    return name if len(os.fsencode(name)) <= LONG_NAME else digest


def write_text(path: Path, text: str) -> None:
    """Write a text file as a whole, in UTF-8 with POSIX line ends."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: Any) -> None:
    """Write readable JSON as a whole."""
    write_text(path, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hex digits.

    Raises:
        OSError: It cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, in hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def _flush(path: Path) -> None:
    """Make sure that the bytes are on the disk before the name is."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
