"""Frames on disk, held against the published numbers: of each clip, and of each class in each fold.

Folds and classes are the finest totals that are published. So they tell where frames are missing,
and how many, but not of which clip, unless that has fewer than the shortest one.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from dfercli.data.official import Official, OfficialFrames, fingerprint, name_clips
from dfercli.data.spec import count_of


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
        compared: Whether anything is published about these frames.
        complete: Whether every class of every fold has as many clips as published, so that its
            frames could be compared.
    """

    deviations: tuple[str, ...] = ()
    note: str = ""
    compared: bool = False
    complete: bool = False


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
    frames: Counter[tuple[int, str]] = Counter()
    numbers: Counter[tuple[int, str]] = Counter()
    for clip in clips:
        frames[clip.test_fold, clip.class_name] += clip.n_frames
        numbers[clip.test_fold, clip.class_name] += 1
    complete = True
    found: list[tuple[int, str]] = []
    for fold, counts in known.counts.items():
        side = "test" if fold else "train"
        expected = official.lists["test" if fold else "train", fold or 1].counts
        for name, count, num_clips in zip(official.class_names, counts, expected, strict=True):
            have, gone = frames[fold, name], num_clips - numbers[fold, name]
            complete = complete and not gone
            where = f"fold {fold or 1} {side} has {count_of(have, 'frame')} of {name}"
            if not gone and have != count:
                difference = _describe_difference(have, count)
                found.append((abs(have - count), f"{where}, officially {count:,} ({difference})"))
            elif gone > 0 and count - have > gone * known.most:
                least = count - have - gone * known.most
                missing = (
                    f"at least {least:,} more than its {count_of(gone, 'missing clip')} can have"
                )
                found.append((least, f"{where}, officially {count:,} (it lacks {missing})"))
    found.sort(key=lambda item: -item[0])
    total, published = sum(frames.values()), sum(map(sum, known.counts.values()))
    if complete and len(found) > 1 and total != published:
        difference = _describe_difference(total, published)
        deviations.append(f"{count_of(total, 'frame')}, officially {published:,} ({difference})")
    deviations += [line for _, line in found]
    note = "" if deviations or not complete else _compare_fingerprint(known, clips)
    return FrameComparison(tuple(deviations), note, True, complete)


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
