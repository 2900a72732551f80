"""Files made of predictions: checked before any work, named one per video."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dfercli.errors import ConfigError
from dfercli.owned import check_claim, claim_files
from dfercli.predict.batch.inputs import Input
from dfercli.text import printable

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


if TYPE_CHECKING:
    from dfercli.predict import VideoPrediction
    from dfercli.predict.batch.attempt import Made, Watch
    from dfercli.predict.batch.inputs import Input

OUT_SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class Pictures:
    """A picture and an annotated video of each prediction; can be sent to other processes.

    Attributes:
        plots: File of the picture by the name of the input.
        annotated: File of the annotated video.
    """

    plots: dict[str, Path] = field(default_factory=dict)
    annotated: dict[str, Path] = field(default_factory=dict)

    @property
    def keep_paths(self) -> bool:
        """Whether the faces' places in each frame are needed."""
        return bool(self.annotated)

    def __call__(self, each: "Input", prediction: "VideoPrediction", watch: "Watch") -> "Made":
        """Make both of a video, as far as they are asked for."""
        from dfercli.predict.batch.attempt import Made
        from dfercli.predict.batch.origin import hash_content
        from dfercli.visualize import annotate_video, plot_prediction

        said = []
        if each.name in self.plots:
            path = self.plots[each.name]
            path.parent.mkdir(parents=True, exist_ok=True)
            watch("drawing", lambda: 0.0)
            plot_prediction(prediction, path)
            said.append(f"picture: {path}")
        if each.name in self.annotated and each.path is not None:
            path = self.annotated[each.name]
            path.parent.mkdir(parents=True, exist_ok=True)
            times_s = [0.0]
            watch("annotating", lambda: times_s[-1])
            on_frame = partial(times_s.__setitem__, 0)
            written = annotate_video(prediction, each.path, path, on_frame=on_frame)
            silent = f" (without sound: {written.why_silent})" if written.why_silent else ""
            said.append(f"annotated: {path}{silent}")
        return Made(tuple(said), {_key(path): hash_content(path) for path in self._wanted(each)})

    def is_made(self, each: "Input", pictures: Mapping[str, str]) -> bool:
        """Whether both are there, to the byte as they were made of this prediction."""
        from dfercli.predict.batch.origin import hash_content

        return all(
            path.is_file() and pictures.get(_key(path)) == hash_content(path)
            for path in self._wanted(each)
        )

    def _wanted(self, each: "Input") -> list[Path]:
        found = (self.plots.get(each.name), self.annotated.get(each.name))
        return [path for path in found if path is not None]


def _key(path: Path) -> str:
    """Give the name by which a journal knows a file."""
    from dfercli.predict.batch.formats import plain_text

    return plain_text(str(path))


def plan_pictures(
    inputs: Sequence["Input"], plot: Path | None, annotate: Path | None
) -> Pictures | None:
    """Name each video's picture and annotated video; None where none is asked for.

    Raises:
        ConfigError: A file is named for several videos, a folder cannot be written, the format is
            unknown, or a stream is to be annotated.
    """
    if plot is None and annotate is None:
        return None
    from dfercli.visualize import check_annotated, check_picture

    live = [each.name for each in inputs if each.is_live]
    if annotate is not None and live:
        raise ConfigError(
            f"{live[0]} cannot be annotated: a stream or camera cannot be read a second time; "
            f"record it, and annotate the file"
        )
    readable = [each for each in inputs if each.error is None]
    single = inputs[0] if len(inputs) == 1 else None

    def check_video(path: Path) -> None:
        check_annotated(path, single.path if single and single.path else path)

    return Pictures(
        _name_files("--plot", plot, readable, ".png", check_picture if single else None),
        _name_files("--annotate", annotate, readable, ".mp4", check_video if single else None),
    )


def _name_files(
    option: str,
    where: Path | None,
    inputs: Sequence["Input"],
    suffix: str,
    check: Callable[[Path], None] | None,
) -> dict[str, Path]:
    """Name a file for each input: the one that is named, or below a folder.

    Args:
        option: For errors.
        where: As typed.
        inputs: That can be read.
        suffix: Of files in a folder.
        check: Checks the name of a single file; None where there are several.
    """
    if where is None:
        return {}
    check_writable(where)
    if check is not None and where.suffix and not where.is_dir():
        check(where)
        return _check_places(option, where, inputs, {each.name: where for each in inputs})
    if where.is_file() or where.suffix.lower() == suffix:
        raise ConfigError(
            f"{option} {where} is one file, and there are several videos; name a folder"
        )
    files = _check_places(option, where, inputs, name_outputs(inputs, where, suffix))
    check_claim(files.values())
    claim_files(files.values())
    return files


def _check_places(
    option: str, where: Path, inputs: Sequence["Input"], files: dict[str, Path]
) -> dict[str, Path]:
    """Give the files back, unless one would be read as a frame or a photo next time."""
    from dfercli.media.images import IMAGE_SUFFIXES

    paths = [Path(each.name) for each in inputs if each.kind == "file"]
    folders = [Path(each.name) for each in inputs if each.kind == "frames"]
    if len(inputs) > 1:
        folders += [path.parent for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    read = {os.path.realpath(folder) for folder in folders}
    if not read.isdisjoint(os.path.realpath(file.parent) for file in files.values()):
        raise ConfigError(
            f"{option} {where} would put a file among images that are read, where the next call "
            f"reads it too; name another folder"
        )
    return files


def check_out(out: Path, inputs: Sequence["Input"]) -> None:
    """Refuse a file that predictions cannot be written to.

    Raises:
        ConfigError: Its suffix tells no format, its folder cannot be written, pyarrow is missing,
            it is one of the videos, or somebody's own.
    """
    from dfercli.predict.batch.formats import WRITERS, check_parquet, is_document

    if out.suffix.lower() not in OUT_SUFFIXES:
        known = ", ".join(OUT_SUFFIXES)
        raise ConfigError(f"--out {out} tells no format; name it with one of {known}")
    check_writable(out)
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a file in it")
    if out.suffix.lower() == ".parquet":
        check_parquet(out)
    if os.path.lexists(out) and out.suffix.lower() in WRITERS and not is_document(out):
        raise ConfigError(f"--out {out} is there, and dfer did not write it; name another file")
    if any(os.path.realpath(each.name) == os.path.realpath(out) for each in inputs):
        raise ConfigError(f"--out {out} is one of the videos; name another file")


def check_writable(path: Path) -> None:
    """Refuse a path below what is no folder, or not ours to write in.

    Raises:
        ConfigError: It is.
    """
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write {path}: {parent} is no folder that can be written to")
