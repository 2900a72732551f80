"""One video of many: whatever goes wrong with it is its alone, and is told in one line.

Where it arose is logged as a debugging message; `dfer --debug` shows it.
"""

import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import cv2

from dfercli.errors import DataError, DferError, VideoError
from dfercli.media.video import count_listed
from dfercli.predict.batch.formats import (
    OK,
    Record,
    describe_failure,
    describe_video,
    describe_window,
)
from dfercli.predict.batch.inputs import Input
from dfercli.predict.batch.origin import hash_content, identify
from dfercli.predict.prediction import VideoPrediction, Window
from dfercli.predict.predictor import Predictor
from dfercli.predict.settings import PredictSettings
from dfercli.text import printable

WHOLE = 0.9
"""Share of the frames that a file lists from which it counts as whole (our choice: the last ones
are not counted one by one)."""

LOG = logging.getLogger(__name__)

LONGEST_LINE = 300
"""Letters of a foreign error that are told (our choice): torch explains itself at length."""


Watch = Callable[[str, Callable[[], float]], None]
"""Is told what is done with a video: its name (reading has none), and a function that
returns how many seconds of the video are done."""


def watch_nothing(phase: str, position: Callable[[], float]) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Made:
    """What was made of a prediction.

    Attributes:
        said: What is to be told of it, a line each.
        pictures: SHA-256 of each file, by its name.
    """

    said: tuple[str, ...] = ()
    pictures: Mapping[str, str] = field(default_factory=dict)


class AfterVideo(Protocol):
    """What is made of a prediction, such as a picture; can be sent to another process."""

    @property
    def keep_paths(self) -> bool:
        """Whether it needs the faces' places in each frame."""

    def __call__(self, each: Input, prediction: VideoPrediction, watch: Watch) -> Made:
        """Make it.

        Args:
            each: The video.
            prediction: Of it.
            watch: Is told what is made, for progress.

        Raises:
            DferError: It cannot be made.
        """

    def is_made(self, each: Input, pictures: Mapping[str, str]) -> bool:
        """Whether all of it is there, as it was made of this prediction.

        Args:
            each: The video.
            pictures: What an earlier call has made of the same prediction, see `Made`.
        """


@dataclass(frozen=True)
class Task:
    """What is done with each video.

    Attributes:
        make_predictor: Makes what reads it; called once a process, so it can be sent to others.
        settings: How it is read.
        after: What is made of its prediction.
        device: What the predictors run on, as it was typed.
    """

    make_predictor: Callable[[], Predictor]
    settings: PredictSettings
    after: AfterVideo | None = None
    device: str = "auto"


@dataclass(frozen=True)
class WindowEnded:
    """A window, and how it is written."""

    window: Window
    record: Record

    def without_pictures(self) -> "WindowEnded":
        """Give what another process needs of it: no face."""
        return replace(self, window=replace(self.window, face_rgb=None))


@dataclass(frozen=True)
class VideoEnded:
    """A video that was read to its end, or why not.

    Attributes:
        record: Its closing line.
        prediction: What was seen; None where it could not be read.
        remark: Why what follows a prediction could not be made.
        made: What follows a prediction.
        interrupted: Whether a stream was ended by Ctrl-C.
    """

    record: Record
    prediction: VideoPrediction | None = None
    remark: str | None = None
    made: Made = field(default_factory=Made)
    interrupted: bool = False

    def without_pictures(self) -> "VideoEnded":
        """Give what another process needs of it: neither faces nor paths."""
        if self.prediction is None:
            return self
        windows = tuple(replace(window, face_rgb=None) for window in self.prediction.windows)
        return replace(self, prediction=replace(self.prediction, windows=windows, paths={}))


Event = tuple[Input, WindowEnded | VideoEnded]


def attempt(
    predictor: Predictor,
    each: Input,
    task: Task,
    watch: Watch = watch_nothing,
) -> Generator[Event, None, bool]:
    """Read a video, and give its windows as they end; then its end, whatever that was.

    A stream that KeyboardInterrupt ends, also by `throw`, is finished as one that ended by itself.

    Args:
        predictor: What reads it.
        each: The video.
        task: What is done with it.
        watch: Is told what is done, for progress.

    Returns:
        Whether a stream was interrupted.

    Raises:
        DferError: Nothing of this video's alone: the settings or the machine are wrong.
    """
    reading = None
    interrupted = False
    keep_paths = task.after is not None and task.after.keep_paths
    try:
        before = identify(each.path) if each.path is not None else None
        try:
            reading = predictor.open(each.source, task.settings, keep_paths)
            watch("", partial(getattr, reading, "position_s"))
            for window in reading:
                record = describe_window(window, predictor.class_names, predictor.calibrated)
                yield each, WindowEnded(window, record)
        except KeyboardInterrupt:
            if not each.is_live or reading is None:
                raise
            interrupted = True
        ended = _end(each, reading.finish(), task.after, interrupted, reading.num_read, watch)
        if each.path is not None and identify(each.path) != before:
            raise VideoError(f"{each.name} was changed while it was read; predict it again")
    except Exception as error:
        LOG.debug("%s cannot be read", each.title, exc_info=True)
        ended = VideoEnded(describe_failure(each.title, explain(error)))
    yield each, ended
    return interrupted


def _end(
    each: Input,
    prediction: VideoPrediction,
    after: AfterVideo | None,
    interrupted: bool,
    num_read: int,
    watch: Watch,
) -> VideoEnded:
    sha256 = hash_content(each.path) if each.path is not None else None
    prediction = replace(prediction, video=each.title)
    record = describe_video(prediction, sha256)
    remark, made = None, Made()
    cut = describe_cut(each, prediction.duration_s, num_read)
    if after is not None and record["status"] == OK:
        try:
            made = after(each, prediction, watch)
        except Exception as error:
            LOG.debug("nothing can be made of %s", each.title, exc_info=True)
            remark = explain(error, also=(DferError,))
    made = replace(made, said=(*made.said, *cut))
    return VideoEnded(record, prediction, remark, made, interrupted)


def describe_cut(each: Input, duration_s: float, num_read: int) -> tuple[str, ...]:
    """Return a warning if fewer frames could be decoded than the file lists.

    Args:
        each: The video.
        duration_s: Seconds of it that were read.
        num_read: Frames of it that were decoded.
    """
    if each.path is None or each.path.is_dir():
        return ()
    listed = count_listed(each.path)
    if num_read >= WHOLE * listed:
        return ()
    share = f"{num_read / listed:.0%} of the frames that it lists"
    return (f"{printable(each.title)}: cut off after {duration_s:.1f} s, {share}; is it whole?",)


def explain(error: Exception, also: tuple[type[DferError], ...] = ()) -> str:
    """Say in one line what is wrong with a video.

    Args:
        error: What was raised.
        also: Errors of ours that are the video's alone, beside VideoError and DataError.

    Raises:
        DferError: The error, where it is not the video's alone.
    """
    if isinstance(error, (VideoError, DataError, *also)):
        return printable(str(error).strip())
    if isinstance(error, DferError):
        raise error
    if isinstance(error, MemoryError):
        return "not enough memory for it"
    if isinstance(error, OSError) and error.strerror:
        where = f"{Path(error.filename).name}: " if isinstance(error.filename, str) else ""
        return printable(f"{where}{error.strerror.lower()}")
    kind = "OpenCV" if isinstance(error, cv2.error) else type(error).__name__
    said = printable(" ".join(str(error).split()))
    return f"{kind}: {said}"[:LONGEST_LINE]
