"""The lists of official splits, found and read whatever their packing."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfercli.data.manifest import Split
from dfercli.data.spec import count_of
from dfercli.data.tree import Tree, name_some
from dfercli.data.typed_lists import find_encoding
from dfercli.errors import DataError

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
