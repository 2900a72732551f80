"""Frames on disk, checked: present, whole, of one size, and as many as published."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dfercli.data.manifest import Split
from dfercli.data.sources.official_lists import Official, OfficialFrames, fingerprint, name_clips
from dfercli.errors import DataError, VideoError
from dfercli.media.images import find_fault, image_size, list_frames
from dfercli.progress import show_progress
from dfercli.text import count_of

SHORT_CLIP = 16
"""Frames under which a clip is called short: most methods of the field sample 16."""

READERS = 8
"""Threads that look at frames (our choice: disks answer several at once)."""


@dataclass(frozen=True)
class FramesState:
    """The state of a clip's folder.

    Attributes:
        n_frames: Images in it.
        size: Width and height of the first in pixels, or None.
        fault: What is wrong, or None: `missing`, `empty`, a broken image by name, or sizes.
    """

    n_frames: int
    size: tuple[int, int] | None = None
    fault: str | None = None

    @property
    def status(self) -> str:
        """`whole`, `missing`, `empty`, or `unreadable`."""
        if self.fault is None:
            return "whole"
        return self.fault if self.fault in ("missing", "empty") else "unreadable"


def inspect_clips(clips: Sequence[Sequence[Path]]) -> Iterator[FramesState]:
    """Look at the folders of many clips, in order, with a progress bar."""
    with ThreadPoolExecutor(READERS) as pool:
        looks = pool.map(lambda folders: inspect_frames(*folders), clips)
        yield from show_progress(looks, total=len(clips), desc="frames", unit="clip")


def inspect_frames(*folders: Path) -> FramesState:
    """Check every frame of a clip; read the sizes of the first and the last one.

    Args:
        folders: The clip's folder, or several that hold a part of its frames each.
    """
    try:
        if not all(folder.is_dir() for folder in folders):
            return FramesState(0, fault="missing")
        frames = list_frames(*folders)
    except DataError:
        return FramesState(0, fault="empty")
    except OSError as error:
        return FramesState(0, fault=f"not to be read, {error.strerror}")
    for path in frames:
        fault = find_fault(path)
        if fault:
            return FramesState(len(frames), fault=f"{path.name} is {fault}")
    sizes = []
    for path in (frames[0], frames[-1]):
        try:
            sizes.append(image_size(path))
        except VideoError:
            return FramesState(len(frames), fault=f"{path.name} is no image")
    fault = "frames of several sizes" if sizes[0] != sizes[1] else None
    return FramesState(len(frames), sizes[0], fault)


@dataclass(frozen=True)
class ClipFrames:
    """One clip of an official set, and the frames of it that are on disk."""

    clip_id: str
    class_name: str
    test_fold: int
    n_frames: int


@dataclass(frozen=True)
class FrameComparison:
    """What counting the frames of an official set showed.

    Attributes:
        deviations: Numbers that differ from the published ones, one line each, the gravest first.
        note: What to know where all numbers agree but the fingerprint; else empty.
        num_compared: Classes of folds that have as many clips as published, so that their frames
            could be compared.
        num_published: Classes of folds whose frames are published.
        agreement: What agrees, as a sentence; empty where nothing is published.
    """

    deviations: tuple[str, ...] = ()
    note: str = ""
    num_compared: int = 0
    num_published: int = 0
    agreement: str = ""


def find_frames(official: Official, media: str) -> OfficialFrames | None:
    """Return what is published about the frames of some media, None where nothing is.

    Args:
        official: What is published about the set.
        media: Name of the media. A folder whose name nobody knows counts as the usual media.
    """
    return official.frames.get(media) or next(iter(official.frames.values()), None)


def compare_frames(official: Official, media: str, clips: Iterable[ClipFrames]) -> FrameComparison:
    """Compare frames on disk with the published numbers.

    A class of a fold is compared where it has as many clips as published. Where clips are missing,
    it lacks frames anyway; that more are missing shows only if these clips cannot have had so many.

    Args:
        official: What is published about the set.
        media: Name of the media.
        clips: The clips that have frames.
    """
    known = find_frames(official, media)
    if known is None:
        return FrameComparison()
    clips = list(clips)
    deviations = _compare_clips(known, clips)
    cells = _compare_cells(official, known, clips)
    differing = sorted((cell for cell in cells if cell.line), key=lambda cell: -cell.difference)
    num_compared = sum(cell.is_complete for cell in cells)
    complete = num_compared == len(cells)
    total, published = sum(c.n_frames for c in clips), sum(map(sum, known.counts.values()))
    if cells and complete and len(differing) > 1 and total != published:
        difference = _describe_difference(total, published)
        deviations.append(f"{count_of(total, 'frame')}, officially {published:,} ({difference})")
    deviations += [cell.line for cell in differing]
    note = "" if deviations or not complete else _compare_fingerprint(known, clips)
    agreement = _describe_agreement(known, num_compared, len(cells))
    return FrameComparison(tuple(deviations), note, num_compared, len(cells), agreement)


@dataclass(frozen=True)
class _Cell:
    """A class of a fold: whether no clip is missing, and what differs, in words and frames."""

    is_complete: bool
    line: str = ""
    difference: int = 0


def _compare_cells(
    official: Official, known: OfficialFrames, clips: Iterable[ClipFrames]
) -> list[_Cell]:
    """Compare each class of each fold."""
    frames: Counter[tuple[int, str]] = Counter()
    numbers: Counter[tuple[int, str]] = Counter()
    for clip in clips:
        frames[clip.test_fold, clip.class_name] += clip.n_frames
        numbers[clip.test_fold, clip.class_name] += 1
    cells = []
    for fold, counts in known.counts.items():
        side: Split = "test" if fold else "train"
        expected = official.lists[side, fold or 1].counts
        for name, count, num_clips in zip(official.class_names, counts, expected, strict=True):
            have, gone = frames[fold, name], num_clips - numbers[fold, name]
            where = f"fold {fold or 1} {side} has {count_of(have, 'frame')} of {name}"
            more = count - have - gone * known.most
            if gone == 0 and have != count:
                difference = _describe_difference(have, count)
                line = f"{where}, officially {count:,} ({difference})"
                cells.append(_Cell(True, line, abs(have - count)))
            elif gone > 0 and more > 0:
                missing = f"at least {more:,} more than its {count_of(gone, 'missing clip')}"
                line = f"{where}, officially {count:,} (it lacks {missing} can have)"
                cells.append(_Cell(False, line, more))
            else:
                cells.append(_Cell(gone == 0))
    return cells


def _describe_agreement(known: OfficialFrames, num_compared: int, num_published: int) -> str:
    if not num_published:
        return f"each clip has the published {known.most}"
    if num_compared == num_published:
        return "each class of each fold has the published number"
    if not num_compared:
        return "each class of each fold lacks clips, so that nothing can be compared"
    return (
        f"the published number in {num_compared} of {num_published} classes of folds; the others "
        f"lack clips"
    )


def _compare_clips(known: OfficialFrames, clips: Iterable[ClipFrames]) -> list[str]:
    """Name the clips that have fewer or more frames than any official one."""
    odd = [clip for clip in clips if not known.fewest <= clip.n_frames <= known.most]
    if not odd:
        return []
    odd.sort(key=lambda clip: (clip.n_frames, clip.clip_id))
    names = name_clips([clip.clip_id for clip in odd])
    span = f"{known.fewest:,} to {known.most:,}" if known.fewest < known.most else f"{known.most}"
    have = f"has {count_of(odd[0].n_frames, 'frame')}"
    if len(odd) > 1:
        few = all(clip.n_frames < known.fewest for clip in odd)
        wrong = "too few frames" if few else "frames too few or too many"
        return [f"{names} have {wrong}; {odd[0].clip_id} {have}, officially {span}"]
    return [f"{names} {have}, officially {span} per clip"]


def _compare_fingerprint(known: OfficialFrames, clips: Iterable[ClipFrames]) -> str:
    if not known.fingerprint:
        return ""
    found = fingerprint(f"{clip.clip_id} {clip.n_frames}" for clip in clips)
    if found == known.fingerprint:
        return ""
    return (
        f"each class of each fold has its published number of frames, but not each clip "
        f"(fingerprint {found}, officially {known.fingerprint}): some clips have frames too few, "
        f"and others of the same class and fold as many too many"
    )


def _describe_difference(have: int, published: int) -> str:
    lacking = published - have
    if lacking > 0:
        return f"{lacking:,} {'is' if lacking == 1 else 'are'} missing"
    return f"{-lacking:,} too many"
