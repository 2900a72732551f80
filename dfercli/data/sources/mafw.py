"""MAFW: 9,172 clips with a single label in eleven classes, five official folds; faces are ours.

What the authors' `frames` show, whole frames or faces, is told differently; so nothing is assumed
about them. Source: Liu et al., 2022; counts and fingerprints of the split files as DFER-CLIP,
MAE-DFER and S2D ship them.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dfercli.data.sources.base import Choices, Listing, Media
from dfercli.data.sources.find_media import Found, Tree, by_number, find_clips, scan_tree
from dfercli.data.sources.joined_clips import join_parts, keep_apart
from dfercli.data.sources.official_lists import (
    Official,
    SplitLists,
    describe_media,
    find_deviations,
    find_lists,
    five_folds,
    list_sources,
    miss_media,
    read_list,
    read_lists,
)
from dfercli.errors import ConfigError

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
OTHER_TASKS = r"(?:^|/)(?:compound|with[_ -]captions?)/"
"""Lists of 43 joined classes, and lists from which neutral is missing."""

FRAMES = r"frames"
FACES = r"(?:\b|_)faces?(?:\b|_)"

VIDEOS = r"\.(?:mp4|avi|mkv|mov|webm)$"


def read_sources(root: Path, choices: Choices) -> Listing:
    """Read the official lists and find the clips, or the frames.

    Args:
        root: Folder that holds lists and media, anywhere below.
        choices: `media` is `clips`, `frames` or `faces`; by default the first that is there, and
            that can be adopted where `adopt` says so.

    Raises:
        ConfigError: Videos cannot be adopted as faces.
        DataError: Lists are missing or do not hold together.
    """
    if choices.adopt and choices.media == "clips":
        raise ConfigError(
            "MAFW's clips are videos; adopt its frames or faces, or leave --adopt out"
        )
    tree = scan_tree(root)
    splits = read_splits(tree)
    folds = splits.join()
    found = {kind: _find(tree, kind) for kind in MEDIA}
    name = choices.media or _usual(found, choices.adopt)
    kind = _kind(name, found[name], choices.adopt)
    if name != "clips":
        join = keep_apart if kind == "videos" else join_parts
        found[name] = join(root, found[name])
    others = [kind for kind in MEDIA if kind != name and found[kind].paths]
    also = f"; there are {' and '.join(others)} too (--media)" if others else ""
    return Listing(
        list_sources(folds, found[name]),
        CLASS_NAMES,
        kind,
        name,
        (
            splits.describe(),
            describe_media(name, tree, found[name], folds) + also,
        ),
        (
            *miss_media(name, tree, found[name], f"data/{name}"),
            *find_deviations(OFFICIAL, splits.lists),
            *found[name].faults,
        ),
        where=found[name].where,
    )


clip_of = by_number
"""Return the clip of a folder of its frames; None for another folder."""


def read_splits(tree: Tree) -> SplitLists:
    """Read the official lists.

    Raises:
        DataError: Lists are missing, or cannot be read.
    """
    files = [path for path in tree.files if not re.search(OTHER_TASKS, path, re.IGNORECASE)]
    example = "Train & Test Set/single/no_caption/set_1/train.txt"
    paths = find_lists(replace(tree, files=tuple(files)), LISTS, OFFICIAL.lists, example)
    return read_lists(tree.root, paths, lambda path: read_list(path, _parse_line))


def _parse_line(line: str) -> tuple[str, str]:
    """Read `00025.mp4 anger`."""
    if line.strip().count("\t") > 1:
        raise ValueError("with captions; such lists lack the class neutral, use no_caption")
    match = re.fullmatch(r"\s*(\d+)(?:\.mp4)?\s*[\s,]\s*(\w+)\s*", line, re.IGNORECASE)
    if not match:
        raise ValueError("not number.mp4 label")
    label = match[2].lower()
    if "_" in label:
        raise ValueError(f"label {label!r} is of the compound lists; use those of single")
    if label not in CLASS_NAMES:
        raise ValueError(f"no label {label!r} in MAFW; known: {', '.join(CLASS_NAMES)}")
    return f"{int(match[1]):05d}", label


def _find(tree: Tree, media: str) -> Found:
    if media == "clips":
        videos = [path for path in tree.files if re.search(VIDEOS, path, re.IGNORECASE)]
        return find_clips(videos, by_number, "clips")
    if media == "faces":
        return find_clips(tree.clips, by_number, FACES, FRAMES, guess=False)
    return find_clips(tree.clips, by_number, FRAMES, f"{FACES}|landmarks")


def _usual(found: Mapping[str, Found], adopt: bool | None) -> str:
    """Name the first media that are there, and that can be adopted where they are to be."""
    kinds = MEDIA[1:] if adopt else MEDIA
    return next((kind for kind in kinds if found[kind].paths), kinds[0])


def _kind(name: str, found: Found, adopt: bool | None) -> Media:
    if name == "clips" or adopt is False:
        return "videos"
    if adopt:
        return "crops"
    return "frames" if found.paths else "videos"  # where there are none, nobody can tell
