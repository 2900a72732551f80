"""Find the videos and frames of a dataset below its root, however the archives were unpacked."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from dfercli.data.manifest import JOINT, join_folders
from dfercli.errors import DataError, describe_system_error
from dfercli.media.images import list_image_names
from dfercli.text import count_of, list_some

MAX_DEPTH = 8
"""Levels of folders that are searched (our choice; FERV39k nested twice needs 7)."""

ARCHIVES = (".zip", ".rar", ".7z", ".tar", ".gz", ".tgz", ".001")

NOTHING = r"(?!)"
"""A pattern that matches nothing."""

OWN_CROPS = r"faces-.+-\d+"
"""Folders that `dfer preprocess` writes, which are not part of a dataset."""


@dataclass(frozen=True)
class Tree:
    """Files and clip folders below a root, relative to it in POSIX form, the shallowest first.

    Attributes:
        root: The root.
        files: All files outside clip folders.
        clips: Folders that are named by a number; their contents are not listed.
    """

    root: Path
    files: tuple[str, ...]
    clips: tuple[str, ...]

    @property
    def packed(self) -> str:
        """The end of a message about missing files: archives that may contain them."""
        archives = [path for path in self.files if path.lower().endswith(ARCHIVES)]
        return f"; not unpacked yet: {list_some(archives, 'archive')}" if archives else ""


@dataclass(frozen=True)
class FoundClips:
    """Clips found on disk.

    Attributes:
        paths: Path below the root by clip key.
        holders: Folders that contain the clips, the shallowest first.
        copies: Number of further clips with the same keys.
        guessed: Whether no folder had a known name.
        others: Paths of the further clips by key, the shallowest first.
        joined: Number of clips that were joined from several folders.
        faults: Problems with clips that have several folders, one line each.
    """

    paths: dict[str, str]
    holders: tuple[str, ...]
    copies: int
    guessed: bool
    others: dict[str, list[str]] = field(default_factory=dict)
    joined: int = 0
    faults: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The folder that contains all clips."""
        return os.path.commonpath(self.holders) if self.holders else ""

    def __str__(self) -> str:
        if not self.paths:
            return "none"
        notes = [count_of(len(self.paths), "clip")]
        if self.joined:
            notes.append(f"{self.joined:,} of them joined from several folders")
        if self.copies:
            copies = "1 copy" if self.copies == 1 else f"{self.copies:,} copies"
            notes.append(f"{copies} elsewhere ignored")
        if self.guessed:
            notes.append("in a folder of unknown name")
        where = self.where or "."
        if where == "." and len(self.holders) > 1:
            where = f"{self.holders[0]} and {count_of(len(self.holders) - 1, 'more folder')}"
        return f"{where} ({', '.join(notes)})"


def scan_tree(root: Path, numbered: bool = True) -> Tree:
    """List files and clip folders below a root, without hidden ones, macOS extras and our crops.

    Args:
        root: The folder to list.
        numbered: Whether a folder that is named by a number is a clip.

    Raises:
        DataError: `root` is not a folder.
    """
    if not root.is_dir():
        raise DataError(f"folder {root} does not exist; set --root to the dataset's folder")
    files: list[str] = []
    clips: list[str] = []
    level = [""]
    for _ in range(MAX_DEPTH):
        next_level: list[str] = []
        for folder in level:
            for entry in _list_folder(root / folder):
                path = f"{folder}/{entry.name}" if folder else entry.name
                if not entry.is_dir():
                    if entry.is_file():  # reading a pipe might never end
                        files.append(path)
                elif numbered and entry.name.isdecimal():
                    clips.append(path)
                else:
                    next_level.append(path)
        level = next_level
    return Tree(root, tuple(files), tuple(clips))


def _list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """List a folder by name; one without read permission, such as `lost+found`, counts as empty."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        return []
    hidden = (".", "__MACOSX")
    return [
        entry
        for entry in entries
        if not entry.name.startswith(hidden) and not re.fullmatch(OWN_CROPS, entry.name)
    ]


def find_clips(
    paths: Iterable[str],
    find_key: Callable[[str], str | None],
    known: str | Sequence[str],
    excluded: str = NOTHING,
    guess: bool = True,
) -> FoundClips:
    """Find the clips of one kind of media among paths, the shallowest first.

    A clip belongs to the nearest folder above it that matches `known` (a pattern, or several in
    order of preference) or `excluded` (folders of other media). All folders that match the first
    successful pattern are used together. If no folder matches and `guess` is set, the unknown
    folder with the most clips is used. Of several copies of a clip, the first is used. `find_key`
    returns the key of a clip's path, or None if the path is not a clip.
    """
    clips = [  # with the folder that the key is relative to
        (key, "/".join(path.split("/")[: -1 - key.count("/")]), path)
        for path in paths
        if (key := find_key(path))
    ]
    selected: list[tuple[str, str, str]] = []
    for pattern in [known] if isinstance(known, str) else known:
        selected = selected or [c for c in clips if _depth(pattern, c[1]) > _depth(excluded, c[1])]
    guessed = guess and not selected
    if guessed:
        unknown = [clip for clip in clips if not _depth(excluded, clip[1])]
        fullest = Counter(_without_part(holder) for _, holder, _ in unknown).most_common(1)
        selected = [clip for clip in unknown if _without_part(clip[1]) == fullest[0][0]]
    first_paths: dict[str, str] = {}
    holders: dict[str, None] = {}
    others: dict[str, list[str]] = defaultdict(list)
    for key, holder, path in selected:
        if first_paths.setdefault(key, path) == path:
            holders[holder] = None
        else:
            others[key].append(path)
    copies = len(selected) - len(first_paths)
    return FoundClips(first_paths, tuple(holders), copies, guessed, dict(others))


def find_clip_number(path: str) -> str | None:
    """Return the key of a clip that is named by a number: five digits, as in DFEW and MAFW."""
    stem = PurePosixPath(path).stem
    return f"{int(stem):05d}" if stem.isdecimal() else None


def _without_part(holder: str) -> str:
    """Return the folder that a part belongs to, such as `a` for `a/part_1` and `a_part_1`."""
    return re.sub(r"[/ _-]*part[ _-]*\d+$", "", holder, flags=re.IGNORECASE)


def _depth(pattern: str, folder: str) -> int:
    """Return the depth of the last folder that a pattern matches; 0 without a match."""
    ends = [match.end() for match in re.finditer(pattern, folder, re.IGNORECASE)]
    return folder.count("/", 0, ends[-1]) + 1 if ends else 0


# Datasets that come as several archives may have the frames of one clip in two of them: unpacked
# side by side, each archive gives a folder with a part of the frames.

FrameKey = tuple[str, int, str]
"""The text before the last number of an image's name, the number, and the text after it."""


@dataclass(frozen=True)
class _Folder:
    """A folder of a clip, relative to the root, and its images by frame."""

    path: str
    images: dict[FrameKey, str]

    @property
    def styles(self) -> set[tuple[str, str]]:
        """The naming schemes of its images: their names without the numbers."""
        return {(before, after) for before, _, after in self.images}


def join_parts(root: Path, clips: FoundClips) -> FoundClips:
    """Return the same clips, each with all folders that contain frames of it.

    Folders are copies if their images have the same names and sizes in bytes, and parts if one has
    images that the other lacks. Folders with different naming schemes, or different images under
    one name, are versions, which are not mixed: the first one is used. If another version has
    frames that the first one lacks, that is a fault and the version with most frames is used.
    """
    paths, copies, joined = dict(clips.paths), 0, 0
    holders = dict.fromkeys(clips.holders)
    contradictions: dict[str, tuple[str, str]] = {}
    unreadable: list[str] = []
    for key, others in clips.others.items():
        try:
            folders = [_list_frames(root, path) for path in (clips.paths[key], *others)]
        except OSError as error:
            unreadable.append(f"cannot read {root / others[0]}: {describe_system_error(error)}")
            continue
        parts, contradicting = _choose_folders(root, folders)
        paths[key] = join_folders(parts)
        copies += len(folders) - len(parts)
        joined += len(parts) > 1
        for path in parts:
            holders[str(PurePosixPath(path).parents[key.count("/")])] = None
        if contradicting is not None:
            contradictions[key] = (parts[0], contradicting)
    faults = unreadable[:1]
    if contradictions:
        first, second = next(iter(contradictions.values()))
        names = list_some(list(contradictions), "clip")
        different = (
            f"several folders have different images of {names}, such as {first} and {second}; "
            f"remove the wrong ones"
        )
        faults = [different, *faults]
    return replace(
        clips,
        paths=paths,
        holders=tuple(holders),
        copies=copies,
        joined=joined,
        faults=tuple(faults),
    )


def keep_apart(root: Path, clips: FoundClips) -> FoundClips:
    """Return clips that will be cropped, which cannot be joined: each with its fullest folder.

    Further frames in another folder are a fault.
    """
    joined = join_parts(root, clips)
    parts = {key: path.split(JOINT) for key, path in joined.paths.items() if JOINT in path}
    if not parts:
        return joined
    first, second, *_ = next(iter(parts.values()))
    fault = (
        f"the frames of {list_some(list(parts), 'clip')} are in several folders, such as {first} "
        f"and {second}; move the frames of each clip into one folder to crop them"
    )
    paths = joined.paths | {key: folders[0] for key, folders in parts.items()}
    return replace(joined, paths=paths, joined=0, faults=(fault, *joined.faults))


def _choose_folders(root: Path, folders: list[_Folder]) -> tuple[list[str], str | None]:
    """Return the folders that make up a clip, and one that contradicts them or None."""
    non_empty = [folder for folder in folders if folder.images]
    if not non_empty:
        return [folders[0].path], None
    versions: list[list[_Folder]] = []
    for folder in non_empty:
        for version in versions:
            if all(_agree(root, folder, member) for member in version):
                version.append(folder)
                break
        else:
            versions.append([folder])
    first_frames = _frames_of(versions[0])
    best, contradicting = versions[0], None
    for version in versions[1:]:
        frames = _frames_of(version)
        same_style = version[0].styles & versions[0][0].styles
        if len(frames) > len(first_frames) or (same_style and frames - first_frames):
            contradicting = version[0].path
            if len(frames) > len(_frames_of(best)):
                best, contradicting = version, versions[0][0].path
    return [folder.path for folder in _drop_copies(best)], contradicting


def _frames_of(folders: list[_Folder]) -> set[FrameKey]:
    return set().union(*(folder.images for folder in folders))


def _drop_copies(folders: list[_Folder]) -> Iterator[_Folder]:
    """Yield the folders that add frames, the fullest first, of equals the shallowest."""
    seen: set[FrameKey] = set()
    for folder in sorted(folders, key=lambda folder: -len(folder.images)):
        if not folder.images.keys() <= seen:
            yield folder
            seen |= folder.images.keys()


def _agree(root: Path, first: _Folder, second: _Folder) -> bool:
    """Return whether two folders use one naming scheme, with equal images under equal names."""
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
    images: dict[FrameKey, str] = {}
    for name in list_image_names(root / path):
        stem = PurePosixPath(name).stem
        match = re.fullmatch(r"(.*?)(\d+)(\D*)", stem, re.DOTALL)
        images[(match[1], int(match[2]), match[3]) if match else (stem, -1, "")] = name
    return _Folder(path, images)
