"""FERV39k: 38,935 clips of 22 scenes in seven classes, one official split, crops by its authors.

Source: Wang et al., 2022; counts and fingerprints of the split files as DFER-CLIP, MAE-DFER and S2D
ship them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from dfercli.data.sources.base import BASIC_EXPRESSIONS, Choices, Listing
from dfercli.data.sources.find_media import Tree, find_clips, join_parts, scan_tree
from dfercli.data.sources.official_lists import (
    ADOPT_ONLY,
    Official,
    OfficialFrames,
    OfficialList,
    SplitLists,
    adopt_crops,
    build_listing,
    compare_lists,
    read_list,
    read_split_lists,
    require_authors_crops,
)
from dfercli.text import list_some

MEDIA = ("faces",)

EMOTIONS = {
    "happiness": "Happy",
    "sadness": "Sad",
    "neutral": "Neutral",
    "anger": "Angry",
    "surprise": "Surprise",
    "disgust": "Disgust",
    "fear": "Fear",
}
"""Name of each class in folders and lists."""

CLASSES = {emotion.lower(): class_name for class_name, emotion in EMOTIONS.items()}

_SCENES = (
    "Action Argue Business Conflict Contest Crime Crisis DailyLife ElegantArt Experiment "
    "History Interview Liveshow Medicine OfficialEvent ScholarReport School Social Speech "
    "Talkshow Terror War"
)
SCENES = tuple(_SCENES.split())

OFFICIAL = Official(
    BASIC_EXPRESSIONS,
    {
        ("train", 1): OfficialList((5854, 5523, 7790, 5906, 2502, 1833, 1680), "805e30928bf9"),
        ("test", 1): OfficialList((1473, 1393, 1958, 1487, 638, 467, 431), "991a280ca645"),
    },
    lambda clip_id, class_name: f"{clip_id} {EMOTIONS[class_name]}",
    {
        "2_ClipsforFaceCrop": OfficialFrames(
            8,
            47,
            {
                0: (165_165, 160_684, 199_970, 172_108, 70_630, 54_006, 48_024),
                1: (41_951, 40_872, 49_881, 43_364, 17_978, 13_657, 12_343),
            },
            "ceb7101cf733",
        )
    },
)

LISTS = (
    r"(?:.*/)?All_scenes/(?P<split>train|test)_All\.csv",
    r"(?:.*/)?(?P<split>train|test)_All\.(?:csv|txt)",
)

FACES = r"2_ClipsforFaceCrop"
NO_FACES = r"3_Clips|Scene?Images"

SCENES_BY_NAME = {scene.lower(): scene for scene in SCENES}


def read_sources(root: Path, choices: Choices) -> Listing:
    """Read the official split and find the authors' face crops, at any depth below the root.

    Of the choices, only `adopt` has a meaning here.

    Raises:
        ConfigError: The faces should be cropped again.
        DataError: Lists are missing or inconsistent.
    """
    require_authors_crops("FERV39k", choices)
    tree = scan_tree(root)
    splits = read_splits(tree)
    faces = join_parts(root, find_clips(tree.clips, find_clip_id, FACES, NO_FACES))
    return build_listing(
        OFFICIAL,
        tree,
        splits,
        faces,
        title="faces",
        usual_folder="2_ClipsforFaceCrop",
        taken_lists=f"lists: {splits.paths['train', 1]} and {splits.paths['test', 1]}",
        list_deviations=(*find_gaps(splits.join()), *compare_lists(OFFICIAL, splits.lists)),
        media=adopt_crops(faces, choices),
        media_name="2_ClipsforFaceCrop",
        answers=ADOPT_ONLY,
    )


def read_splits(tree: Tree) -> SplitLists:
    """Read the official lists; raise a DataError if one is missing or cannot be read."""
    example = "4_setups/All_scenes/train_All.csv"
    return read_split_lists(
        tree, LISTS, OFFICIAL, example, lambda path: read_list(path, _parse_line)
    )


def find_gaps(clip_ids: Iterable[str]) -> list[str]:
    """Describe clips that the lists omit: ids run from 0000 on in each scene and emotion."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for clip_id in clip_ids:
        folder, _, number = clip_id.rpartition("/")
        numbers[folder].add(int(number))
    missing = [
        f"{folder}/{number:04d}"
        for folder, listed in sorted(numbers.items())
        for number in sorted(set(range(max(listed))) - listed)
    ]
    return [f"the lists lack {list_some(missing, 'clip')}"] if missing else []


def find_clip_id(path: str) -> str | None:
    """Return the clip id of a folder `.../Action/Happy/0015`; None for another folder."""
    parts = path.split("/")[-3:]
    if len(parts) < 3 or parts[0].lower() not in SCENES_BY_NAME or parts[1].lower() not in CLASSES:
        return None
    if not parts[2].isdecimal():
        return None
    scene, emotion = SCENES_BY_NAME[parts[0].lower()], EMOTIONS[CLASSES[parts[1].lower()]]
    return f"{scene}/{emotion}/{int(parts[2]):04d}"


def _parse_line(line: str) -> tuple[str, str]:
    """Parse `Action/Happy/0015 Happy`."""
    match = re.fullmatch(r"\s*(?:.*/)?(\w+)/(\w+)/(\d+)/?\s*[\s,]\s*(\w+)\s*", line)
    if not match:
        raise ValueError("expected Scene/Emotion/number Emotion")
    scene, folder, number, emotion = match.groups()
    if scene.lower() not in SCENES_BY_NAME:
        raise ValueError(f"no scene {scene!r} in FERV39k; known: {', '.join(SCENES)}")
    if emotion.lower() not in CLASSES:
        raise ValueError(f"no emotion {emotion!r}; known: {', '.join(EMOTIONS.values())}")
    if folder.lower() != emotion.lower():
        raise ValueError(f"label {emotion} differs from the folder {folder}")
    class_name = CLASSES[emotion.lower()]
    return f"{SCENES_BY_NAME[scene.lower()]}/{EMOTIONS[class_name]}/{int(number):04d}", class_name
