"""Where what belongs to each of many videos goes: one file a video, no two of them alike."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dfercli.bulk.inputs import Input
from dfercli.errors import ConfigError
from dfercli.predict.signs import printable

LONGEST = 200
"""Bytes of a name, before its suffix, from which it is cut (our choice): systems take 255, and
files that are not yet whole have longer names."""


def name_outputs(inputs: Sequence[Input], folder: Path, suffix: str) -> dict[str, Path]:
    """Give each input's file in a folder: its own path below their common folder, a new suffix.

    Where two videos differ in nothing but their suffixes, both keep them (`a.mov.png`).

    Args:
        inputs: Those that can be read.
        folder: Where the files go.
        suffix: Such as `.png`.

    Returns:
        A path by the name of its input.

    Raises:
        ConfigError: A file would take the place of one of the videos.
    """
    parts = _split_names(inputs)
    full = dict.fromkeys(parts, False)
    while True:
        made = {name: _join(*parts[name], full[name], folder, suffix) for name in parts}
        counts = Counter(str(path).casefold() for path in made.values())
        alike = [n for n, path in made.items() if counts[str(path).casefold()] > 1 and not full[n]]
        if not alike:
            break
        full |= dict.fromkeys(alike, True)
    made = _number(made)
    sources = {os.path.realpath(each.name) for each in inputs if not each.is_live}
    for name, path in made.items():
        if os.path.realpath(path) in sources:
            raise ConfigError(
                f"{printable(path)} is one of the videos, and would be replaced by what is made "
                f"of {printable(name)}; name another folder than {printable(folder)}"
            )
    return made


def _split_names(inputs: Sequence[Input]) -> dict[str, tuple[Path, str]]:
    """Give each input's path below the common folder without its suffix, and the suffix."""
    there = [each.name for each in inputs if not each.is_live]
    paths = {name: Path(os.path.normpath(Path(name).absolute())) for name in there}
    common = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    split = {}
    for each in inputs:
        if each.is_live:
            split[each.name] = (Path(_slug(each)), "")
        else:
            path = paths[each.name].relative_to(common)
            suffix = path.suffix if each.kind == "file" else ""
            split[each.name] = (path.with_name(path.name.removesuffix(suffix)), suffix)
    return split


def _slug(live: Input) -> str:
    """Give a stream's or camera's name as a file's; who may see it stays out."""
    if live.kind == "camera":
        return f"camera{live.name}"
    address = re.sub(r"^\w+://(?:[^/@]*@)?", "", live.name.partition("?")[0])
    return re.sub(r"[^\w.-]+", "_", address).strip("._") or "stream"


def _join(stem: Path, old: str, keep: bool, folder: Path, suffix: str) -> Path:
    name = stem.name + old * keep
    raw = os.fsencode(name)
    if len(raw) > LONGEST:
        short = raw[: LONGEST - 17].decode("utf-8", "ignore")
        name = f"{short}-{hashlib.sha256(raw).hexdigest()[:16]}"
    return folder / stem.parent / f"{name}{suffix}"


def _number(made: dict[str, Path]) -> dict[str, Path]:
    """Tell apart what is alike all the same: addresses, or names but for upper and lower case."""
    taken: set[str] = set()
    apart = {}
    for name, path in made.items():
        number, free = 1, path
        while str(free).casefold() in taken:
            number += 1
            free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        taken.add(str(free).casefold())
        apart[name] = free
    return apart
