"""Official splits: their lists read in any packing, and compared with published counts."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dfercli.data.manifest import Split
from dfercli.data.sources.base import Choices, Media, Source, find_encoding
from dfercli.data.sources.find_media import Found, Tree, name_some
from dfercli.errors import DataError
from dfercli.text import count_of

ListName = tuple[Split, int]
"""Side and fold of a list."""

Lists = dict[ListName, dict[str, str]]
"""Class by clip, of each side of each fold."""

SHOWN_LETTERS = 60
"""Letters of a line that an error quotes (our choice; a binary file may be one line)."""


@dataclass(frozen=True)
class SplitLists:
    """Official lists as they were found.

    Attributes:
        paths: Of each list, below the root.
        lists: What they hold.
    """

    paths: Mapping[ListName, str]
    lists: Lists

    def describe(self) -> str:
        """Name the lists in one line; those that lie elsewhere than most are named one by one."""
        templates = {name: _find_template(path, name) for name, path in self.paths.items()}
        usual = Counter(templates.values()).most_common(1)[0][0]
        first, *others = (
            path for name, path in sorted(self.paths.items()) if templates[name] == usual
        )
        strays = [path for name, path in sorted(self.paths.items()) if templates[name] != usual]
        more = f" and {len(others)} more" if others else ""
        mixed = f", together with {name_some(strays, 'list')} from elsewhere" if strays else ""
        return f"lists: {first}{more}{mixed}"

    def join(self) -> dict[str, tuple[str, int]]:
        """Return class and test fold of each clip, as `join_folds` does."""
        return join_folds(self.lists, self.paths)


def read_lists(
    root: Path, paths: Mapping[ListName, str], read: Callable[[Path], dict[str, str]]
) -> SplitLists:
    """Read lists that were found below a root."""
    return SplitLists(paths, {name: read(root / path) for name, path in paths.items()})


def _find_template(path: str, name: ListName) -> str:
    """Return the path of a list without its side and fold: the same for lists of one folder."""
    before, _, after = path.rpartition(str(name[1]))
    return re.sub("train|test", "*", f"{before}#{after}" if before else path, flags=re.IGNORECASE)


def find_lists(
    tree: Tree, patterns: Sequence[str], wanted: Iterable[ListName], example: str
) -> dict[ListName, str]:
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
    found: dict[ListName, str] = {}
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

    UTF-16 is recognised by its byte order mark. Any line ends, blank lines, and a header (a first
    line without a digit) are passed over.

    Args:
        path: The list.
        parse_line: Returns clip and class of a line; raises ValueError with what is wrong.

    Raises:
        DataError: A line cannot be read, or lists a clip again, or there is none.
    """
    content = path.read_bytes()
    text = content.decode(find_encoding(content), errors="replace")
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


def join_folds(lists: Lists, paths: Mapping[ListName, str]) -> dict[str, tuple[str, int]]:
    """Return class and test fold of each clip; 0 for one that no list tests.

    Args:
        lists: Classes by clip.
        paths: Of the lists, for errors.

    Raises:
        DataError: A clip has two classes, is tested twice, or trains where it is tested: no
            manifest can say so.
    """
    joined: dict[str, tuple[str, int]] = {}
    contradicted: dict[str, None] = {}
    for (side, fold), clips in sorted(lists.items()):  # test lists come before train lists
        for clip_id, class_name in clips.items():
            known, tested = joined.get(clip_id, (class_name, 0))
            if known != class_name:
                contradicted[clip_id] = None
            if tested and (side == "test" or tested == fold):
                raise DataError(
                    f"clip {clip_id} is in the {side} list of fold {fold} ({paths[side, fold]}) "
                    f"and in the test list of fold {tested} ({paths['test', tested]}); the lists "
                    f"leak, unpack the authors' again"
                )
            joined[clip_id] = (known, fold if side == "test" else tested)
    if contradicted:
        raise DataError(_describe_contradiction(sorted(contradicted), lists, paths))
    return joined


def _describe_contradiction(
    clip_ids: Sequence[str], lists: Lists, paths: Mapping[ListName, str]
) -> str:
    """Describe which lists contain which class of a clip, the rarest class first."""
    clip_id, *others = clip_ids
    where: dict[str, list[str]] = defaultdict(list)
    for name, clips in sorted(lists.items()):
        if clip_id in clips:
            where[clips[clip_id]].append(paths[name])
    parts = []
    for class_name, files in sorted(where.items(), key=lambda item: len(item[1])):
        named = files[0] if len(files) == 1 else name_some(files, "list", shown=1)
        parts.append(f"{class_name} in {named}")
    more = f"; {count_of(len(others), 'more clip')} with two classes" if others else ""
    return (
        f"clip {clip_id} is {' and '.join(parts)}{more}; correct the lists, or unpack the "
        f"authors' again"
    )


def _match_lists(tree: Tree, pattern: str) -> dict[ListName, str]:
    """Return the files that a pattern matches; of copies, the shallowest."""
    found: dict[ListName, str] = {}
    for path in tree.files:
        match = re.fullmatch(pattern, path, re.IGNORECASE)
        if match:
            names = match.groupdict()
            side: Split = "train" if names["split"].lower() == "train" else "test"
            found.setdefault((side, int(names.get("fold") or 1)), path)
    return found


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
