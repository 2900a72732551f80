"""Official splits: lists read from any packaging and compared with the published counts."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dfercli.data.manifest import Split
from dfercli.data.sources.base import Choices, Listing, Media, Source, find_encoding
from dfercli.data.sources.find_media import FoundClips, Tree
from dfercli.errors import ConfigError, DataError
from dfercli.files import hash_text
from dfercli.text import count_of, list_some

ListName = tuple[Split, int]
"""Split and fold of a list."""

Lists = dict[ListName, dict[str, str]]
"""Class by clip id, for each split of each fold."""

QUOTED_LETTERS = 60
"""Letters of a line that an error quotes (our choice; a binary file may be one line)."""

ADOPT_ONLY = "--adopt if they are the authors' crops; otherwise set --root to those crops"
"""Answer to the question about frames, for datasets that are never cropped by us."""


@dataclass(frozen=True)
class OfficialList:
    """Published (K,) clips of each class in one list, and the fingerprint of its lines."""

    counts: tuple[int, ...]
    fingerprint: str


@dataclass(frozen=True)
class OfficialFrames:
    """What is published about the frames of one kind of media.

    Attributes:
        fewest: Frames of the shortest clip.
        most: Frames of the longest clip.
        counts: (K,) frames of each class by test fold, 0 for clips that are only trained on; empty
            if all clips have the same number of frames.
        fingerprint: Fingerprint of the lines `clip_id n_frames`.
    """

    fewest: int
    most: int
    counts: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    fingerprint: str = ""


@dataclass(frozen=True)
class Official:
    """What is published about a dataset.

    Attributes:
        class_names: The K classes in their official order.
        lists: Each split of each fold.
        line: Returns the fingerprinted line for a clip id and a class.
        frames: What is published about frames, by name of the media.
    """

    class_names: tuple[str, ...]
    lists: Mapping[ListName, OfficialList]
    line: Callable[[str, str], str]
    frames: Mapping[str, OfficialFrames] = field(default_factory=dict)
    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def num_clips(self) -> int:
        """Number of clips in the dataset: the sum of the first fold's splits."""
        return sum(sum(self.lists[split, 1].counts) for split in ("train", "test"))

    def compare(self, clips: Mapping[str, tuple[str, int]]) -> list[str]:
        """Describe differences from the published lists, one line each.

        Args:
            clips: Class and test fold by clip id.
        """
        return compare_lists(self, split_into_lists(clips, self))


def cross_validation_lists(
    test_counts: Sequence[Sequence[int]], fingerprints: Sequence[tuple[str, str]]
) -> dict[ListName, OfficialList]:
    """Return the lists of folds that each train on what the other folds test.

    `test_counts` are (F, K) clips of each class in each test list; `fingerprints` are (F, 2), of
    the train and the test lists.
    """
    totals = [sum(counts) for counts in zip(*test_counts, strict=True)]
    lists: dict[ListName, OfficialList] = {}
    folds = zip(test_counts, fingerprints, strict=True)
    for fold, (counts, (train, test)) in enumerate(folds, start=1):
        rest = tuple(total - count for total, count in zip(totals, counts, strict=True))
        lists["train", fold] = OfficialList(rest, train)
        lists["test", fold] = OfficialList(tuple(counts), test)
    return lists


def fingerprint(lines: Iterable[str]) -> str:
    """Return twelve hex digits that identify a set of lines, in any order."""
    return hash_text("".join(f"{line}\n" for line in sorted(lines)))[:12]


@dataclass(frozen=True)
class SplitLists:
    """Path below the root, and contents, of the official lists on disk."""

    paths: Mapping[ListName, str]
    lists: Lists

    def describe(self) -> str:
        """Return one line that names the lists; those outside the usual folder one by one."""
        templates = {name: _find_template(path, name) for name, path in self.paths.items()}
        usual = Counter(templates.values()).most_common(1)[0][0]
        first, *others = (
            path for name, path in sorted(self.paths.items()) if templates[name] == usual
        )
        strays = [path for name, path in sorted(self.paths.items()) if templates[name] != usual]
        more = f" and {len(others)} more" if others else ""
        mixed = f", together with {list_some(strays, 'list')} from elsewhere" if strays else ""
        return f"lists: {first}{more}{mixed}"

    def join(self) -> dict[str, tuple[str, int]]:
        """Return class and test fold of each clip; see `join_folds`."""
        return join_folds(self.lists, self.paths)


def _find_template(path: str, name: ListName) -> str:
    """Return the path of a list without split and fold, which lists of one folder share."""
    before, _, after = path.rpartition(str(name[1]))
    return re.sub("train|test", "*", f"{before}#{after}" if before else path, flags=re.IGNORECASE)


def read_split_lists(
    tree: Tree,
    patterns: Sequence[str],
    official: Official,
    example: str,
    read: Callable[[Path], dict[str, str]],
) -> SplitLists:
    """Find and read all official lists of a dataset.

    Raises:
        DataError: A list is missing or cannot be read.
    """
    paths = find_lists(tree, patterns, official.lists, example)
    return SplitLists(paths, {name: read(tree.root / path) for name, path in paths.items()})


def find_lists(
    tree: Tree, patterns: Sequence[str], names: Iterable[ListName], example: str
) -> dict[ListName, str]:
    """Return the paths of the official lists below the root.

    `patterns` match whole paths, with the groups `split` and optionally `fold`; the first that
    matches any file is used. `example` is the original path of one list, for the error.

    Raises:
        DataError: No list is found, or one is missing.
    """
    names = list(names)
    paths: dict[ListName, str] = {}
    for pattern in patterns:
        paths = paths or {
            name: path for name, path in _match_lists(tree, pattern).items() if name in names
        }
    if not paths:
        raise DataError(
            f"no split lists below {tree.root}; their original path is {example}{tree.packed}"
        )
    missing = [name for name in names if name not in paths]
    if missing:
        (split, fold), path = missing[0], next(iter(paths.values()))
        raise DataError(
            f"{len(paths)} of {len(names)} split lists found, such as {tree.root / path}; "
            f"no {split} list of fold {fold}{tree.packed}"
        )
    return paths


def _match_lists(tree: Tree, pattern: str) -> dict[ListName, str]:
    """Return the files that match a pattern; of several copies, the shallowest."""
    paths: dict[ListName, str] = {}
    for path in tree.files:
        match = re.fullmatch(pattern, path, re.IGNORECASE)
        if match:
            groups = match.groupdict()
            split: Split = "train" if groups["split"].lower() == "train" else "test"
            paths.setdefault((split, int(groups.get("fold") or 1)), path)
    return paths


def read_list(path: Path, parse_line: Callable[[str], tuple[str, str]]) -> dict[str, str]:
    """Return the class of each clip in a list.

    Any line ends and Unicode encodings with a byte order mark are understood. Blank lines and a
    header (a first line without a digit) are skipped. `parse_line` returns clip id and class of a
    line, or raises ValueError with the reason.

    Raises:
        DataError: A line cannot be parsed or repeats a clip, or the list is empty.
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
            quoted = repr(line.strip()[:QUOTED_LETTERS])
            raise DataError(f"{path} line {number}, {quoted}: {error}") from error
        if clip_id in clips:
            raise DataError(f"{path} line {number}: clip {clip_id} is listed twice")
        clips[clip_id] = class_name
    if not clips:
        raise DataError(f"{path} lists no clips; unpack the authors' lists again")
    return clips


def join_folds(lists: Lists, paths: Mapping[ListName, str]) -> dict[str, tuple[str, int]]:
    """Return class and test fold of each clip; fold 0 if no list tests it.

    Raises:
        DataError: A clip has two classes, is tested twice, or is trained on in the fold that tests
            it; a manifest cannot express that.
    """
    joined: dict[str, tuple[str, int]] = {}
    contradictions: set[str] = set()
    for (split, fold), clips in sorted(lists.items()):  # test lists come before train lists
        for clip_id, class_name in clips.items():
            known_class, test_fold = joined.get(clip_id, (class_name, 0))
            if known_class != class_name:
                contradictions.add(clip_id)
            if test_fold and (split == "test" or test_fold == fold):
                raise DataError(
                    f"clip {clip_id} is in the {split} list of fold {fold} ({paths[split, fold]}) "
                    f"and in the test list of fold {test_fold} ({paths['test', test_fold]}); "
                    f"unpack the authors' lists again"
                )
            joined[clip_id] = (known_class, fold if split == "test" else test_fold)
    if contradictions:
        raise DataError(_describe_contradiction(sorted(contradictions), lists, paths))
    return joined


def _describe_contradiction(
    clip_ids: Sequence[str], lists: Lists, paths: Mapping[ListName, str]
) -> str:
    """Describe which lists contain which class of a clip, the rarest class first."""
    clip_id, *others = clip_ids
    files_by_class: dict[str, list[str]] = defaultdict(list)
    for name, clips in sorted(lists.items()):
        if clip_id in clips:
            files_by_class[clips[clip_id]].append(paths[name])
    parts = []
    for class_name, files in sorted(files_by_class.items(), key=lambda item: len(item[1])):
        more_files = f"{len(files)} lists ({files[0]}, ...)"
        parts.append(f"{class_name} in {files[0] if len(files) == 1 else more_files}")
    more = f"; {count_of(len(others), 'more clip')} with two classes" if others else ""
    return (
        f"clip {clip_id} is {' and '.join(parts)}{more}; correct the lists, or unpack the "
        f"authors' lists again"
    )


def split_into_lists(folds: Mapping[str, tuple[str, int]], official: Official) -> Lists:
    """Return the lists for clips with a class and test fold; the inverse of `join_folds`."""
    lists: Lists = {}
    for split, fold in official.lists:
        lists[split, fold] = {
            clip_id: class_name
            for clip_id, (class_name, test_fold) in folds.items()
            if (test_fold == fold) == (split == "test")
        }
    return lists


def find_deviations(official: Official, lists: Lists) -> list[str]:
    """Describe differences from the published lists and between folds, test lists first."""
    tests = {name: clips for name, clips in lists.items() if name[0] == "test"}
    trains = {name: clips for name, clips in lists.items() if name[0] == "train"}
    return [
        *compare_lists(official, tests),
        *compare_folds(lists),
        *compare_lists(official, trains),
    ]


def compare_lists(official: Official, lists: Lists) -> list[str]:
    """Describe which lists differ from the published counts and fingerprints, one line each."""
    deviations = []
    for (split, fold), clips in sorted(lists.items()):
        published = official.lists[split, fold]
        by_class = Counter(clips.values())
        counts = tuple(by_class[name] for name in official.class_names)
        digits = fingerprint(official.line(*item) for item in clips.items())
        if counts != published.counts:
            difference = _compare_counts(official, counts, published.counts)
            deviations.append(f"fold {fold} {split} has {difference}")
        elif digits != published.fingerprint:
            deviations.append(
                f"fold {fold} {split} has the official counts, but other clips or labels "
                f"(fingerprint {digits}, officially {published.fingerprint})"
            )
    return deviations


def _compare_counts(official: Official, counts: Sequence[int], published: Sequence[int]) -> str:
    classes = zip(official.class_names, counts, published, strict=True)
    differences = [
        f"{name} {count:,}, not {right:,}" for name, count, right in classes if count != right
    ]
    total = count_of(sum(counts), "clip")
    return f"{total}, officially {sum(published):,} ({'; '.join(differences)})"


def compare_folds(lists: Lists) -> list[str]:
    """Describe which train lists differ from what the other folds test, one line each."""
    tested = {fold: clips.keys() for (split, fold), clips in lists.items() if split == "test"}
    tested_anywhere = set().union(*tested.values())
    untested: dict[str, list[int]] = defaultdict(list)
    deviations = []
    for fold in sorted(tested):
        trained = lists["train", fold].keys()
        for clip_id in trained - tested_anywhere:
            untested[clip_id].append(fold)
        missing = sorted(tested_anywhere - tested[fold] - trained)
        if missing:
            names = list_some(missing, "clip")
            deviations.append(f"fold {fold} train lacks {names}, which another fold tests")
    clips_by_folds: dict[str, list[str]] = defaultdict(list)
    for clip_id, folds in sorted(untested.items()):
        clips_by_folds[", ".join(map(str, folds))].append(clip_id)
    for fold_names, clip_ids in clips_by_folds.items():
        names = list_some(clip_ids, "clip")
        deviations.append(f"no fold tests {names}, on which fold {fold_names} trains")
    return deviations


def require_authors_crops(name: str, choices: Choices) -> None:
    """Raise a ConfigError if the user asked to crop a dataset that comes with face crops."""
    if choices.adopt is False:
        raise ConfigError(f"{name} is used with its authors' face crops; remove --crop")


def adopt_crops(clips: FoundClips, choices: Choices) -> Media:
    """Return `crops`, or `frames` if the folder has an unknown name and the user did not say."""
    return "frames" if clips.paths and clips.guessed and not choices.adopt else "crops"


def build_listing(
    official: Official,
    tree: Tree,
    splits: SplitLists,
    clips: FoundClips,
    *,
    title: str,
    usual_folder: str,
    taken_lists: str = "",
    list_deviations: Iterable[str] | None = None,
    note: str = "",
    **fields: Any,
) -> Listing:
    """Return the listing of a dataset with official lists.

    `title` and `usual_folder` name the media in messages, and `note` ends the line about them;
    `fields` are further fields of the listing.
    """
    folds = splits.join()
    if list_deviations is None:
        list_deviations = find_deviations(official, splits.lists)
    packed = "" if clips.paths.keys() >= folds.keys() else tree.packed
    missing = []
    if not clips.paths:
        missing = [f"no {title} below {tree.root}; they are usually in {usual_folder}{tree.packed}"]
    return Listing(
        sources=tuple(
            Source(clip_id, clips.paths.get(clip_id), class_name, fold)
            for clip_id, (class_name, fold) in sorted(folds.items())
        ),
        class_names=official.class_names,
        taken=(taken_lists or splits.describe(), f"{title}: {clips}{packed}{note}"),
        deviations=(*missing, *list_deviations, *clips.faults),
        where=clips.where,
        **fields,
    )
