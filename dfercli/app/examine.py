"""What the page's button does: predict a video and write all that is shown of it."""

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
"""Called with what is done, the second of the video that is reached, and its length or 0."""


class StoppedError(StopPrediction):
    """The server ends, or a visitor stops the video."""


class TooLongError(StopPrediction):
    """A video takes longer than it may."""


@dataclass(frozen=True)
class Examined:
    """A prediction and its files: annotated video, timeline, JSON document, table of windows."""

    prediction: VideoPrediction
    video: Path
    picture: Path
    document: Path
    table: Path


class Examiner:
    """Examines videos, one at a time."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        predictor.checkpoint_sha256  # noqa: B018 (hashed now, before its files can change)
        self._ended = Event()

    def end(self) -> None:
        """Stop what is running, and all that follows."""
        self._ended.set()

    def examine(
        self, video: Path, settings: PredictSettings, folder: Path, on_progress: OnProgress
    ) -> Examined:
        """Predict a video and write all that is shown of it.

        Args:
            video: A video file.
            settings: Windows and faces.
            folder: Where the files go, named after the video.
            on_progress: Called for each frame; may raise StopPrediction.

        Raises:
            NoFaceError: No window shows a face.
            VideoError: The video cannot be read, or a file cannot be made of it.
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
            # Where the server keeps an upload is nobody's business: only its name is written.
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
