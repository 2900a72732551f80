"""SHA-256 of videos and checkpoints, to recognise them in a later call."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from dfercli.files import hash_file
from dfercli.media.images import list_frames
from dfercli.models.settings import BUILT_IN, BUILT_IN_FOLDER

CHECKPOINT_FILES = ("config.json", "model.safetensors")


def hash_content(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of a folder's frames.

    Raises:
        OSError: A file cannot be read.
        DataError: The folder has no images.
    """
    return _hash_files(list_frames(path)) if path.is_dir() else hash_file(path)


def identify(path: Path) -> tuple[tuple[int, ...], ...]:
    """Return a value that changes if a file, or a file in a folder, is replaced or written to.

    Raises:
        OSError: The path does not exist.
    """
    paths = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
    states = [entry.stat() for entry in paths]
    return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for s in states)


def hash_checkpoint(where: str | None) -> str | None:
    """Return the SHA-256 of the names and contents of a checkpoint's files; None without files.

    `where` is the folder of a checkpoint or run, or the name of a cached model of the Hub.
    """
    if where is None:
        return None
    own = BUILT_IN_FOLDER if where == BUILT_IN else Path(where)
    folder = next((p for p in (own / "best", own) if p.is_dir()), None)
    files = [(folder / name) if folder else _find_cached(where, name) for name in CHECKPOINT_FILES]
    paths = [path for path in files if path is not None and path.is_file()]
    return _hash_files(paths) if len(paths) == len(CHECKPOINT_FILES) else None


def _find_cached(model: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        path = try_to_load_from_cache(model, name)
    except ValueError:  # not the name of a model
        return None
    return Path(path) if isinstance(path, str) else None


def _hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(path.name) + b"\0" + bytes.fromhex(hash_file(path)))
    return digest.hexdigest()
