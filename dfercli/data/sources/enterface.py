"""eNTERFACE'05: 1,287 clips of 43 people in six classes; five folds of consecutive people.

Source: Martin et al., 2006; folds as HiCMAE uses them.
"""

import re
from pathlib import Path

from dfercli.data.sources.base import Choices, Listing
from dfercli.data.sources.find_media import scan_tree
from dfercli.data.sources.named_clips import NamedClip, NamedDataset, people, read_named
from dfercli.errors import ConfigError

MEDIA = ()

CLASSES = {
    "an": "anger",
    "di": "disgust",
    "fe": "fear",
    "ha": "happiness",
    "sa": "sadness",
    "su": "surprise",
}

OFFICIAL = NamedDataset(
    "eNTERFACE'05",
    tuple(CLASSES.values()),
    people((1, 10), (11, 19), (20, 28), (29, 37), (38, 44)),
    ((270,), (270,), (267,), (270,), (210,)),
    (),
    "subject 1/anger/sentence 1/s1_an_1.avi",
)

ABSENT = 6
"""Subject whose recordings are not cut into sentences."""

FOLDERS = re.compile(
    rf"(?:^|/)subject[ _-]*(\d+)/({'|'.join(CLASSES.values())})/sentence[ _-]*([1-5])/[^/]+$",
    re.IGNORECASE,
)

NAME = re.compile(rf"s(?:ubject)?[ _]?(\d+)_({'|'.join(CLASSES)})_([1-5])", re.IGNORECASE)

CLIP_ID = re.compile(rf"s\d\d_(?:{'|'.join(CLASSES.values())})_[1-5]")


def read_sources(root: Path, choices: Choices) -> Listing:
    """Find the clips by their folders, or by their names if they lie elsewhere.

    Args:
        root: Folder with the archive or the videos at any depth.
        choices: Only `adopt` is read.

    Raises:
        ConfigError: Videos should be adopted as face crops.
        DataError: There are no clips.
    """
    if choices.adopt:
        raise ConfigError("eNTERFACE'05 has videos, which have to be cropped; remove --adopt")
    return read_named(scan_tree(root, numbered=False), OFFICIAL, parse_name)


def parse_name(path: str) -> NamedClip | None:
    """Return what a file's path tells; None if it is not a clip of eNTERFACE'05."""
    match = FOLDERS.search(path)
    if match is not None:
        emotion = match[2].lower()
    else:
        match = NAME.fullmatch(Path(path).stem)
        if match is None:
            return None
        emotion = CLASSES[match[2].lower()]
    person, sentence = int(match[1]), match[3]
    if person == ABSENT:
        return None
    return NamedClip(f"s{person:02d}_{emotion}_{sentence}", emotion, person)


def find_clip_id(path: str) -> str | None:
    """Return the clip id of a folder of crops; None for another folder."""
    name = Path(path).name
    return name if CLIP_ID.fullmatch(name) else None
