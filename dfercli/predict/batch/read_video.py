"""Predict one video of a batch. Its errors are recorded and do not stop the other videos.

Tracebacks are logged as debugging messages, which `dfer --debug` shows.
"""

import logging
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2

from dfercli.errors import DataError, DferError, VideoError
from dfercli.media.video import count_listed, declared_duration_s
from dfercli.predict.batch.artifacts import Artifacts
from dfercli.predict.batch.inputs import Input, OnProgress
from dfercli.predict.hashes import hash_content, identify
from dfercli.predict.prediction import (
    OK,
    Record,
    VideoPrediction,
    Window,
    describe_failure,
    describe_video,
    describe_window,
)
from dfercli.predict.predictor import Predictor
from dfercli.predict.settings import PredictSettings
from dfercli.text import printable

WHOLE = 0.9
"""Share of the listed frames that a complete file has at least (our choice)."""

LOG = logging.getLogger(__name__)

LONGEST_LINE = 300
"""Maximum length of an error of another library (our choice): those of torch can be long."""


class StopPrediction(DferError):  # noqa: N818 (as StopIteration)
    """Raised by `on_progress` to stop predicting."""


@dataclass(frozen=True)
class WindowEnded:
    """A window and its record."""

    window: Window
    record: Record


@dataclass(frozen=True)
class VideoEnded:
    """The end of a video with its record; see `Outcome` for `remark` and `notes`."""

    record: Record
    prediction: VideoPrediction | None = None
    remark: str | None = None
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)


Event = WindowEnded | VideoEnded


def drop_images(event: Event) -> Event:
    """Return an event without images and paths of faces, to send it to another process."""
    if isinstance(event, WindowEnded):
        return replace(event, window=replace(event.window, face_rgb=None))
    if event.prediction is None:
        return event
    windows = tuple(replace(window, face_rgb=None) for window in event.prediction.windows)
    prediction = replace(event.prediction, windows=windows, paths={}, brief_paths=())
    return replace(event, prediction=prediction)


def read_video(
    predictor: Predictor,
    video: Input,
    settings: PredictSettings,
    artifacts: Artifacts | None = None,
    on_progress: OnProgress | None = None,
) -> Generator[tuple[Input, Event], None, bool]:
    """Yield each window of a video as it ends, and then the end of the video.

    KeyboardInterrupt, also if thrown into the generator, ends a stream as if it had ended by
    itself. The generator returns whether that happened.

    Raises:
        DferError: Caused by the settings or the machine, not by the video; or StopPrediction.
    """
    reading = None
    interrupted = False
    keep_paths = artifacts is not None and artifacts.keep_paths
    try:
        watched = None if video.is_touched else video.path
        before = identify(watched) if watched is not None else None
        try:
            reading = predictor.open(video.source, settings, keep_paths)
            if on_progress is not None:
                length_s = declared_duration_s(video.path) if video.path is not None else 0.0
                length_s = length_s if settings.end_s is None else min(length_s, settings.end_s)
                reading.on_frame = lambda at_s: on_progress(video, "reading", at_s, length_s)
            for window in reading:
                record = describe_window(window, predictor.class_names, predictor.calibrated)
                yield video, WindowEnded(window, record)
        except KeyboardInterrupt:
            if not video.is_live or reading is None:
                raise
            interrupted = True
        prediction = replace(reading.finish(), video=video.title)
        ended = _end(video, prediction, artifacts, on_progress)
        if not settings.is_part:
            cut = describe_cut(video, prediction.duration_s, reading.num_read)
            ended = replace(ended, notes=(*ended.notes, *cut))
        if watched is not None and identify(watched) != before:
            raise VideoError(f"{video.name} was changed while it was read; predict it again")
    except StopPrediction:
        raise
    except Exception as error:
        LOG.debug("%s cannot be read", video.title, exc_info=True)
        ended = VideoEnded(describe_failure(video.title, explain(error)))
    yield video, ended
    return interrupted


def _end(
    video: Input,
    prediction: VideoPrediction,
    artifacts: Artifacts | None,
    on_progress: OnProgress | None,
) -> VideoEnded:
    """Describe a prediction, and write its timeline and annotated video."""
    sha256 = hash_content(video.path) if video.path is not None else None
    ended = VideoEnded(describe_video(prediction, sha256), prediction)
    if artifacts is None or ended.record["status"] != OK:
        return ended
    try:
        notes, pictures = artifacts.make(video, prediction, on_progress)
    except StopPrediction:
        raise
    except Exception as error:
        LOG.debug("the pictures of %s cannot be written", video.title, exc_info=True)
        return replace(ended, remark=explain(error, also=(DferError,)))
    return replace(ended, notes=notes, pictures=pictures)


def describe_cut(video: Input, duration_s: float, num_read: int) -> tuple[str, ...]:
    """Return a warning if fewer frames were decoded than the file lists."""
    listed = 0 if video.path is None or video.path.is_dir() else count_listed(video.path)
    if num_read >= WHOLE * listed:
        return ()
    end = f"it ends after {duration_s:.1f} s and {num_read / listed:.0%} of its frames"
    return (f"{printable(video.title)} may be incomplete: {end}",)


def explain(error: Exception, also: tuple[type[DferError], ...] = ()) -> str:
    """Return the error of a video as one line.

    Raises:
        DferError: The error itself, unless it is a VideoError, a DataError or one of `also`, which
            concern only this video.
    """
    if isinstance(error, (VideoError, DataError, *also)):
        return printable(str(error).strip())
    if isinstance(error, DferError):
        raise error
    if isinstance(error, MemoryError):
        return "not enough memory for this video"
    if isinstance(error, OSError) and error.strerror:
        where = f"{Path(error.filename).name}: " if isinstance(error.filename, str) else ""
        return printable(f"{where}{error.strerror.lower()}")
    kind = "OpenCV" if isinstance(error, cv2.error) else type(error).__name__
    text = printable(" ".join(str(error).split()))
    return f"{kind}: {text}"[:LONGEST_LINE]
