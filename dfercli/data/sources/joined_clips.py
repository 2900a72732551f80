"""Clips found in several folders, which are copies of each other or hold different frames.

Sets that are handed out as several archives may have the frames of one clip in two of them.
Unpacked side by side, each archive gives a folder with a part of the frames.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from dfercli.data.manifest import JOINT, join_folders
from dfercli.data.sources.find_media import Found
from dfercli.data.sources.official_lists import name_clips
from dfercli.media.images import list_image_names
from dfercli.system_errors import describe_system_error

FrameKey = tuple[str, int, str]
"""What is before the last number of an image's name, the number, and what follows it."""


@dataclass(frozen=True)
class _Folder:
    """A folder of a clip, relative to the root, and its images by what they are the frames of."""

    path: str
    images: dict[FrameKey, str]

    @property
    def styles(self) -> set[tuple[str, str]]:
        """How images are named, apart from their numbers."""
        return {(before, after) for before, _, after in self.images}


@dataclass(frozen=True)
class _Clip:
    """The folders that make up a clip, how many folders repeat it, and one that contradicts."""

    folders: list[str]
    copies: int
    contradicting: str | None = None


def join_parts(root: Path, found: Found) -> Found:
    """Return the same clips, each with all folders that hold frames of it.

    Folders are copies where they hold images of the same names and sizes in bytes, and parts where
    one has images that the other lacks. Folders that name their images differently, or hold
    different images under one name, are versions of the clip; they are not mixed. The first version
    is taken unless another has frames that it lacks; that is a fault, and the fullest one is taken.

    Args:
        root: Folder that the paths are relative to.
        found: Clips that are folders of images.
    """
    paths, copies, joined = dict(found.paths), 0, 0
    holders = dict.fromkeys(found.holders)
    contradictions: dict[str, tuple[str, str]] = {}
    unreadable: list[str] = []
    for key, others in found.others.items():
        try:
            folders = [_list_frames(root, path) for path in (found.paths[key], *others)]
        except OSError as error:
            unreadable.append(f"cannot read {root / others[0]}: {describe_system_error(error)}")
            continue
        clip = _choose_folders(root, folders)
        paths[key] = join_folders(clip.folders)
        copies += clip.copies
        joined += len(clip.folders) > 1
        for path in clip.folders:
            holders[str(PurePosixPath(path).parents[key.count("/")])] = None
        if clip.contradicting is not None:
            contradictions[key] = (clip.folders[0], clip.contradicting)
    faults = (*_describe_contradictions(contradictions), *unreadable[:1])
    return replace(
        found, paths=paths, holders=tuple(holders), copies=copies, joined=joined, faults=faults
    )


def keep_apart(root: Path, found: Found) -> Found:
    """Return clips that are to be cropped, which cannot be joined: each with its fullest folder.

    That another one has further frames is a fault.

    Args:
        root: Folder that the paths are relative to.
        found: Clips that are folders of images.
    """
    joined = join_parts(root, found)
    parts = {key: path.split(JOINT) for key, path in joined.paths.items() if JOINT in path}
    if not parts:
        return joined
    first, second, *_ = next(iter(parts.values()))
    fault = (
        f"the frames of {name_clips(list(parts))} lie in several folders, such as {first} and "
        f"{second}; put those of one clip in one folder to crop them"
    )
    paths = joined.paths | {key: folders[0] for key, folders in parts.items()}
    return replace(joined, paths=paths, joined=0, faults=(fault, *joined.faults))


def _choose_folders(root: Path, folders: list[_Folder]) -> _Clip:
    """Decide which of several folders a clip is made of."""
    filled = [folder for folder in folders if folder.images]
    if not filled:
        return _Clip([folders[0].path], len(folders) - 1)
    versions: list[list[_Folder]] = []
    for folder in filled:
        for version in versions:
            if all(_agree(root, folder, member) for member in version):
                version.append(folder)
                break
        else:
            versions.append([folder])
    first = set().union(*(folder.images for folder in versions[0]))
    best, contradicting = versions[0], None
    for version in versions[1:]:
        frames = set().union(*(folder.images for folder in version))
        same_style = version[0].styles & versions[0][0].styles
        if len(frames) > len(first) or (same_style and frames - first):
            contradicting = version[0].path
            if len(frames) > len(set().union(*(folder.images for folder in best))):
                best, contradicting = version, versions[0][0].path
    needed = list(_drop_copies(best))
    return _Clip([folder.path for folder in needed], len(folders) - len(needed), contradicting)


def _drop_copies(folders: list[_Folder]) -> Iterator[_Folder]:
    """Yield the folders that add frames, the fullest first, of equals the shallowest."""
    seen: set[FrameKey] = set()
    for folder in sorted(folders, key=lambda folder: -len(folder.images)):
        if not folder.images.keys() <= seen:
            yield folder
            seen |= folder.images.keys()


def _agree(root: Path, first: _Folder, second: _Folder) -> bool:
    """Return whether two folders name images alike and hold the same ones where names are equal."""
    if first.styles != second.styles:
        return False
    return all(
        first.images[key] == second.images[key]
        and _size(root, first, key) == _size(root, second, key)
        for key in first.images.keys() & second.images.keys()
    )


def _size(root: Path, folder: _Folder, key: FrameKey) -> int | None:
    try:
        return (root / folder.path / folder.images[key]).stat().st_size
    except OSError:  # reported later, as a fault of this clip
        return None


def _list_frames(root: Path, path: str) -> _Folder:
    return _Folder(path, {_frame_key(name): name for name in list_image_names(root / path)})


def _frame_key(name: str) -> FrameKey:
    stem = PurePosixPath(name).stem
    match = re.fullmatch(r"(.*?)(\d+)(\D*)", stem, re.DOTALL)
    return (match[1], int(match[2]), match[3]) if match else (stem, -1, "")


def _describe_contradictions(clips: dict[str, tuple[str, str]]) -> list[str]:
    if not clips:
        return []
    first, second = next(iter(clips.values()))
    return [
        f"several folders hold different images of {name_clips(list(clips))}, such as {first} and "
        f"{second}; keep the right ones below the root"
    ]
