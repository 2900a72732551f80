"""Datasets of acted clips whose file names tell person and expression, in any state of unpacking.

Their folds keep people apart and are defined by the numbers of the actors, so that there are no
lists to read: the clips on disk are compared with the published counts.
"""

import shutil
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import ClassVar

from dfercli.data.sources.base import Listing, Source
from dfercli.data.sources.find_media import Tree
from dfercli.data.sources.official_lists import OfficialFrames
from dfercli.errors import DataError, explain_system_error
from dfercli.files import replacing
from dfercli.text import count_of

VIDEOS = (".mp4", ".flv", ".avi", ".mov", ".mkv", ".webm")

LFS_STUB = b"version https://git-lfs"
"""Start of the text that Git leaves in place of a file of Git LFS that was not fetched."""

LFS_STUB_BYTES = 1024
"""Largest size of such a text."""


@dataclass(frozen=True)
class NamedClip:
    """What the name of a clip tells.

    Attributes:
        clip_id: The same for copies and recordings of one take.
        class_name: Its expression.
        person: Number of the actor.
        rank: Of several files with one `clip_id`, that with the lowest rank is used.
        traits: Properties of the person, such as `sex`.
    """

    clip_id: str
    class_name: str
    person: int
    rank: int = 0
    traits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class NamedDataset:
    """What is published about a dataset whose file names tell everything.

    Attributes:
        name: The dataset's name in messages.
        class_names: The K classes in the order of tables and logits.
        folds: The persons that each fold tests.
        fold_sizes: Test clips of each fold; several numbers if several are published.
        class_sizes: Clips of each class; empty if they follow from no publication.
        example: A file's usual path, for messages.
        notes: What a reader of scores should know; printed below tables of results.
    """

    name: str
    class_names: tuple[str, ...]
    folds: tuple[range, ...]
    fold_sizes: tuple[tuple[int, ...], ...]
    class_sizes: tuple[tuple[int, ...], ...] = ()
    example: str = ""
    notes: tuple[str, ...] = ()

    frames: ClassVar[Mapping[str, OfficialFrames]] = {}

    @property
    def num_clips(self) -> int:
        """Number of clips in the dataset: the largest that is published."""
        return sum(max(sizes) for sizes in self.fold_sizes)

    def find_fold(self, person: int) -> int | None:
        """Return the fold that tests a person; None for an unknown person."""
        return next((k for k, people in enumerate(self.folds, start=1) if person in people), None)

    def compare(self, clips: Mapping[str, tuple[str, int]]) -> list[str]:
        """Describe differences from the published counts, one line each.

        Args:
            clips: Class and test fold by clip id.
        """
        by_fold = Counter(fold for _, fold in clips.values())
        by_class = Counter(class_name for class_name, _ in clips.values())
        folds = [(f"fold {k}", by_fold[k], sizes) for k, sizes in enumerate(self.fold_sizes, 1)]
        sizes = zip(self.class_names, self.class_sizes, strict=bool(self.class_sizes))
        classes = [(f"class {name}", by_class[name], size) for name, size in sizes]
        return [
            f"{what} has {count_of(count, 'clip')}, officially {' or '.join(map(str, sizes))}"
            for what, count, sizes in (*folds, *classes)
            if count not in sizes
        ]


@dataclass(frozen=True)
class _File:
    """A video on disk, or in an archive from which it will be unpacked to `path`."""

    path: str
    archive: str | None = None
    member: str = ""


def read_named(
    tree: Tree,
    dataset: NamedDataset,
    parse: Callable[[str], NamedClip | None],
    left_out: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
) -> Listing:
    """Find a dataset's clips by their names, in folders and in zip archives below the root.

    Args:
        tree: Files below the root.
        dataset: What is published.
        parse: Returns what a file's path tells; None if it is not a clip of the dataset.
        left_out: Clips that are not used, by clip id, with the reason.
        remarks: See `Listing`.

    Raises:
        DataError: There are no clips, or files are stubs of Git LFS.
    """
    files: dict[str, tuple[NamedClip, _File]] = {}
    copies = 0
    for file in _list_videos(tree):
        clip = parse(file.path)
        if clip is None or dataset.find_fold(clip.person) is None:
            continue
        known = files.get(clip.clip_id)
        copies += known is not None
        if known is None or _order(clip, file) < _order(*known):
            files[clip.clip_id] = (clip, file)
    if not files:
        raise DataError(
            f"no videos of {dataset.name} below {tree.root}; their usual path is {dataset.example}"
        )
    _refuse_stubs(tree.root, [file for _, file in files.values()])
    left_out = {clip: why for clip, why in (left_out or {}).items() if clip in files}
    kept = {clip_id: files[clip_id] for clip_id in sorted(files) if clip_id not in left_out}
    sources = tuple(
        Source(
            clip.clip_id,
            file.path,
            clip.class_name,
            dataset.find_fold(clip.person) or 0,
            str(clip.person),
            dict(clip.traits),
        )
        for clip, file in kept.values()
    )
    packed = {file.path: (file.archive, file.member) for _, file in kept.values() if file.archive}
    folders = sorted({str(PurePosixPath(file.path).parent) for _, file in kept.values()})
    where = f"{folders[0]}" + (f" and {len(folders) - 1} more" if len(folders) > 1 else "")
    notes = [count_of(len(sources), "clip")]
    notes += [f"{len(packed):,} of them in archives, to be unpacked"] if packed else []
    notes += [f"{copies:,} copies or other recordings of these ignored"] if copies else []
    taken = [f"videos: {where} ({', '.join(notes)})"]
    taken += [f"left out: {clip_id}: {why}" for clip_id, why in left_out.items()]
    folds = {s.clip_id: (s.class_name, s.test_fold) for s in sources}
    return Listing(
        sources,
        dataset.class_names,
        "videos",
        "videos",
        tuple(taken),
        deviations=tuple(dataset.compare(folds)),
        remarks=tuple(remarks),
        packed=packed,
    )


def _order(clip: NamedClip, file: _File) -> tuple[int, bool]:
    """Return the preference of a file: its rank, then files on disk before packed ones."""
    return clip.rank, file.archive is not None


def _list_videos(tree: Tree) -> Iterator[_File]:
    """Yield the videos on disk, the shallowest first, and then those in zip archives.

    Videos that were unpacked from an archive by an earlier call are not yielded twice.
    """
    on_disk = [path for path in tree.files if path.lower().endswith(VIDEOS)]
    yield from map(_File, on_disk)
    unpacked = set(on_disk)
    for path in tree.files:
        if path.lower().endswith(".zip"):
            for member in _list_members(tree.root / path):
                target = f"{path[: -len('.zip')]}/{_plain(member)}"
                is_video = member.lower().endswith(VIDEOS) and not member.startswith("__MACOSX")
                if is_video and target not in unpacked:
                    yield _File(target, path, member)


def read_text(tree: Tree, name: str) -> tuple[str, str] | None:
    """Return where a text file is and its content, from disk or a zip archive; None without it.

    Raises:
        DataError: An archive is damaged, or the file cannot be read.
    """
    for path in tree.files:
        if PurePosixPath(path).name.lower() == name.lower():
            try:
                return path, (tree.root / path).read_text(encoding="utf-8-sig")
            except OSError as error:
                raise DataError(
                    f"cannot read {tree.root / path}: {explain_system_error(error)}"
                ) from error
    for path in tree.files:
        if path.lower().endswith(".zip"):
            for member in _list_members(tree.root / path):
                if PurePosixPath(member).name.lower() == name.lower():
                    with zipfile.ZipFile(tree.root / path) as opened:
                        return f"{path}/{_plain(member)}", opened.read(member).decode("utf-8-sig")
    return None


def _plain(member: str) -> str:
    """Return the path of an archive's member without what could leave the folder."""
    return "/".join(part for part in PurePosixPath(member).parts if part not in ("/", "..", "."))


def _list_members(archive: Path) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as opened:
            return [entry.filename for entry in opened.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise DataError(f"cannot read {archive}: {error}; download it again") from error
    except OSError as error:
        raise DataError(f"cannot read {archive}: {explain_system_error(error)}") from error


def _refuse_stubs(root: Path, files: Sequence[_File]) -> None:
    """Refuse videos that Git LFS has not fetched yet.

    Raises:
        DataError: A file is a stub.
    """
    by_archive: dict[str | None, list[_File]] = defaultdict(list)
    for file in files:
        by_archive[file.archive].append(file)
    stubs = [file.path for file in by_archive.pop(None, []) if _is_stub(root / file.path)]
    for archive, members in by_archive.items():
        with zipfile.ZipFile(root / str(archive)) as opened:
            stubs += [
                file.path
                for file in members
                if opened.getinfo(file.member).file_size < LFS_STUB_BYTES
                and opened.read(file.member).startswith(LFS_STUB)
            ]
    if stubs:
        raise DataError(
            f"{root / stubs[0]} is a stub of Git LFS, not a video ({len(stubs):,} of "
            f"{len(files):,} are); clone the repository with Git LFS installed and run `git lfs "
            f"pull` in it (a zip download has only stubs)"
        )


def _is_stub(path: Path) -> bool:
    try:
        if path.stat().st_size >= LFS_STUB_BYTES:
            return False
        with path.open("rb") as stream:
            return stream.read(len(LFS_STUB)) == LFS_STUB
    except OSError:  # reported later, as a fault of this clip
        return False


def unpack(root: Path, packed: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """Unpack videos from their archives, and yield the path of each as it is written.

    Args:
        root: Folder that all paths are relative to.
        packed: Archive and name in it, by the path to write.

    Raises:
        DataError: An archive is damaged.
    """
    by_archive: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, (archive, member) in packed.items():
        by_archive[archive].append((path, member))
    for archive, members in by_archive.items():
        try:
            with zipfile.ZipFile(root / archive) as opened:
                for path, member in members:
                    target = root / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with (
                        replacing(target) as partial,
                        partial.open("wb") as output,
                        opened.open(member) as video,
                    ):
                        shutil.copyfileobj(video, output)
                    yield path
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise DataError(
                f"cannot unpack {root / archive}: {error}; download it again"
            ) from error


def people(*bounds: tuple[int, int]) -> tuple[range, ...]:
    """Return folds of consecutive persons from the first and last number of each."""
    return tuple(range(first, last + 1) for first, last in bounds)
