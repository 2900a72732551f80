"""Predict an uploaded video, and write the files that the page shows."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from dfercli.errors import NoFaceError, VideoError
from dfercli.faces import describe_search
from dfercli.predict import Outcome, Predictor, PredictSettings, VideoPrediction, predict_videos
from dfercli.predict.batch.inputs import Input
from dfercli.predict.batch.read_video import StopPrediction

READING, DRAWING = "looking for faces", "drawing the video"

_PHASES = {"reading": READING, "annotating": DRAWING}

OnProgress = Callable[[str, float, float], object]
"""Called with the activity, the position in the video in seconds, and its length or 0."""


class StoppedError(StopPrediction):
    """The server is shutting down, or the visitor stopped the video."""


class TooLongError(StopPrediction):
    """The video exceeds the time limit."""


@dataclass(frozen=True)
class Examined:
    """A prediction and its files: annotated video, timeline, JSON document, table of windows."""

    prediction: VideoPrediction
    video: Path
    picture: Path
    document: Path
    table: Path


class Examiner:
    """Predicts videos, one at a time."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        predictor.checkpoint_sha256  # noqa: B018 (hashed now, before its files can change)
        self._ended = Event()

    def end(self) -> None:
        """Stop the current video and all later ones."""
        self._ended.set()

    def examine(
        self, video: Path, settings: PredictSettings, folder: Path, on_progress: OnProgress
    ) -> Examined:
        """Predict a video file, and write its files to a folder.

        `on_progress` is called for each frame and may raise StopPrediction.

        Raises:
            NoFaceError: No window shows a face.
            VideoError: The video cannot be read, or a file cannot be written.
            ConfigError: A setting is invalid.
            StoppedError: `end` was called.
        """
        predictions: list[VideoPrediction] = []

        def report(_: Input, phase: str, at_s: float, of_s: float) -> None:
            if self._ended.is_set():
                raise StoppedError("stopped: the server is shutting down")
            if phase in _PHASES:
                on_progress(_PHASES[phase], at_s, of_s)

        def take(outcome: Outcome, prediction: VideoPrediction | None) -> None:
            if outcome.status == "no face":
                search = describe_search(self.predictor.detector_name, outcome.size)
                raise NoFaceError(
                    f"no face was found in {video.name}: {outcome.frames_searched} frames were "
                    f"searched {search}"
                )
            if prediction is None or outcome.line is not None:
                raise VideoError(outcome.line)
            predictions.append(prediction)

        files = {
            "video": folder / f"{video.stem}-annotated.mp4",
            "picture": folder / f"{video.stem}-timeline.png",
            "document": folder / f"{video.stem}.json",
            "table": folder / f"{video.stem}.csv",
        }
        predict_videos(
            # Only the name is written, because the path of an upload is private to the server.
            [Input(str(video), alias=video.name, is_touched=True)],
            self.predictor,
            settings,
            out=[files["document"], files["table"]],
            plot=files["picture"],
            annotate=files["video"],
            resume=False,
            on_video=take,
            on_progress=report,
        )
        return Examined(predictions[0], **files)
