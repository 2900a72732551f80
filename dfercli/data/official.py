"""Official splits: lists found and read whatever their packing, and held against published counts.

Fingerprints are the first twelve hex digits of SHA-256 over a list's sorted lines, each ended by a
line feed. Counts and fingerprints in the datasets' modules were taken from the split files that
several public repositories ship alike.
"""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfercli.data.manifest import Split
from dfercli.data.spec import Choices, Media, Source
from dfercli.data.tree import Found, Tree, name_some
from dfercli.errors import DataError

ADOPT_ONLY = "--adopt if they are the authors' crops; else point --root at those"
"""What to answer about frames in a set that is never cropped by us."""

Lists = dict[tuple[Split, int], dict[str, str]]
"""Class by clip, of each side of each fold."""

SHOWN_LETTERS = 60
"""Letters of a line that an error quotes (our choice; a binary file may be one line)."""


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
class Official:
    """What is published about a dataset's splits.

    Attributes:
        class_names: The K classes in their official order.
        lists: Each side of each fold.
        line: Gives the line of a fingerprint by clip and class.
    """

    class_names: tuple[str, ...]
    lists: Mapping[tuple[Split, int], OfficialList]
    line: Callable[[str, str], str]

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


def find_lists(
    tree: Tree, patterns: Sequence[str], wanted: Iterable[tuple[Split, int]], example: str
) -> dict[tuple[Split, int], str]:
    """Find the files of the official lists.

    Args:
        tree: What lies below the root.
        patterns: Of whole paths, with groups `split` and, where there are several, `fold`; the
            official names first. The first pattern that finds any decides.
        wanted: Sides and folds.
        example: How the authors name one, for the error.

    Raises:
        DataError: There is none, or one is missing.
    """
    wanted = list(wanted)
    found: dict[tuple[Split, int], str] = {}
    for pattern in patterns:
        found = found or {
            name: path for name, path in _match_lists(tree, pattern).items() if name in wanted
        }
    if not found:
        raise DataError(
            f"no split lists below {tree.root}; the authors' are {example}{tree.packed}"
        )
    missing = [name for name in wanted if name not in found]
    if missing:
        (side, fold), path = missing[0], next(iter(found.values()))
        raise DataError(
            f"{len(found)} of {len(wanted)} split lists found, such as {tree.root / path}; "
            f"no {side} list of fold {fold}{tree.packed}"
        )
    return found


def read_list(path: Path, parse_line: Callable[[str], tuple[str, str]]) -> dict[str, str]:
    """Read a list: the class of each clip.

    A byte order mark, any line ends, blank lines, and a header (a first line without a digit) are
    passed over.

    Args:
        path: The list.
        parse_line: Gives clip and class of a line; raises ValueError with what is wrong.

    Raises:
        DataError: A line cannot be read, or lists a clip again, or there is none.
    """
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    clips: dict[str, str] = {}
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        if not line.strip() or (number == 1 and not re.search(r"\d", line)):
            continue
        try:
            clip_id, class_name = parse_line(line)
        except ValueError as error:
            quoted = repr(line.strip()[:SHOWN_LETTERS])
            raise DataError(f"{path} line {number}, {quoted}: {error}") from error
        if clip_id in clips:
            raise DataError(f"{path} line {number}: clip {clip_id} is listed twice")
        clips[clip_id] = class_name
    if not clips:
        raise DataError(f"{path} lists no clip; unpack the authors' lists again")
    return clips


def join_folds(lists: Lists) -> dict[str, tuple[str, int]]:
    """Give class and test fold of each clip; 0 for one that no list tests.

    Raises:
        DataError: A clip has two classes, is tested twice, or trains where it is tested: no
            manifest can say so.
    """
    joined: dict[str, tuple[str, int]] = {}
    for (side, fold), clips in sorted(lists.items()):  # test lists come before train lists
        for clip_id, class_name in clips.items():
            known, tested = joined.get(clip_id, (class_name, 0))
            if known != class_name:
                raise DataError(f"clip {clip_id} is {known} in one list and {class_name} in others")
            if tested and (side == "test" or tested == fold):
                other = f"test list of fold {tested}" if side == "test" else "test list"
                raise DataError(
                    f"clip {clip_id} is in the {side} list of fold {fold} and in the {other}; "
                    f"the lists leak, unpack the authors' anew"
                )
            joined[clip_id] = (class_name, fold if side == "test" else tested)
    return joined


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
    return f"{sum(counts):,} clips, officially {sum(known):,} ({'; '.join(differing)})"


def _match_lists(tree: Tree, pattern: str) -> dict[tuple[Split, int], str]:
    """Give the files that a pattern matches; of copies, the shallowest."""
    found: dict[tuple[Split, int], str] = {}
    for path in tree.files:
        match = re.fullmatch(pattern, path, re.IGNORECASE)
        if match:
            names = match.groupdict()
            side: Split = "train" if names["split"].lower() == "train" else "test"
            found.setdefault((side, int(names.get("fold") or 1)), path)
    return found
