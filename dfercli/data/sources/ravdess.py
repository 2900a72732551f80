"""RAVDESS: 1,440 spoken clips of 24 actors in eight classes; six folds of four actors each.

Source: Livingstone and Russo, 2018 (Zenodo record 1188976, CC BY-NC-SA 4.0); folds as MAE-DFER,
SVFAP and HiCMAE use them.
"""

import re
from pathlib import Path

from dfercli.data.sources.base import Choices, Listing
from dfercli.data.sources.find_media import scan_tree
from dfercli.data.sources.named_clips import NamedClip, NamedDataset, people, read_named
from dfercli.errors import ConfigError

MEDIA = ("speech", "song")

CLASS_NAMES = (
    "neutral",
    "calm",
    "happiness",
    "sadness",
    "anger",
    "fear",
    "disgust",
    "surprise",
)
"""In the order of the numbers 01 to 08 in file names."""

FOLDS = people((1, 4), (5, 8), (9, 12), (13, 16), (17, 20), (21, 24))

OFFICIAL = NamedDataset(
    "RAVDESS",
    CLASS_NAMES,
    FOLDS,
    ((240,),) * 6,
    ((96,), *((192,),) * 7),
    "Actor_01/01-01-03-02-01-01-01.mp4, or Video_Speech_Actor_01.zip",
    ("published, from video alone: WAR about 75.0 (SVFAP), about 63 before it",),
)

SUNG_CLASSES = CLASS_NAMES[:6]

SONG = NamedDataset(
    "RAVDESS (song)",
    SUNG_CLASSES,
    FOLDS,
    ((176,), (176,), (176,), (176,), (132,), (176,)),
    ((92,), *((184,),) * 5),
    "Actor_01/01-02-03-02-01-01-01.mp4, or Video_Song_Actor_01.zip",
)
"""Actor 18 did not sing. Neutral has no strong intensity; disgust and surprise are not sung."""

NAME = re.compile(r"(0[12])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)", re.IGNORECASE)
"""Modality, channel, expression, intensity, statement, repetition and actor."""

SONG_REMARK = "song instead of speech: not comparable with published results"


def read_sources(root: Path, choices: Choices) -> Listing:
    """Find the spoken or sung clips; of recordings with and without sound, one is used.

    Args:
        root: Folder with archives or videos at any depth.
        choices: `media` is `speech`, the default, or `song`.

    Raises:
        ConfigError: Videos should be adopted as face crops.
        DataError: There are no clips.
    """
    if choices.adopt:
        raise ConfigError("RAVDESS has videos, which have to be cropped; remove --adopt")
    sung = choices.media == "song"
    dataset, channel = (SONG, "02") if sung else (OFFICIAL, "01")

    def parse(path: str) -> NamedClip | None:
        clip = parse_name(path)
        return clip if clip is not None and clip.clip_id.startswith(channel) else None

    return read_named(
        scan_tree(root, numbered=False), dataset, parse, remarks=(SONG_REMARK,) if sung else ()
    )


def parse_name(path: str) -> NamedClip | None:
    """Return what a file's name tells; None if it is not a video of RAVDESS.

    Modality 01 has sound and 02 has none, with the same pictures; 01 is preferred.
    """
    match = NAME.fullmatch(Path(path).stem)
    if match is None:
        return None
    modality, *others = match.groups()
    actor = int(match[7])
    sex = "male" if actor % 2 else "female"
    return NamedClip(
        "-".join(others), CLASS_NAMES[int(match[3]) - 1], actor, int(modality), {"sex": sex}
    )


def find_clip_id(path: str) -> str | None:
    """Return the clip id of a folder of crops; None for another folder."""
    name = Path(path).name
    return name if NAME.fullmatch(f"01-{name}") else None
