"""MAFW: 9,172 single-label clips in eleven classes, five official folds; faces are cropped by us.

Sources disagree on whether the authors' `frames` are whole frames or faces, so nothing is assumed
about them. Source: Liu et al., 2022; counts and fingerprints of the split files as DFER-CLIP,
MAE-DFER and S2D ship them.
"""

import re
from dataclasses import replace
from pathlib import Path

from dfercli.data.sources.base import Choices, Listing, Media
from dfercli.data.sources.find_media import (
    FoundClips,
    Tree,
    find_clip_number,
    find_clips,
    join_parts,
    keep_apart,
    scan_tree,
)
from dfercli.data.sources.official_lists import (
    Official,
    SplitLists,
    build_listing,
    cross_validation_lists,
    read_list,
    read_split_lists,
)
from dfercli.errors import ConfigError

MEDIA = ("clips", "frames", "faces")

_CLASSES = (
    "anger disgust fear happiness neutral sadness surprise contempt anxiety helplessness "
    "disappointment"
)
CLASS_NAMES = tuple(_CLASSES.split())
"""In the order of the official ids 1 to 11."""

OFFICIAL = Official(
    CLASS_NAMES,
    cross_validation_lists(
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
"""Lists of 43 compound classes, and lists without the class neutral."""

FRAMES = r"frames"
FACES = r"(?:\b|_)faces?(?:\b|_)"

VIDEOS = r"\.(?:mp4|avi|mkv|mov|webm)$"


find_clip_id = find_clip_number
"""Return the clip id of a folder of frames; None for another folder."""


def read_sources(root: Path, choices: Choices) -> Listing:
    """Read the official lists and find the videos or the frames, at any depth below the root.

    `choices.media` is `clips`, `frames` or `faces`; by default the first that exists and that can
    be adopted if `adopt` asks for it.

    Raises:
        ConfigError: Videos should be adopted as faces.
        DataError: Lists are missing or inconsistent.
    """
    if choices.adopt and choices.media == "clips":
        raise ConfigError(
            "MAFW's clips are videos; use --media frames or --media faces, or remove --adopt"
        )
    tree = scan_tree(root)
    splits = read_splits(tree)
    media = {name: _find_clips(tree, name) for name in MEDIA}
    adoptable = MEDIA[1:] if choices.adopt else MEDIA
    usual = next((name for name in adoptable if media[name].paths), adoptable[0])
    name = choices.media or usual
    clips = media[name]
    kind = _choose_kind(name, clips, choices.adopt)
    if name != "clips":
        clips = keep_apart(root, clips) if kind == "videos" else join_parts(root, clips)
    others = [other for other in MEDIA if other != name and media[other].paths]
    return build_listing(
        OFFICIAL,
        tree,
        splits,
        clips,
        title=name,
        usual_folder=f"data/{name}",
        note=f"; --media can also be {' or '.join(others)}" if others else "",
        media=kind,
        media_name=name,
    )


def read_splits(tree: Tree) -> SplitLists:
    """Read the official lists; raise a DataError if one is missing or cannot be read."""
    files = [path for path in tree.files if not re.search(OTHER_TASKS, path, re.IGNORECASE)]
    return read_split_lists(
        replace(tree, files=tuple(files)),
        LISTS,
        OFFICIAL,
        "Train & Test Set/single/no_caption/set_1/train.txt",
        lambda path: read_list(path, _parse_line),
    )


def _parse_line(line: str) -> tuple[str, str]:
    """Parse `00025.mp4 anger`."""
    if line.strip().count("\t") > 1:
        raise ValueError(
            "a list with captions, which lacks the class neutral; use the no_caption lists"
        )
    match = re.fullmatch(r"\s*(\d+)(?:\.mp4)?\s*[\s,]\s*(\w+)\s*", line, re.IGNORECASE)
    if not match:
        raise ValueError("expected number.mp4 label")
    label = match[2].lower()
    if "_" in label:
        raise ValueError(f"label {label!r} belongs to the compound lists; use the single lists")
    if label not in CLASS_NAMES:
        raise ValueError(f"no label {label!r} in MAFW; known: {', '.join(CLASS_NAMES)}")
    return f"{int(match[1]):05d}", label


def _find_clips(tree: Tree, media: str) -> FoundClips:
    if media == "clips":
        videos = [path for path in tree.files if re.search(VIDEOS, path, re.IGNORECASE)]
        return find_clips(videos, find_clip_number, "clips")
    if media == "faces":
        return find_clips(tree.clips, find_clip_number, FACES, FRAMES, guess=False)
    return find_clips(tree.clips, find_clip_number, FRAMES, f"{FACES}|landmarks")


def _choose_kind(name: str, clips: FoundClips, adopt: bool | None) -> Media:
    if name == "clips" or adopt is False:
        return "videos"
    if adopt:
        return "crops"
    return "frames" if clips.paths else "videos"  # without any, it does not matter
