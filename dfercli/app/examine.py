"""What the page's button does: read a video, draw what was seen, write it down."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

from dfercli.errors import DferError, NoFaceError
from dfercli.faces import describe_search
from dfercli.media.video import declared_duration_s
from dfercli.predict import Predictor, PredictSettings, VideoPrediction
from dfercli.predict.batch.formats import (
    Recorded,
    describe_origin,
    describe_video,
    describe_window,
    write_csv,
    write_json_document,
)
from dfercli.predict.batch.origin import Origin, hash_checkpoint, hash_content
from dfercli.visualize import annotate_video, plot_prediction

READING, DRAWING = "looking for faces", "drawing the video"

OnProgress = Callable[[str, float, float], object]
"""Told what is done, the second of the video that it has come to, and its last; 0 if unknown."""


class StoppedError(DferError):
    """The server ends, or whoever gave the video stops it, before the video does."""


class TooLongError(DferError):
    """A video takes longer than a visitor may take."""


@dataclass(frozen=True)
class Examined:
    """What came of a video.

    Attributes:
        prediction: What was seen.
        video: The annotated video, an `.mp4` file.
        picture: The time line, a `.png` file.
        document: The JSON document.
        table: The windows, a `.csv` file.
    """

    prediction: VideoPrediction
    video: Path
    picture: Path
    document: Path
    table: Path


class Examiner:
    """Examines videos, one at a time.

    Args:
        predictor: Names the expressions.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self._sha256 = hash_checkpoint(predictor.checkpoint)
        self._ended = Event()

    def end(self) -> None:
        """Stop what is running, and all that follows."""
        self._ended.set()

    def examine(
        self, video: Path, settings: PredictSettings, folder: Path, on_progress: OnProgress
    ) -> Examined:
        """Read a video and write all that is shown of it.

        Args:
            video: A video file.
            settings: How it is read.
            folder: Where the files go, named after the video.
            on_progress: Told how far it is; may raise, which ends it.

        Raises:
            NoFaceError: No window shows a face.
            VideoError: The video cannot be read.
            ConfigError: The settings cannot be used.
            StoppedError: `end` was called meanwhile.
        """

        def tell(doing: str, at_s: float, of_s: float) -> None:
            if self._ended.is_set():
                raise StoppedError("stopped: the server is ending")
            on_progress(doing, at_s, of_s)

        prediction = self._read(video, settings, tell)
        found = Examined(
            prediction,
            video=folder / f"{video.stem}-annotated.mp4",
            picture=folder / f"{video.stem}-timeline.png",
            document=folder / f"{video.stem}.json",
            table=folder / f"{video.stem}.csv",
        )
        self._record(found, video, settings)
        plot_prediction(prediction, found.picture)
        end_s = prediction.duration_s
        annotate_video(
            prediction, video, found.video, on_frame=lambda at_s: tell(DRAWING, at_s, end_s)
        )
        return found

    def _read(self, video: Path, settings: PredictSettings, tell: OnProgress) -> VideoPrediction:
        declared_s = declared_duration_s(video)
        reading = self.predictor.open(video, settings, keep_paths=True)
        reading.on_frame = lambda at_s: tell(READING, at_s, declared_s)  # windows are too seldom
        for _ in reading:
            pass
        # Where the server keeps an upload is nobody's business: it is known by its own name.
        prediction = replace(reading.finish(), video=video.name)
        if not prediction.tracks:
            search = describe_search(self.predictor.detector_name, prediction.size)
            raise NoFaceError(
                f"no face was found in {video.name}: {prediction.num_frames} frames were searched "
                f"{search}"
            )
        return prediction

    def _record(self, found: Examined, video: Path, settings: PredictSettings) -> None:
        """Write the document and the table, as `dfer predict --out` does."""
        origin = describe_origin(Origin.of(self.predictor, settings, self._sha256))
        seen = found.prediction
        windows = [describe_window(w, seen.class_names, seen.calibrated) for w in seen.windows]
        videos: list[Recorded] = [(describe_video(seen, hash_content(video)), windows)]
        write_json_document(found.document, origin, videos)
        write_csv(found.table, origin, videos)
