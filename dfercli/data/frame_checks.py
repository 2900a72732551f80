"""Checks of frames on disk: present, intact, of one size, and as many as published."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dfercli.data.manifest import Split
from dfercli.data.sources.official_lists import Official, OfficialFrames, fingerprint
from dfercli.errors import DataError, VideoError
from dfercli.media.images import find_fault, image_size, list_frames
from dfercli.progress import show_progress
from dfercli.text import count_of, list_some

SHORT_CLIP = 16
"""Clips with fewer frames are called short: most methods of the field sample 16."""

READERS = 8
"""Threads that check frames (our choice: disks answer several at once)."""


@dataclass(frozen=True)
class FramesState:
    """The state of a clip's frames.

    Attributes:
        n_frames: Number of images.
        size: Width and height of the first image in pixels, or None.
        fault: What is wrong, or None: `missing`, `empty`, or a description.
    """

    n_frames: int
    size: tuple[int, int] | None = None
    fault: str | None = None

    @property
    def status(self) -> str:
        """`whole`, `missing`, `empty` or `unreadable`."""
        if self.fault is None:
            return "whole"
        return self.fault if self.fault in ("missing", "empty") else "unreadable"


def inspect_clips(clips: Sequence[Sequence[Path]]) -> Iterator[FramesState]:
    """Yield the states of many clips, given their folders, in order and with a progress bar."""
    with ThreadPoolExecutor(READERS) as pool:
        states = pool.map(lambda folders: inspect_frames(*folders), clips)
        yield from show_progress(states, total=len(clips), desc="frames", unit="clip")


def inspect_frames(*folders: Path) -> FramesState:
    """Check every frame of a clip, and the sizes of the first and the last one."""
    try:
        if not all(folder.is_dir() for folder in folders):
            return FramesState(0, fault="missing")
        frames = list_frames(*folders)
    except DataError:
        return FramesState(0, fault="empty")
    except OSError as error:
        return FramesState(0, fault=f"cannot be read: {error.strerror}")
    for path in frames:
        fault = find_fault(path)
        if fault:
            return FramesState(len(frames), fault=f"{path.name} is {fault}")
    sizes = []
    for path in (frames[0], frames[-1]):
        try:
            sizes.append(image_size(path))
        except VideoError:
            return FramesState(len(frames), fault=f"{path.name} is not an image")
    fault = "frames of different sizes" if sizes[0] != sizes[1] else None
    return FramesState(len(frames), sizes[0], fault)


@dataclass(frozen=True)
class ClipFrames:
    """A clip of an official dataset and its number of frames on disk."""

    clip_id: str
    class_name: str
    test_fold: int
    n_frames: int


@dataclass(frozen=True)
class FrameComparison:
    """Comparison of the frames of an official dataset with the published numbers.

    A cell is one class of one fold.

    Attributes:
        deviations: Numbers that differ from the published ones, one line each, the gravest first.
        note: A remark if all numbers agree but the fingerprint does not; else empty.
        num_compared: Cells that have all their clips, so that frames could be compared.
        num_published: Cells with published frames.
        agreement: What agrees, in words; empty if nothing is published.
    """

    deviations: tuple[str, ...] = ()
    note: str = ""
    num_compared: int = 0
    num_published: int = 0
    agreement: str = ""


def find_frames(official: Official, media: str) -> OfficialFrames | None:
    """Return what is published about the frames of some media, or None.

    An unknown name stands for the usual media.
    """
    return official.frames.get(media) or next(iter(official.frames.values()), None)


def compare_frames(official: Official, media: str, clips: Iterable[ClipFrames]) -> FrameComparison:
    """Compare frames on disk with the published numbers.

    A class of a fold is compared if it has all its clips. If clips are missing it lacks frames
    anyway; more missing frames are reported only if the missing clips cannot explain them.
    """
    published = find_frames(official, media)
    if published is None:
        return FrameComparison()
    clips = list(clips)
    deviations = _compare_clips(published, clips)
    cells = _compare_cells(official, published, clips)
    differing = sorted((cell for cell in cells if cell.line), key=lambda cell: -cell.difference)
    num_compared = sum(cell.is_complete for cell in cells)
    complete = num_compared == len(cells)
    total = sum(clip.n_frames for clip in clips)
    published_total = sum(map(sum, published.counts.values()))
    if cells and complete and len(differing) > 1 and total != published_total:
        frames = count_of(total, "frame")
        difference = _describe_difference(total, published_total)
        deviations.append(f"{frames}, officially {published_total:,} ({difference})")
    deviations += [cell.line for cell in differing]
    note = "" if deviations or not complete else _compare_fingerprint(published, clips)
    agreement = _describe_agreement(published, num_compared, len(cells))
    return FrameComparison(tuple(deviations), note, num_compared, len(cells), agreement)


@dataclass(frozen=True)
class _Cell:
    """A class of a fold: whether it has all clips, and how its frames differ."""

    is_complete: bool
    line: str = ""
    difference: int = 0


def _compare_cells(
    official: Official, published: OfficialFrames, clips: Iterable[ClipFrames]
) -> list[_Cell]:
    """Compare each class of each fold."""
    frames: Counter[tuple[int, str]] = Counter()
    clip_counts: Counter[tuple[int, str]] = Counter()
    for clip in clips:
        frames[clip.test_fold, clip.class_name] += clip.n_frames
        clip_counts[clip.test_fold, clip.class_name] += 1
    cells = []
    for fold, counts in published.counts.items():
        split: Split = "test" if fold else "train"
        expected = official.lists[split, fold or 1].counts
        for name, count, num_clips in zip(official.class_names, counts, expected, strict=True):
            n_frames, missing_clips = frames[fold, name], num_clips - clip_counts[fold, name]
            where = f"fold {fold or 1} {split} has {count_of(n_frames, 'frame')} of {name}"
            unexplained = count - n_frames - missing_clips * published.most
            if missing_clips == 0 and n_frames != count:
                difference = _describe_difference(n_frames, count)
                line = f"{where}, officially {count:,} ({difference})"
                cells.append(_Cell(True, line, abs(count - n_frames)))
            elif missing_clips > 0 and unexplained > 0:
                of_clips = count_of(missing_clips, "missing clip")
                line = (
                    f"{where}, officially {count:,} (it lacks at least {unexplained:,} more than "
                    f"its {of_clips} can have)"
                )
                cells.append(_Cell(False, line, unexplained))
            else:
                cells.append(_Cell(missing_clips == 0))
    return cells


def _describe_agreement(published: OfficialFrames, num_compared: int, num_published: int) -> str:
    if not num_published:
        return f"each clip has the published {published.most}"
    if num_compared == num_published:
        return "each class of each fold has the published number"
    if not num_compared:
        return "each class of each fold lacks clips: nothing can be compared"
    return (
        f"the published number in {num_compared} of {num_published} classes of folds; the others "
        f"lack clips"
    )


def _compare_clips(published: OfficialFrames, clips: Iterable[ClipFrames]) -> list[str]:
    """Describe the clips that have fewer or more frames than any official one."""
    fewest, most = published.fewest, published.most
    outliers = [clip for clip in clips if not fewest <= clip.n_frames <= most]
    if not outliers:
        return []
    outliers.sort(key=lambda clip: (clip.n_frames, clip.clip_id))
    names = list_some([clip.clip_id for clip in outliers], "clip")
    span = f"{fewest:,} to {most:,}" if fewest < most else f"{most}"
    example = f"has {count_of(outliers[0].n_frames, 'frame')}, officially {span}"
    if len(outliers) == 1:
        return [f"{names} {example} per clip"]
    too_few = all(clip.n_frames < fewest for clip in outliers)
    wrong = "too few frames" if too_few else "frames too few or too many"
    return [f"{names} have {wrong}; {outliers[0].clip_id} {example}"]


def _compare_fingerprint(published: OfficialFrames, clips: Iterable[ClipFrames]) -> str:
    if not published.fingerprint:
        return ""
    digits = fingerprint(f"{clip.clip_id} {clip.n_frames}" for clip in clips)
    if digits == published.fingerprint:
        return ""
    return (
        f"each class of each fold has its published number of frames, but not each clip "
        f"(fingerprint {digits}, officially {published.fingerprint}): some clips have frames too "
        f"few, and others of the same class and fold as many too many"
    )


def _describe_difference(n_frames: int, published: int) -> str:
    missing = published - n_frames
    if missing > 0:
        return f"{missing:,} {'is' if missing == 1 else 'are'} missing"
    return f"{-missing:,} too many"
