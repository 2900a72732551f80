"""MAFW: 9,172 clips with a single label in eleven classes, five official folds; faces are ours.

What the authors' `frames` show, whole frames or faces, is told differently; so nothing is assumed
about them. Source: Liu et al., 2022; counts and fingerprints of the split files as DFER-CLIP,
MAE-DFER and S2D ship them.
"""

import re
from pathlib import Path

from dfercli.data.official import (
    Official,
    compare_folds,
    compare_lists,
    find_lists,
    five_folds,
    join_folds,
    read_list,
)
from dfercli.data.spec import Choices, Listing, Media, Source
from dfercli.data.tree import Found, Tree, by_number, find_clips, scan_tree

MEDIA = ("clips", "frames", "faces")

CLASS_NAMES = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "neutral",
    "sadness",
    "surprise",
    "contempt",
    "anxiety",
    "helplessness",
    "disappointment",
)
"""In the order of the official ids 1 to 11."""

OFFICIAL = Official(
    CLASS_NAMES,
    five_folds(
        [
            (278, 128, 125, 249, 228, 294, 215, 48, 184, 53, 37),
            (278, 128, 125, 249, 228, 294, 215, 47, 183, 53, 37),
            (278, 128, 125, 248, 228, 294, 214, 47, 183, 52, 36),
            (278, 128, 125, 248, 227, 294, 214, 47, 183, 52, 36),
            (278, 127, 125, 248, 227, 294, 214, 47, 183, 52, 36),
        ],
        [
            ("3ff3d27f6748", "d317f12b9bc6"),
            ("51f6a6469e5c", "be4aed8ba4b5"),
            ("7b25c229a40d", "525351b3999d"),
            ("d341a1906dc6", "ae70f36aaf4d"),
            ("1e44caa25912", "ea2142bddfba"),
        ],
    ),
    lambda clip_id, class_name: f"{clip_id}.mp4 {class_name}",
)

LISTS = (
    r"(?:.*/)?single/no_caption/set_(?P<fold>\d)/(?P<split>train|test)\.txt",
    r"(?:.*/)?no_caption/set_(?P<fold>\d)/(?P<split>train|test)\.txt",
    r"(?:.*/)?set_(?P<fold>\d)/(?P<split>train|test)\.txt",
)
OTHER_TASKS = r"compound|with_caption|multi"
"""Lists of 43 joined classes, and lists from which neutral is missing."""

NOTHING = r"(?!)"

VIDEOS = r"\.(?:mp4|avi|mkv|mov|webm)$"


def read_sources(root: Path, choices: Choices) -> Listing:
    """Read the official lists and find the clips, or the frames.

    Args:
        root: Folder that holds lists and media, anywhere below.
        choices: `media` is `clips`, `frames` or `faces`; by default the first that is there.

    Raises:
        DataError: Lists are missing or do not hold together.
    """
    tree = scan_tree(root)
    single = [path for path in tree.files if not re.search(OTHER_TASKS, path, re.IGNORECASE)]
    lists_tree = Tree(root, tuple(single), tree.clips)
    example = "Train & Test Set/single/no_caption/set_1/train.txt"
    paths = find_lists(lists_tree, LISTS, OFFICIAL.lists, example)
    lists = {name: read_list(root / path, _parse_line) for name, path in paths.items()}
    folds = join_folds(lists)
    name, found = _find_media(tree, choices.media)
    others = [kind for kind in MEDIA if kind != name and _find(tree, kind).paths]
    also = f"; there are {' and '.join(others)} too (--media)" if others else ""
    return Listing(
        tuple(
            Source(clip_id, found.paths.get(clip_id), class_name, fold)
            for clip_id, (class_name, fold) in sorted(folds.items())
        ),
        CLASS_NAMES,
        _kind(name, choices.adopt),
        name,
        (f"lists: {paths['test', 1]} and {len(paths) - 1} more", f"{name}: {found}{also}"),
        (*compare_folds(lists), *compare_lists(OFFICIAL, lists)),
    )


def _parse_line(line: str) -> tuple[str, str]:
    """Read `00025.mp4 anger`."""
    if "\t" in line.strip():
        raise ValueError("it has captions: neutral is missing from such lists; use no_caption")
    match = re.fullmatch(r"\s*(\d+)(?:\.mp4)?\s*[ ,]\s*(\w+)\s*", line)
    if not match:
        raise ValueError(f"{line.strip()!r} is not number.mp4 label")
    label = match[2].lower()
    if "_" in label:
        raise ValueError(f"label {label!r} is of the compound lists; use those of single")
    if label not in CLASS_NAMES:
        raise ValueError(f"no label {label!r} in MAFW; known: {', '.join(CLASS_NAMES)}")
    return f"{int(match[1]):05d}", label


def _find_media(tree: Tree, media: str | None) -> tuple[str, Found]:
    if media is not None:
        return media, _find(tree, media)
    found = {name: _find(tree, name) for name in MEDIA}
    usual = next((name for name, clips in found.items() if clips.paths), MEDIA[0])
    return usual, found[usual]


def _find(tree: Tree, media: str) -> Found:
    if media == "clips":
        videos = [path for path in tree.files if re.search(VIDEOS, path, re.IGNORECASE)]
        return find_clips(videos, r"clips", NOTHING, by_number)
    if media == "faces":
        faces = [path for path in tree.clips if re.search(r"faces?\b", path, re.IGNORECASE)]
        return find_clips(faces, r"faces?\b", r"faces-", by_number)
    return find_clips(tree.clips, r"frames", r"faces?\b|landmarks", by_number)


def _kind(name: str, adopt: bool | None) -> Media:
    if name == "clips" or adopt is False:
        return "videos"
    return "crops" if adopt else "frames"
