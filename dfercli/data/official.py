"""Official splits and frames, held against published counts.

Fingerprints are the first twelve hex digits of SHA-256 over a list's sorted lines, each ended by a
line feed. Counts and fingerprints in the datasets' modules were taken from the split files that
several public repositories ship alike.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dfercli.data.manifest import Split
from dfercli.data.spec import Choices, Media, Source, count_of
from dfercli.data.split_lists import Lists
from dfercli.data.tree import Found, Tree, name_some

ADOPT_ONLY = "--adopt if they are the authors' crops; else point --root at those"
"""What to answer about frames in a set that is never cropped by us."""


@dataclass(frozen=True)
class OfficialList:
    """What is published about one list.

    Attributes:
        counts: (K,) clips of each class.
        fingerprint: Of its lines.
    """

    counts: tuple[int, ...]
    fingerprint: str


@dataclass(frozen=True)
class OfficialFrames:
    """What is published about the frames of one kind of media.

    Attributes:
        fewest: Frames of the shortest clip.
        most: Frames of the longest clip.
        counts: (K,) frames of each class by test fold, 0 for clips that always train; nothing
            where all clips have equally many.
        fingerprint: Of the lines `clip_id n_frames`.
    """

    fewest: int
    most: int
    counts: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True)
class Official:
    """What is published about a dataset's splits.

    Attributes:
        class_names: The K classes in their official order.
        lists: Each side of each fold.
        line: Gives the line of a fingerprint by clip and class.
        frames: What is published about frames, by the name of the media.
    """

    class_names: tuple[str, ...]
    lists: Mapping[tuple[Split, int], OfficialList]
    line: Callable[[str, str], str]
    frames: Mapping[str, OfficialFrames] = field(default_factory=dict)

    @property
    def num_clips(self) -> int:
        """Clips of the whole dataset: those of the first fold's two sides."""
        return sum(sum(self.lists[side, 1].counts) for side in ("train", "test"))


def five_folds(tested: Sequence[Sequence[int]], prints: Sequence[tuple[str, str]]) -> dict:
    """Give the lists of folds that each train on what the others test.

    Args:
        tested: (5, K) clips of each class in each test list.
        prints: (5, 2) fingerprints of train and test lists.
    """
    totals = [sum(counts) for counts in zip(*tested, strict=True)]
    lists = {}
    for fold, (counts, (train, test)) in enumerate(zip(tested, prints, strict=True), start=1):
        rest = tuple(total - count for total, count in zip(totals, counts, strict=True))
        lists["train", fold] = OfficialList(rest, train)
        lists["test", fold] = OfficialList(tuple(counts), test)
    return lists


def list_sources(folds: Mapping[str, tuple[str, int]], found: Found) -> tuple[Source, ...]:
    """Give the listed clips in the order of their names, and where each is on disk."""
    return tuple(
        Source(clip_id, found.paths.get(clip_id), class_name, fold)
        for clip_id, (class_name, fold) in sorted(folds.items())
    )


def ask_if_guessed(found: Found, choices: Choices) -> Media:
    """Adopt the authors' crops; of a folder whose name nobody knows, only a look tells."""
    return "frames" if found.paths and found.guessed and not choices.adopt else "crops"


def describe_media(name: str, tree: Tree, found: Found, listed: Iterable[str]) -> str:
    """Say which media were taken, and what may hold those that are missing."""
    packed = "" if found.paths.keys() >= set(listed) else tree.packed
    return f"{name}: {found}{packed}"


def miss_media(name: str, tree: Tree, found: Found, usual: str) -> list[str]:
    """Say that there are no media at all, where there are none."""
    if found.paths:
        return []
    return [f"no {name} below {tree.root}; they are usually in {usual}{tree.packed}"]


def find_deviations(official: Official, lists: Lists) -> list[str]:
    """Say what differs from what is published, and between folds, a line each, test lists first."""
    tests, trains = ({k: v for k, v in lists.items() if k[0] == s} for s in ("test", "train"))
    return [
        *compare_lists(official, tests),
        *compare_folds(lists),
        *compare_lists(official, trains),
    ]


def compare_lists(official: Official, lists: Lists) -> list[str]:
    """Say which of some lists differ from the published counts and fingerprints, a line each."""
    deviations = []
    for (side, fold), clips in sorted(lists.items()):
        known = official.lists[side, fold]
        counted = Counter(clips.values())
        counts = tuple(counted[name] for name in official.class_names)
        found = fingerprint(official.line(*item) for item in clips.items())
        where = f"fold {fold} {side}"
        if counts != known.counts:
            deviations.append(f"{where} has {_compare_counts(official, counts, known.counts)}")
        elif found != known.fingerprint:
            deviations.append(
                f"{where} has the official counts, but other clips or labels "
                f"(fingerprint {found}, officially {known.fingerprint})"
            )
    return deviations


def compare_folds(lists: Lists) -> list[str]:
    """Say which train lists are not what the other folds test, a line for each difference."""
    tested = {fold: clips.keys() for (side, fold), clips in lists.items() if side == "test"}
    everything = set().union(*tested.values())
    folds: dict[str, list[int]] = defaultdict(list)
    deviations = []
    for fold in sorted(tested):
        train = lists["train", fold].keys()
        for stray in train - everything:
            folds[stray].append(fold)
        lacking = sorted(everything - tested[fold] - train)
        if lacking:
            deviations.append(
                f"fold {fold} train lacks {name_clips(lacking)}, which another fold tests"
            )
    strays: dict[str, list[str]] = defaultdict(list)
    for stray, there in sorted(folds.items()):
        strays[", ".join(map(str, there))].append(stray)
    for where, clips in strays.items():
        deviations.append(f"no fold tests {name_clips(clips)}, on which fold {where} trains")
    return deviations


def lists_of(folds: Mapping[str, tuple[str, int]], official: Official) -> Lists:
    """Give the lists that clips of a class and test fold make, the reverse of `join_folds`."""
    lists: Lists = {}
    for side, fold in official.lists:
        lists[side, fold] = {
            clip_id: class_name
            for clip_id, (class_name, tested) in folds.items()
            if (tested == fold) == (side == "test")
        }
    return lists


def fingerprint(lines: Iterable[str]) -> str:
    """Give twelve hex digits that tell lists apart, whatever their order."""
    text = "".join(f"{line}\n" for line in sorted(lines))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def name_clips(clip_ids: Sequence[str], among: int | None = None) -> str:
    """Name a few clips, and how many there are, of how many."""
    return name_some(clip_ids, "clip", among)


def _compare_counts(official: Official, counts: Sequence[int], known: Sequence[int]) -> str:
    classes = zip(official.class_names, counts, known, strict=True)
    differing = [
        f"{name} {count:,}, not {right:,}" for name, count, right in classes if count != right
    ]
    return f"{count_of(sum(counts), 'clip')}, officially {sum(known):,} ({'; '.join(differing)})"
