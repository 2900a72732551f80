"""DFEW: 11,697 clips of films in seven classes, five official folds, face crops by its authors.

Source: Jiang et al., 2020, and the README that comes with the data; counts and fingerprints of the
split files as DFER-CLIP, MAE-DFER and S2D ship them.
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
from dfercli.data.spec import BASIC_EXPRESSIONS, Choices, Listing, Source
from dfercli.data.tree import Found, Tree, by_number, find_clips, scan_tree
from dfercli.errors import ConfigError, DataError

MEDIA = ("faces", "faces-16f")

OFFICIAL = Official(
    BASIC_EXPRESSIONS,  # in the order of the official codes 1 to 7
    five_folds(
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
)

LISTS = (
    r"(?:.*/)?(?P<split>train|test)[ (_-]*single[ _-]*labell?ed\)?/set_(?P<fold>\d)\.csv",
    r"(?:.*/)?(?P<split>train|test)/set_(?P<fold>\d)\.csv",
    r"(?:.*/)?single_(?P<split>train|test)set_(?P<fold>\d)\.csv",
    r"(?:.*/)?(?P<split>train|test)_set_(?P<fold>\d)\.csv",
)
"""The authors' names first; then re-packaged ones; the last are those of the 0-based copies."""

FACES = r"clip_224x224|jpg_256|single_label/data"
FACES_16F = r"16f"
NO_FACES = r"16f|original|avi|annotation"

LOOKED_AT = 20
"""Clip folders looked at to tell resampled frames from all frames (our choice)."""


def read_sources(root: Path, choices: Choices) -> Listing:
    """Read the official lists and find the authors' face crops.

    Args:
        root: Folder that holds lists and crops, anywhere below.
        choices: `media` is `faces`, or `faces-16f` for the 16 frames that the authors resampled.

    Raises:
        DataError: Lists or crops are missing or do not hold together.
    """
    if choices.adopt is False:
        raise ConfigError("DFEW's faces are adopted as its authors cropped them; leave --crop out")
    tree = scan_tree(root)
    paths = find_lists(tree, LISTS, OFFICIAL.lists, "EmoLabel_DataSplit/train(single-labeled)/...")
    lists = {name: _read_list(root / path) for name, path in paths.items()}
    folds = join_folds(lists)
    resampled = choices.media == "faces-16f"
    faces = _find_resampled(tree) if resampled else _find_faces(tree)
    return Listing(
        tuple(
            Source(clip_id, faces.paths.get(clip_id), class_name, fold)
            for clip_id, (class_name, fold) in sorted(folds.items())
        ),
        OFFICIAL.class_names,
        "crops",
        "clip_224x224_16f" if resampled else "clip_224x224",
        (f"lists: {paths['test', 1]} and {len(paths) - 1} more", f"faces: {faces}"),
        (*compare_folds(lists), *compare_lists(OFFICIAL, lists)),
        remarks=(
            "16 resampled frames a clip (clip_224x224_16f): figures are not comparable with those "
            "on all frames",
        )
        * resampled,
    )


def _read_list(path: Path) -> dict[str, str]:
    codes = read_list(path, _parse_line)
    if codes and max(codes.values()) < str(len(BASIC_EXPRESSIONS)):
        raise DataError(
            f"{path}: its largest label is {max(codes.values())}, the authors' go to 7; "
            f"is it a 0-based copy? use EmoLabel_DataSplit"
        )
    return {clip_id: BASIC_EXPRESSIONS[int(code) - 1] for clip_id, code in codes.items()}


def _parse_line(line: str) -> tuple[str, str]:
    """Read `1,2` or `00001,2`."""
    match = re.fullmatch(r"\s*\"?(\d+)(?:\.mp4)?\"?\s*[,;\t ]\s*\"?(-?\d+)\"?\s*,?\s*", line)
    if not match:
        raise ValueError(f"{line.strip()!r} is not video_name,label")
    if not 1 <= int(match[2]) <= len(BASIC_EXPRESSIONS):
        raise ValueError(
            f"label {match[2]} of clip {match[1]} is not in 1 to 7: a list for another task, or a "
            f"0-based copy; use the single-labelled lists of EmoLabel_DataSplit"
        )
    return f"{int(match[1]):05d}", str(int(match[2]))


def _find_faces(tree: Tree) -> Found:
    faces = find_clips(tree.clips, FACES, NO_FACES, by_number)
    resampled = _find_resampled(tree)
    if not faces.paths and resampled.paths:
        raise DataError(
            f"only the 16 resampled frames a clip are there, in {tree.root / resampled.where}; "
            f"figures on them are not comparable; --media faces-16f uses them all the same"
        )
    looked_at = list(faces.paths.values())[:LOOKED_AT]
    if looked_at and all(_is_resampled(tree.root / path) for path in looked_at):
        raise DataError(
            f"{tree.root / faces.where} holds 16 frames a clip, 1 to 16: those that the authors "
            f"resampled; figures on them are not comparable; name the folder ..._16f and give "
            f"--media faces-16f to use them all the same"
        )
    return faces


def _find_resampled(tree: Tree) -> Found:
    marked = [path for path in tree.clips if re.search(FACES_16F, path, re.IGNORECASE)]
    return find_clips(marked, FACES_16F, r"original|avi", by_number)


def _is_resampled(folder: Path) -> bool:
    names = {path.stem for path in folder.iterdir() if not path.name.startswith(".")}
    return names == {str(number) for number in range(1, 17)}
