"""The folders of a clip: usually one, or several where its frames came in separate downloads.

A manifest has one path per clip. Where the frames lie in several folders, it holds all of them,
joined by `//`: no path of a file or folder has this in it, whatever the folders are called.
"""

from collections.abc import Iterable
from pathlib import Path

JOINT = "//"


def join_folders(folders: Iterable[str]) -> str:
    """Return the path of a clip whose frames lie in these folders, relative to the data root."""
    return JOINT.join(folders)


def clip_folders(root: Path, path: str) -> list[Path]:
    """Return the folders of a clip, by its path in the manifest."""
    return [root / folder for folder in path.split(JOINT)]
