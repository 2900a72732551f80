"""CREMA-D: 7,442 clips of 91 actors in six classes; five folds of consecutive actors.

Source: Cao et al., 2014 (ODbL 1.0); folds as MAE-DFER and HiCMAE use them.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dfercli.data.sources.base import Choices, Listing
from dfercli.data.sources.find_media import Tree, scan_tree
from dfercli.data.sources.named_clips import (
    NamedClip,
    NamedDataset,
    people,
    read_named,
    read_text,
)
from dfercli.errors import ConfigError, DataError

MEDIA = ("videos", "all")

CLASSES = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}

BROKEN = {
    "1076_MTI_NEU_XX": "broken as published",
    "1076_MTI_SAD_XX": "broken as published",
    "1064_TIE_SAD_XX": "broken as published",
    "1064_IEO_DIS_MD": "a minute with all expressions",
    "1040_ITH_SAD_XX": "left out by HiCMAE",
}
"""Clips that HiCMAE leaves out, which has 7,437."""

OFFICIAL = NamedDataset(
    "CREMA-D",
    tuple(CLASSES.values()),
    people((1001, 1018), (1019, 1036), (1037, 1054), (1055, 1072), (1073, 1091)),
    ((1463,), (1470,), (1475, 1476), (1474, 1476), (1555, 1557)),
    ((1271,), (1270, 1271), (1271,), (1271,), (1086, 1087), (1268, 1271)),
    "VideoFlash/1001_DFA_ANG_XX.flv",
    (
        "people recognise the intended expression in 58.2 % of the clips from the face alone, and "
        "in 63.6 % with sound (Cao et al., 2014)",
        "published, from video alone: WAR 77.83 (MultiMAE-DER), about 77.4 (SVFAP)",
    ),
)

NAME = re.compile(
    r"(1\d{3})_(IEO|TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI)_"
    r"(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)",
    re.IGNORECASE,
)
"""Actor, sentence, expression and intensity; older copies have a single X once."""

DEMOGRAPHICS = "VideoDemographics.csv"


def read_sources(root: Path, choices: Choices) -> Listing:
    """Find the clips, and the actors' age, sex and race if `VideoDemographics.csv` is there.

    Args:
        root: Folder with the repository, its videos at any depth, or an archive of them.
        choices: `media` is `videos`, which leaves out five clips, or `all`.

    Raises:
        ConfigError: Videos should be adopted as face crops.
        DataError: There are no clips, or files are stubs of Git LFS.
    """
    if choices.adopt:
        raise ConfigError("CREMA-D has videos, which have to be cropped; remove --adopt")
    tree = scan_tree(root, numbered=False)
    traits, origin = _read_demographics(tree)

    def parse(path: str) -> NamedClip | None:
        return parse_name(path, traits)

    listing = read_named(tree, OFFICIAL, parse, None if choices.media == "all" else BROKEN)
    return replace(listing, taken=(*listing.taken, origin))


def parse_name(
    path: str, traits: Mapping[int, Mapping[str, str]] | None = None
) -> NamedClip | None:
    """Return what a file's name tells; None if it is not a video of CREMA-D.

    Args:
        path: Path of the file.
        traits: Properties of the actors by their number.
    """
    match = NAME.fullmatch(Path(path).stem)
    if match is None:
        return None
    actor, sentence, emotion, level = (part.upper() for part in match.groups())
    level = "XX" if level == "X" else level
    clip_id = f"{actor}_{sentence}_{emotion}_{level}"
    return NamedClip(
        clip_id, CLASSES[emotion], int(actor), traits=(traits or {}).get(int(actor), {})
    )


def find_clip_id(path: str) -> str | None:
    """Return the clip id of a folder of crops; None for another folder."""
    clip = parse_name(Path(path).name)
    return None if clip is None else clip.clip_id


def _read_demographics(tree: Tree) -> tuple[dict[int, dict[str, str]], str]:
    """Return age, sex and race of each actor, empty without the file, and a line on its origin."""
    path = DEMOGRAPHICS
    try:
        file = read_text(tree, DEMOGRAPHICS)
        if file is None:
            return {}, f"people: sex, age and race are unknown, as there is no {DEMOGRAPHICS}"
        path, text = file
        traits = {
            int(row["ActorID"]): {
                "sex": row["Sex"].strip().lower(),
                "age": str(int(row["Age"])),
                "race": row["Race"].strip().lower(),
            }
            for row in csv.DictReader(text.splitlines())
        }
        return traits, f"people: sex, age and race from {path}"
    except (KeyError, ValueError, AttributeError, TypeError, csv.Error) as error:
        raise DataError(
            f"{tree.root / path} is not the published table of actors: {type(error).__name__} "
            f"{error}; download it again, or remove it to do without"
        ) from error
