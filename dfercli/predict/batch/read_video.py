"""Predict one video of a batch: whatever goes wrong with it is recorded, and stops no other.

Where an error arose is logged as a debugging message, which `dfer --debug` shows.
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
"""Share of the listed frames that must be decoded for a file to count as whole (our choice: its
last frames are not counted one by one)."""

LOG = logging.getLogger(__name__)

LONGEST_LINE = 300
"""Characters of a foreign error that are shown (our choice): torch explains itself at length."""


class StopPrediction(DferError):  # noqa: N818 (as StopIteration)
    """Raised by `on_progress` to stop predicting."""


@dataclass(frozen=True)
class WindowEnded:
    """A window, and how it is written."""

    window: Window
    record: Record


@dataclass(frozen=True)
class VideoEnded:
    """The end of a video: `record` is how it is written; see `Outcome` for `remark` and `notes`."""

    record: Record
    prediction: VideoPrediction | None = None
    remark: str | None = None
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)


Event = WindowEnded | VideoEnded


def drop_images(event: Event) -> Event:
    """Return an event as it is sent to another process: without images and paths of faces."""
    if isinstance(event, WindowEnded):
        return replace(event, window=replace(event.window, face_rgb=None))
    if event.prediction is None:
        return event
    windows = tuple(replace(window, face_rgb=None) for window in event.prediction.windows)
    return replace(event, prediction=replace(event.prediction, windows=windows, paths={}))


def read_video(
    predictor: Predictor,
    video: Input,
    settings: PredictSettings,
    artifacts: Artifacts | None = None,
    on_progress: OnProgress | None = None,
) -> Generator[tuple[Input, Event], None, bool]:
    """Yield the windows of a video as they end, and then its end, each with the video.

    A stream that KeyboardInterrupt ends, also if thrown into the generator, is finished as if it
    had ended by itself. The generator returns whether that happened.

    Raises:
        DferError: The settings or the machine are at fault, not the video; or StopPrediction.
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
        notes = (*ended.notes, *describe_cut(video, prediction.duration_s, reading.num_read))
        ended = replace(ended, notes=notes)
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
    """Describe a prediction, and make what is asked for of it."""
    sha256 = hash_content(video.path) if video.path is not None else None
    ended = VideoEnded(describe_video(prediction, sha256), prediction)
    if artifacts is None or ended.record["status"] != OK:
        return ended
    try:
        notes, pictures = artifacts.make(video, prediction, on_progress)
    except StopPrediction:
        raise
    except Exception as error:
        LOG.debug("nothing can be made of %s", video.title, exc_info=True)
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
    """Return in one line what is wrong with a video.

    Raises:
        DferError: The error itself if it concerns not only the video: VideoError and DataError do,
            and those in `also`.
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
