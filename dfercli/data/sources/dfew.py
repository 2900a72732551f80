"""DFEW: 11,697 film clips in seven classes, five official folds, face crops by the authors.

Source: Jiang et al., 2020, and the README that comes with the data; counts and fingerprints of the
split files as DFER-CLIP, MAE-DFER and S2D ship them.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dfercli.data.sources.base import BASIC_EXPRESSIONS, Choices, Listing
from dfercli.data.sources.find_media import (
    FoundClips,
    Tree,
    find_clip_number,
    find_clips,
    join_parts,
    scan_tree,
)
from dfercli.data.sources.official_lists import (
    ADOPT_ONLY,
    Official,
    OfficialFrames,
    SplitLists,
    adopt_crops,
    build_listing,
    cross_validation_lists,
    read_list,
    read_split_lists,
    require_authors_crops,
)
from dfercli.errors import DataError
from dfercli.media.images import list_image_names

MEDIA = ("faces", "faces-16f")

OFFICIAL = Official(
    BASIC_EXPRESSIONS,  # in the order of the official codes 1 to 7
    cross_validation_lists(
        [
            (489, 379, 534, 435, 294, 29, 181),
            (489, 379, 534, 435, 294, 29, 181),
            (489, 379, 534, 435, 294, 29, 180),
            (489, 379, 534, 434, 294, 29, 180),
            (489, 378, 533, 434, 293, 29, 180),
        ],
        [
            ("115c0f6d3647", "7625fe9f4f6e"),
            ("02f49bb921ca", "2ec4568b1f3c"),
            ("0290afc0ad91", "d06322f98a9c"),
            ("8371d0097f50", "295d084fbf7f"),
            ("f394e52d6a81", "def4061b9795"),
        ],
    ),
    lambda clip_id, class_name: f"{clip_id} {BASIC_EXPRESSIONS.index(class_name) + 1}",
    {
        "clip_224x224": OfficialFrames(
            11,
            847,
            {
                1: (35_874, 38_023, 42_529, 31_580, 18_418, 1_959, 11_469),
                2: (38_180, 35_595, 42_131, 33_213, 19_835, 1_979, 11_861),
                3: (36_362, 36_212, 42_756, 32_635, 19_632, 1_695, 11_408),
                4: (37_914, 36_957, 43_418, 31_503, 18_848, 1_887, 11_657),
                5: (34_417, 35_234, 42_840, 32_467, 18_145, 1_535, 11_535),
            },
            "7be4ed14d351",
        ),
        "clip_224x224_16f": OfficialFrames(16, 16),
    },
)

LISTS = (
    r"(?:.*/)?(?P<split>train|test)[ (_-]*single[ _-]*labell?ed\)?/set_(?P<fold>\d)\.csv",
    r"(?:.*/)?(?P<split>train|test)/set_(?P<fold>\d)\.csv",
    r"(?:.*/)?single_(?P<split>train|test)set_(?P<fold>\d)\.csv",
    r"(?:.*/)?(?P<split>train|test)_set_(?P<fold>\d)\.csv",
)
"""The authors' names first, then repackaged ones, then those of 0-based copies."""

FACES = (r"(?:^|/)clip_224x224(?=/|$|[ _-]*part|-\d)", r"clip_224x224|jpg_256|single_label/data")
FACES_16F = r"16f"
NO_FACES = r"16f|original|(?:\b|_)avi|annotation"

INSPECTED_CLIPS = 20
"""Clip folders that are inspected to recognise resampled frames (our choice)."""

RESAMPLED = (
    "16 resampled frames per clip (clip_224x224_16f): not comparable with results on all frames"
)

find_clip_id = find_clip_number
"""Return the clip id of a folder of frames; None for another folder."""


def read_sources(root: Path, choices: Choices) -> Listing:
    """Read the official lists and find the authors' face crops, at any depth below the root.

    `choices.media` is `faces`, or `faces-16f` for the 16 frames that the authors resampled.

    Raises:
        ConfigError: The faces should be cropped again.
        DataError: Lists or crops are missing or inconsistent.
    """
    require_authors_crops("DFEW", choices)
    tree = scan_tree(root)
    splits = read_splits(tree)
    resampled = choices.media == "faces-16f"
    faces = join_parts(root, _find_resampled(tree) if resampled else _find_faces(tree))
    name = "clip_224x224_16f" if resampled else "clip_224x224"
    return build_listing(
        OFFICIAL,
        tree,
        splits,
        faces,
        title="faces",
        usual_folder=f"Clip/{name}",
        media=adopt_crops(faces, choices),
        media_name=name,
        remarks=(RESAMPLED,) if resampled else (),
        answers=ADOPT_ONLY,
    )


def read_splits(tree: Tree) -> SplitLists:
    """Read the official lists; raise a DataError if one is missing or cannot be read."""
    example = "EmoLabel_DataSplit/train(single-labeled)/..."
    return read_split_lists(tree, LISTS, OFFICIAL, example, _read_list)


def _read_list(path: Path) -> dict[str, str]:
    codes = read_list(path, _parse_line)
    if max(codes.values()) == "6":
        raise DataError(
            f"{path}: the labels end at 6 instead of 7, as in 0-based copies; use the lists in "
            f"EmoLabel_DataSplit"
        )
    return {clip_id: BASIC_EXPRESSIONS[int(code) - 1] for clip_id, code in codes.items()}


def _parse_line(line: str) -> tuple[str, str]:
    """Parse `1,2` or `00001,2`."""
    match = re.fullmatch(r"\s*\"?(\d+)(?:\.mp4)?\"?\s*[,;\t ]\s*\"?(-?\d+)\"?\s*,?\s*", line)
    if not match:
        raise ValueError("expected video_name,label")
    if not 1 <= int(match[2]) <= len(BASIC_EXPRESSIONS):
        raise ValueError(
            f"label {match[2]} is not from 1 to 7: a list of another task, or a 0-based copy; "
            f"use the single-labelled lists in EmoLabel_DataSplit"
        )
    return f"{int(match[1]):05d}", str(int(match[2]))


def _find_faces(tree: Tree) -> FoundClips:
    faces = find_clips(tree.clips, find_clip_number, FACES, NO_FACES)
    resampled = _find_resampled(tree)
    if not faces.paths and resampled.paths:
        raise DataError(
            f"{tree.root / resampled.where} has only 16 resampled frames per clip, and results on "
            f"them are not comparable; use --media faces-16f to continue"
        )
    if _are_resampled([tree.root / path for path in faces.paths.values()]):
        raise DataError(
            f"{tree.root / faces.where} has the authors' 16 resampled frames per clip, and results "
            f"on them are not comparable; to continue, rename the folder to ..._16f and use "
            f"--media faces-16f"
        )
    return faces


def _find_resampled(tree: Tree) -> FoundClips:
    return find_clips(tree.clips, find_clip_number, FACES_16F, guess=False)


def _are_resampled(folders: Sequence[Path]) -> bool:
    """Return whether the first clips have 16 images each, named by bare numbers."""
    clips = []
    for folder in folders[:INSPECTED_CLIPS]:
        with suppress(OSError):  # reported later, as a fault of this clip
            clips.append([Path(name).stem for name in list_image_names(folder)])
    non_empty = [names for names in clips if names]
    return bool(non_empty) and all(
        len(names) == 16 and all(name.isdecimal() for name in names) for names in non_empty
    )
