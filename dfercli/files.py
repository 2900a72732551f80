"""Writing that never leaves half a file: under a temporary name first, then renamed."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONG_NAME = 200
"""Bytes from which a temporary name does not repeat the name (our choice)."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place when the block ends well.

    The block may make a file or a folder there. What stood at `path` before is lost only once the
    new one is whole; after an error it is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{_shorten(path.name)}.partial")
    _remove(partial)
    try:
        yield partial
        if partial.is_dir():
            _remove(path)
        else:
            _flush(partial)
        partial.replace(path)
    finally:
        _remove(partial)


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """Give a temporary path for a folder whose files take their places when the block ends well.

    Unlike `replacing`, there is no moment without `folder` once it is there: a file at a time is
    replaced. A new folder comes into being whole. Either way the bytes are on the disk before.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    _remove(partial)
    try:
        yield partial
        names = {path.name for path in partial.iterdir()}
        for name in names:
            _flush(partial / name)
        if not folder.is_dir():
            partial.rename(folder)
            return
        for name in names:
            (partial / name).replace(folder / name)
        for path in folder.iterdir():
            if path.name not in names:
                _remove(path)
    finally:
        _remove(partial)


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


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Make sure that the bytes are on the disk before the name is."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
