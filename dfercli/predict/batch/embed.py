"""Embeddings of many videos: one vector per window and face, in one file."""

import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np

from dfercli.errors import EXIT_SKIPPED, ConfigError, NoFaceError, VideoError
from dfercli.files import hash_text, replacing
from dfercli.predict.batch.artifacts import check_writable
from dfercli.predict.batch.formats import check_parquet
from dfercli.predict.batch.inputs import Input, find_inputs
from dfercli.predict.batch.read_video import explain
from dfercli.predict.hashes import hash_content, identify
from dfercli.predict.model_info import ModelInfo
from dfercli.predict.prediction import Record, describe_origin
from dfercli.predict.predictor import ModelSource, Predictor
from dfercli.predict.settings import PredictSettings
from dfercli.text import printable

COLUMNS = ("video", "track", "start_s", "end_s", "embedding")
"""Arrays of an `.npz` file and columns of a table."""

Row = tuple[str, int, float, float, np.ndarray]
"""Video, face, start, end and embedding of a window."""

OnVideo = Callable[[str, int, str | None], object]
"""Called after each video with its name, its number of windows, and its error in one line."""


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of N windows, in the order of videos, then of time, then of faces.

    Attributes:
        video: Name of the video of each window.
        track: (N,) number of the face within its video, from 1.
        start_s: (N,) start of the window in seconds.
        end_s: (N,) its end.
        embedding: (N, E) float32, the model's video embeddings.
        origin: Model and settings, as in the documents of predictions.
        faults: Errors, one line for each unreadable video.
        without_face: Names of the videos without any window.
    """

    video: list[str]
    track: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray
    embedding: np.ndarray
    origin: Record
    faults: list[str] = field(default_factory=list)
    without_face: list[str] = field(default_factory=list)

    @property
    def is_useful(self) -> bool:
        """Whether any video could be read; otherwise no file is written."""
        return bool(self.video or self.without_face)

    @property
    def exit_code(self) -> int:
        """0 if all videos have a face, 4 if one could not be read, else 3."""
        if self.faults:
            return EXIT_SKIPPED
        return NoFaceError.exit_code if self.without_face else 0


def _ignore(*values: object) -> None:
    """Ignore the arguments: the default callback."""


def embed_videos(
    videos: str | Path | Iterable[str | Path | Input],
    model: Predictor | ModelSource | str | Path | Callable[[], ModelSource],
    settings: PredictSettings | None = None,
    *,
    out: str | Path | None = None,
    device: str = "auto",
    on_model: Callable[[ModelInfo], object] = _ignore,
    on_video: OnVideo = _ignore,
) -> Embeddings:
    """Embed each face in each window of videos by the model's `encode_video`.

    Faces and windows are those of `predict_videos`. Windows in which too few frames show the face
    are left out. A video that cannot be read stops no other. The file is written at the end; if no
    video can be read, it stays as it is. After an interruption, the same call continues.

    Args:
        videos: Paths, folders and patterns.
        model: As for `predict_videos`.
        settings: Windows, faces and part of the videos.
        out: File to write: `.npz` or `.parquet`.
        device: Device of a model that is given by its name.
        on_model: Called with the model before any video is read.
        on_video: Called after each video.

    Raises:
        ConfigError: An argument is invalid, or the file cannot be written.
        DferError: The model cannot be loaded.
    """
    settings = settings or PredictSettings()
    settings.check()
    arguments = [videos] if isinstance(videos, str | Path) else list(videos)
    names = [str(video) for video in arguments if not isinstance(video, Input)]
    inputs = [video for video in arguments if isinstance(video, Input)] + find_inputs(names)
    _check_inputs(inputs)
    if out is not None:
        check_out(Path(out))
    predictor = _load(model, device)
    on_model(predictor)
    origin = describe_origin(predictor, predictor.resolve(settings))
    finished = None if out is None else _FinishedVideos(Path(out), origin)
    embeddings = _embed_all(inputs, predictor, settings, origin, on_video, finished)
    if out is not None and finished is not None and embeddings.is_useful:
        WRITERS[Path(out).suffix.lower()](Path(out), embeddings)
        finished.remove()
    return embeddings


class _FinishedVideos:
    """Embeddings of finished videos, one file each in a folder beside `out` until that is written.

    A file is used again for a video with the same name and content, by the same model and settings.
    """

    def __init__(self, out: Path, origin: Record) -> None:
        self._folder = out.with_name(f".{out.name}.finished")
        self._origin = json.dumps(origin, sort_keys=True)

    def find_file(self, video: Input) -> Path:
        """Return the file of a video, which need not exist."""
        parts = [self._origin, video.title, hash_content(Path(video.name))]
        return self._folder / f"{hash_text(json.dumps(parts))}.npz"

    def read(self, file: Path, title: str) -> list[Row] | None:
        """Return the rows in a file; None if there is no such file or it is damaged."""
        try:
            with np.load(file) as arrays:
                columns = [arrays[name].tolist() for name in COLUMNS[1:-1]]
                titles = [title] * len(columns[0])
                return list(zip(titles, *columns, arrays["embedding"], strict=True))
        except (OSError, ValueError, KeyError, BadZipFile):
            return None

    def remove(self) -> None:
        """Remove the files of this class."""
        with suppress(OSError):
            for file in self._folder.iterdir():
                if re.fullmatch(r"[0-9a-f]{64}\.npz", file.name):
                    file.unlink()
            self._folder.rmdir()


def _check_inputs(inputs: Sequence[Input]) -> None:
    if not inputs:
        raise ConfigError("no videos to embed; name files or folders")
    for video in inputs:
        if video.is_live:
            raise ConfigError(
                f"streams and cameras ({video.title}) cannot be embedded; record it to a file first"
            )


def _load(
    model: Predictor | ModelSource | str | Path | Callable[[], ModelSource], device: str
) -> Predictor:
    if isinstance(model, str | Path):
        model = ModelSource(str(model), device=device)
    source = model() if callable(model) else model
    return source.load() if isinstance(source, ModelSource) else source


def _embed_all(
    inputs: Sequence[Input],
    predictor: Predictor,
    settings: PredictSettings,
    origin: Record,
    on_video: OnVideo,
    finished: _FinishedVideos | None,
) -> Embeddings:
    rows: list[Row] = []
    faults, without_face = [], []
    for video in inputs:
        try:
            own = _embed(video, predictor, settings, origin, finished)
        except Exception as error:
            fault = explain(error)
            name = printable(video.title)
            faults.append(fault if name in fault else f"{name}: {fault}")
            on_video(video.title, 0, faults[-1])
            continue
        if not own:
            without_face.append(video.title)
        rows += own
        on_video(video.title, len(own), None)
    return _join(rows, origin, faults, without_face)


def _join(
    rows: Sequence[Row],
    origin: Record,
    faults: Sequence[str] = (),
    without_face: Sequence[str] = (),
) -> Embeddings:
    titles, tracks, starts_s, ends_s, vectors = zip(*rows, strict=True) if rows else ((),) * 5
    return Embeddings(
        video=list(titles),
        track=np.array(tracks, np.int64),
        start_s=np.array(starts_s, np.float64),
        end_s=np.array(ends_s, np.float64),
        embedding=np.array(vectors, np.float32) if rows else np.empty((0, 0), np.float32),
        origin=origin,
        faults=list(faults),
        without_face=list(without_face),
    )


def _embed(
    video: Input,
    predictor: Predictor,
    settings: PredictSettings,
    origin: Record,
    finished: _FinishedVideos | None,
) -> list[Row]:
    """Return the rows of a video, from an earlier call if that finished it."""
    if video.error is not None:
        raise VideoError(video.error)
    path = Path(video.name)
    before = identify(path)
    file = None if finished is None else finished.find_file(video)
    if finished is not None and file is not None:
        known = finished.read(file, video.title)
        if known is not None:
            return known
    rows = [
        (video.title, window.track, window.start_s, window.end_s, window.embedding)
        for window in predictor.open(path, settings, embed=True)
        if window.embedding is not None
    ]
    if identify(path) != before:
        raise VideoError(f"{video.name} was changed while it was read; embed it again")
    if file is not None:
        write_npz(file, _join(rows, origin))
    return rows


def write_npz(path: Path, embeddings: Embeddings) -> None:
    """Write the arrays of `COLUMNS`, and `origin`: model and settings as JSON."""
    with replacing(path) as partial, partial.open("wb") as stream:
        np.savez_compressed(
            stream,
            video=np.array(embeddings.video, np.str_),
            track=embeddings.track,
            start_s=embeddings.start_s,
            end_s=embeddings.end_s,
            embedding=embeddings.embedding,
            origin=np.array(json.dumps(embeddings.origin)),
        )


def write_parquet(path: Path, embeddings: Embeddings) -> None:
    """Write a table of `COLUMNS`, with lists of float32, and `origin` in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = (pa.string(), pa.int64(), pa.float64(), pa.float64(), pa.list_(pa.float32()))
    columns = [embeddings.video, embeddings.track, embeddings.start_s, embeddings.end_s]
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
    table = pa.table([*columns, list(embeddings.embedding)], schema=schema)
    with replacing(path) as partial:
        pq.write_table(
            table.replace_schema_metadata({"origin": json.dumps(embeddings.origin)}), partial
        )


WRITERS = {".npz": write_npz, ".parquet": write_parquet}


def check_out(out: Path) -> None:
    """Check that embeddings can be written to a file.

    Raises:
        ConfigError: The suffix is unknown, the folder is not writable, pyarrow is missing, or the
            file was not written by dfer.
    """
    if out.suffix.lower() not in WRITERS:
        raise ConfigError(f"unknown suffix of --out {out}; use .npz or .parquet")
    check_writable(out)
    if out.suffix.lower() == ".parquet":
        check_parquet(out)
    if os.path.lexists(out) and not _is_ours(out):
        raise ConfigError(f"--out {out} exists and was not written by dfer; choose another file")


def _is_ours(path: Path) -> bool:
    """Return whether a file has the arrays or columns of embeddings."""
    if path.suffix.lower() == ".npz":
        try:
            with ZipFile(path) as file:
                return {f"{name}.npy" for name in COLUMNS} <= set(file.namelist())
        except (OSError, BadZipFile):
            return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return tuple(pq.read_schema(path).names) == COLUMNS
    except (OSError, pa.ArrowException):
        return False
