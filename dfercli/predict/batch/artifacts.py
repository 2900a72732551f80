"""Output files: timelines and annotated videos, one per video, and checks before prediction."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from dfercli.errors import ConfigError, require_known
from dfercli.files import check_claim, claim_files
from dfercli.media.images import IMAGE_SUFFIXES
from dfercli.predict.batch.formats import OF_ONE_VIDEO, WRITERS, check_parquet, is_document
from dfercli.predict.batch.inputs import Input, OnProgress
from dfercli.predict.hashes import hash_content
from dfercli.predict.prediction import plain_text
from dfercli.text import printable

if TYPE_CHECKING:
    from dfercli.predict.prediction import VideoPrediction

OUT_SUFFIXES = (".json", ".jsonl", ".csv", ".parquet", *OF_ONE_VIDEO)

LONGEST = 200
"""Maximum length of a name without suffix in bytes (our choice): file systems allow 255, and
temporary names are longer."""


@dataclass(frozen=True)
class Artifacts:
    """Paths of the timelines and annotated videos, by the names of the inputs; picklable.

    `blur` names the faces that are blurred in annotated videos; None for none.
    """

    plots: dict[str, Path] = field(default_factory=dict)
    annotated: dict[str, Path] = field(default_factory=dict)
    blur: str | None = None

    @property
    def keep_paths(self) -> bool:
        """Whether predictions must keep the box of each face in each frame."""
        return bool(self.annotated)

    def make(
        self, video: Input, prediction: "VideoPrediction", on_progress: OnProgress | None = None
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Write the files of a video; return notes, and the SHA-256 of each file by its name."""
        from dfercli.visualize.annotated_video import annotate_video
        from dfercli.visualize.timeline import plot_prediction

        report = on_progress or (lambda *values: None)
        length_s = prediction.end_s
        notes = []
        for path in self._list_files(video):
            path.parent.mkdir(parents=True, exist_ok=True)
        if plot := self.plots.get(video.name):
            report(video, "drawing", 0.0, length_s)
            plot_prediction(prediction, plot)
            notes.append(f"picture: {plot}")
        annotated = self.annotated.get(video.name)
        if annotated is not None and video.path is not None:
            written = annotate_video(
                prediction,
                video.path,
                annotated,
                blur=self.blur,
                on_frame=lambda at_s: report(video, "annotating", at_s, length_s),
            )
            silent = f" (without sound: {written.why_silent})" if written.why_silent else ""
            notes.append(f"annotated: {annotated}{silent}")
        return tuple(notes), {
            self._describe(path, video): hash_content(path) for path in self._list_files(video)
        }

    def are_made(self, video: Input, pictures: Mapping[str, str]) -> bool:
        """Return whether the files of a video exist and have these hashes."""
        return all(
            path.is_file() and pictures.get(self._describe(path, video)) == hash_content(path)
            for path in self._list_files(video)
        )

    def _describe(self, path: Path, video: Input) -> str:
        """Return a file's name, and the blurred faces, so that it is made again without them."""
        blurred = self.blur is not None and path == self.annotated.get(video.name)
        return plain_text(f"{path} (blurred: {self.blur})" if blurred else str(path))

    def _list_files(self, video: Input) -> list[Path]:
        paths = (self.plots.get(video.name), self.annotated.get(video.name))
        return [path for path in paths if path is not None]


def plan_artifacts(
    inputs: Sequence[Input], plot: Path | None, annotate: Path | None, blur: str | None = None
) -> Artifacts | None:
    """Return the paths of the timelines and annotated videos; None if neither is requested.

    Raises:
        ConfigError: A path is a file although there are several videos, a folder is not writable,
            a suffix is unknown, a stream is to be annotated, or `blur` has no annotated video.
    """
    if blur is not None and annotate is None:
        raise ConfigError("faces are blurred in annotated videos; choose one with --annotate")
    if plot is None and annotate is None:
        return None
    from dfercli.visualize.annotated_video import check_annotated
    from dfercli.visualize.blur import BLUR
    from dfercli.visualize.timeline import check_picture

    if blur is not None:
        require_known("choice of blurred faces", blur, BLUR)
    live = [video.name for video in inputs if video.is_live]
    if annotate is not None and live:
        raise ConfigError(
            f"--annotate does not work with streams and cameras ({live[0]}), because it reads the "
            f"video twice; record it to a file first"
        )
    readable = [video for video in inputs if video.error is None]
    single = inputs[0] if len(inputs) == 1 else None

    def check_video(path: Path) -> None:
        check_annotated(path, single.path if single and single.path else path)

    return Artifacts(
        _name_files("--plot", plot, readable, ".png", check_picture if single else None),
        _name_files("--annotate", annotate, readable, ".mp4", check_video if single else None),
        blur,
    )


def _name_files(
    option: str,
    where: Path | None,
    inputs: Sequence[Input],
    suffix: str,
    check: Callable[[Path], None] | None,
) -> dict[str, Path]:
    """Return the output file of each input by its name: `where` itself, or a file in this folder.

    `check` checks the name of a single file; it is None if there are several videos.
    """
    if where is None:
        return {}
    check_writable(where)
    if check is not None and where.suffix and not where.is_dir():
        check(where)
        files = {video.name: where for video in inputs}
        _check_places(option, where, inputs, files)
        return files
    if where.is_file() or where.suffix.lower() == suffix:
        raise ConfigError(
            f"{option} {where} is a single file, but there are several videos; use a folder"
        )
    files = name_outputs(inputs, where, suffix)
    _check_places(option, where, inputs, files)
    check_claim(files.values())
    claim_files(files.values())
    return files


def _check_places(
    option: str, where: Path, inputs: Sequence[Input], files: Mapping[str, Path]
) -> None:
    """Check that no output file is in a folder of input images, which the next call would read."""
    folders = [Path(video.name) for video in inputs if video.kind == "frames"]
    if len(inputs) > 1:
        paths = [Path(video.name) for video in inputs if video.kind == "file"]
        folders += [path.parent for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    read = {os.path.realpath(folder) for folder in folders}
    if not read.isdisjoint(os.path.realpath(file.parent) for file in files.values()):
        raise ConfigError(
            f"{option} {where} is in a folder of input images, so the next call would read the "
            f"output as input; choose another folder"
        )


def name_outputs(inputs: Sequence[Input], folder: Path, suffix: str) -> dict[str, Path]:
    """Return an output file for each input, with its path relative to their common folder.

    Videos that differ only in their suffixes keep them (`a.mov.png`).

    Raises:
        ConfigError: A file would replace one of the videos.
    """
    parts = _split_names(inputs)
    full = dict.fromkeys(parts, False)
    while True:
        files = {name: _join(*parts[name], full[name], folder, suffix) for name in parts}
        counts = Counter(str(path).casefold() for path in files.values())
        equal = [n for n, path in files.items() if counts[str(path).casefold()] > 1 and not full[n]]
        if not equal:
            break
        full |= dict.fromkeys(equal, True)
    files = _number(files)
    sources = {os.path.realpath(video.name) for video in inputs if not video.is_live}
    for name, path in files.items():
        if os.path.realpath(path) in sources:
            raise ConfigError(
                f"the output of {printable(name)} would replace the input {printable(path)}; "
                f"choose another folder than {printable(folder)}"
            )
    return files


def _split_names(inputs: Sequence[Input]) -> dict[str, tuple[Path, str]]:
    """Return each input's path relative to the common folder without its suffix, and the suffix."""
    names = [video.name for video in inputs if not video.is_live]
    paths = {name: Path(os.path.normpath(Path(name).absolute())) for name in names}
    common = os.path.commonpath([path.parent for path in paths.values()]) if paths else ""
    parts = {}
    for video in inputs:
        if video.is_live:
            parts[video.name] = (Path(_name_stream(video)), "")
        else:
            path = paths[video.name].relative_to(common)
            suffix = path.suffix if video.kind == "file" else ""
            parts[video.name] = (path.with_name(path.name.removesuffix(suffix)), suffix)
    return parts


def _name_stream(video: Input) -> str:
    """Return a file name for a stream or camera, without user and password."""
    if video.kind == "camera":
        return f"camera{video.name}"
    address = re.sub(r"^\w+://(?:[^/@]*@)?", "", video.name.partition("?")[0])
    return re.sub(r"[^\w.-]+", "_", address).strip("._") or "stream"


def _join(stem: Path, old: str, keep: bool, folder: Path, suffix: str) -> Path:
    name = stem.name + old if keep else stem.name
    raw = os.fsencode(name)
    if len(raw) > LONGEST:
        short = raw[: LONGEST - 17].decode("utf-8", "ignore")
        name = f"{short}-{hashlib.sha256(raw).hexdigest()[:16]}"
    return folder / stem.parent / f"{name}{suffix}"


def _number(files: Mapping[str, Path]) -> dict[str, Path]:
    """Number files with the same name, of streams or if upper and lower case are ignored."""
    taken: set[str] = set()
    numbered = {}
    for name, path in files.items():
        number, free = 1, path
        while str(free).casefold() in taken:
            number += 1
            free = path.with_name(f"{path.stem}-{number}{path.suffix}")
        taken.add(str(free).casefold())
        numbered[name] = free
    return numbered


def check_out(out: Path, inputs: Sequence[Input]) -> None:
    """Check that predictions can be written to a file.

    Raises:
        ConfigError: The suffix is unknown, the folder is not writable, pyarrow is missing, or the
            file is one of the videos or was not written by dfer.
    """
    suffix = out.suffix.lower()
    if suffix not in OUT_SUFFIXES:
        known = ", ".join(OUT_SUFFIXES)
        raise ConfigError(f"unknown suffix of --out {out}; use one of {known}")
    if suffix in OF_ONE_VIDEO and len(inputs) != 1:
        raise ConfigError(f"--out {out} is for a single video; use .json, .jsonl, .csv or .parquet")
    check_writable(out)
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; name a file in it")
    if suffix == ".parquet":
        check_parquet(out)
    if os.path.lexists(out) and suffix in WRITERS and not is_document(out):
        raise ConfigError(f"--out {out} exists and was not written by dfer; choose another file")
    if any(os.path.realpath(video.name) == os.path.realpath(out) for video in inputs):
        raise ConfigError(f"--out {out} is one of the input videos; choose another file")


def check_writable(path: Path) -> None:
    """Raise a ConfigError unless the file or folder can be created."""
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write {path}: {parent} is not a writable folder")
