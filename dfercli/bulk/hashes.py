"""What tells one video or checkpoint from another: hashes of their content."""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from dfercli.files import hash_file
from dfercli.images import list_frames

CHECKPOINT_FILES = ("config.json", "model.safetensors")


def hash_content(path: Path) -> str:
    """Give the SHA-256 of a file; of a folder of frames, over its images' names and contents.

    Raises:
        OSError: A file cannot be read.
        DataError: The folder has no images.
    """
    return _hash_files(list_frames(path)) if path.is_dir() else hash_file(path)


def identify(path: Path) -> tuple[tuple[int, ...], ...]:
    """Return what changes when a file, or a folder or anything in it, is replaced or written to.

    Raises:
        OSError: It is gone.
    """
    paths = [path, *sorted(path.iterdir())] if path.is_dir() else [path]
    states = [each.stat() for each in paths]
    return tuple((s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for s in states)


def hash_checkpoint(where: str | None) -> str | None:
    """Give the SHA-256 over names and contents of a checkpoint's files; None where there are none.

    Args:
        where: Its folder, a run's folder, or a model's name on the Hub that was loaded before;
            None of a model without one.
    """
    if where is None:
        return None
    folder = next((p for p in (Path(where, "best"), Path(where)) if p.is_dir()), None)
    names = [(folder / name) if folder else _find_cached(where, name) for name in CHECKPOINT_FILES]
    paths = [path for path in names if path is not None and path.is_file()]
    return _hash_files(paths) if len(paths) == len(CHECKPOINT_FILES) else None


def _find_cached(model: str, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(model, name)
    except ValueError:  # no name of a model
        return None
    return Path(found) if isinstance(found, str) else None


def _hash_files(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(path.name) + b"\0" + bytes.fromhex(hash_file(path)))
    return digest.hexdigest()
