"""CREMA-D: 7,442 clips of 91 actors in six classes; five folds of consecutive actors.

Source: Cao et al., 2014 (ODbL 1.0); folds as MAE-DFER and HiCMAE use them.
"""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from dfercli.data.sources.base import Choices, Listing, Source
from dfercli.data.sources.find_media import Tree, scan_tree
from dfercli.data.sources.named_clips import (
    NamedClip,
    NamedDataset,
    people,
    read_named,
    read_text,
)
from dfercli.errors import ConfigError, DataError
from dfercli.text import count_of

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

VOTES = "tabulatedVotes.csv"

FACE_ONLY = re.compile(r"2\d{5}")
"""Row ids of votes on the silent video; those of sound alone begin with 1, of both with 3."""

Row = Mapping[str, str]
Content = TypeVar("Content")


def read_sources(root: Path, choices: Choices) -> Listing:
    """Find the clips, the actors' age, sex and race, and the votes of raters on the silent videos.

    The last two come from `VideoDemographics.csv` and `tabulatedVotes.csv`, if these files exist.

    Args:
        root: Folder with the repository, its videos at any depth, or an archive of them.
        choices: `media` is `videos`, which leaves out five clips, or `all`.

    Raises:
        ConfigError: Videos should be adopted as face crops.
        DataError: There are no clips, files are stubs of Git LFS, or a table is damaged.
    """
    if choices.adopt:
        raise ConfigError("CREMA-D has videos, which have to be cropped; remove --adopt")
    tree = scan_tree(root, numbered=False)
    traits, origin = _read_demographics(tree)
    votes, votes_path = _read_votes(tree)

    def parse(path: str) -> NamedClip | None:
        return parse_name(path, traits)

    listing = read_named(tree, OFFICIAL, parse, None if choices.media == "all" else BROKEN)
    sources = tuple(replace(s, votes=votes.get(s.clip_id, {})) for s in listing.sources)
    taken = (*listing.taken, origin, _describe_votes(sources, votes_path))
    return replace(listing, sources=sources, taken=taken)


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

    def parse(rows: list[Row]) -> dict[int, dict[str, str]]:
        return {
            int(row["ActorID"]): {
                "sex": row["Sex"].strip().lower(),
                "age": str(int(row["Age"])),
                "race": row["Race"].strip().lower(),
            }
            for row in rows
        }

    table = _read_table(tree, DEMOGRAPHICS, "actors", parse)
    if table is None:
        return {}, f"people: sex, age and race are unknown, as there is no {DEMOGRAPHICS}"
    path, traits = table
    return traits, f"people: sex, age and race from {path}"


def _read_votes(tree: Tree) -> tuple[Mapping[str, Mapping[str, int]], str | None]:
    """Return the votes for each class by clip id, and the path of the table; None without it.

    Only votes on the silent video count, as a model sees no more.
    """
    letters = {code[0]: class_name for code, class_name in CLASSES.items()}

    def parse(rows: list[Row]) -> dict[str, Counter[str]]:
        votes: dict[str, Counter[str]] = defaultdict(Counter)
        for row in rows:
            clip = parse_name(row["fileName"])
            row_id = next(iter(row.values()))
            if clip is not None and FACE_ONLY.fullmatch(row_id):
                votes[clip.clip_id].update({letters[key]: int(row[key]) for key in letters})
        return votes

    table = _read_table(tree, VOTES, "votes", parse)
    return ({}, None) if table is None else (table[1], table[0])


def _describe_votes(sources: tuple[Source, ...], path: str | None) -> str:
    """Return a line on the votes, and on how often they are for the intended expression."""
    if path is None:
        return f"votes: none, as there is no {VOTES}"
    voted = [source for source in sources if sum(source.votes.values())]
    total = sum(sum(source.votes.values()) for source in voted)
    intended = sum(source.votes[source.class_name] for source in voted)
    share = f"; {intended / total:.1%} of them are for the intended expression" if total else ""
    clips = count_of(len(voted), "clip")
    return f"votes: on the silent videos of {clips}, from {path}{share}"


def _read_table(
    tree: Tree, name: str, content: str, parse: Callable[[list[Row]], Content]
) -> tuple[str, Content] | None:
    """Return where a published CSV file is and what it contains; None without it.

    Raises:
        DataError: It is not the published file.
    """
    path = name
    try:
        file = read_text(tree, name)
        if file is None:
            return None
        path, text = file
        return path, parse(list(csv.DictReader(text.splitlines())))
    except (KeyError, ValueError, AttributeError, TypeError, csv.Error) as error:
        raise DataError(
            f"{tree.root / path} is not the published table of {content}: {type(error).__name__} "
            f"{error}; download it again, or remove it to do without"
        ) from error
