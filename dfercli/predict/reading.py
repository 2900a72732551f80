"""One pass through a video: follow the faces, and predict each window as it ends."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from dfercli.data.transforms import fit_frame
from dfercli.faces.align import crop_face
from dfercli.faces.search import FULL_S
from dfercli.faces.tracking import SeenFrame, follow_faces
from dfercli.faces.types import Detector, Face
from dfercli.media.video import WHOLE, Extent, Part, Source, is_live, read_frames
from dfercli.predict.prediction import SeenFace, VideoPrediction, Window
from dfercli.predict.settings import SEARCH_FPS

MAX_KEPT = 40
"""Maximum number of windows whose face image is kept (our choice): 6 MB at 224 px."""

CARRY_S = 0.3
"""Longest time between detections while no face moves away (our choice): every second searched
frame."""

MIN_COVERAGE = 0.25
"""Share of a window's frames that must show a face for a prediction (our choice)."""

MIN_REST = 0.25
"""Minimum rest of a video that becomes one more window (our choice), as a share of the stride or of
a shorter window."""

MAX_STEP_S = 1.0
"""Maximum duration of a frame whose end is unknown (our choice): times in damaged files can jump by
hours."""

BATCH = 4
"""Clips per prediction (our choice): a quarter faster than one by one. The first window of a video
and the windows of a stream are predicted at once."""


class KeptWindows:
    """Windows in order of time; at most `MAX_KEPT`, evenly spread, keep the image of their face."""

    def __init__(self, stride_s: float) -> None:
        self._stride_s = stride_s
        self._windows: list[Window] = []
        self._keep_every, self._num_shown = 1, 0

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows)

    def __len__(self) -> int:
        return len(self._windows)

    def add(self, windows: Sequence[Window], first_s: float) -> None:
        """Add the windows of one stretch; `first_s` is the start of the first window."""
        thinned = [self._thin(window, first_s) for window in windows]
        self._windows += thinned
        self._num_shown += sum(window.face_rgb is not None for window in thinned)
        if self._num_shown > MAX_KEPT:
            self._keep_every *= 2
            self._windows = [self._thin(window, first_s) for window in self._windows]
            self._num_shown = sum(window.face_rgb is not None for window in self._windows)

    def _thin(self, window: Window, first_s: float) -> Window:
        """Return a window, without the image of its face unless it is one of those that keep it."""
        index = round((window.start_s - first_s) / self._stride_s)
        return window if index % self._keep_every == 0 else replace(window, face_rgb=None)


class _Model(Protocol):
    """The part of `Predictor` that a reading uses."""

    class_names: tuple[str, ...]
    crop_size: int

    @property
    def calibrated(self) -> bool: ...

    @property
    def image_size(self) -> int: ...

    def describe(self) -> str: ...

    def searching(self, video: Source) -> AbstractContextManager[Detector]: ...

    def name_expressions(self, clips: list[list[np.ndarray]]) -> np.ndarray: ...

    def embed_clips(self, clips: list[list[np.ndarray]]) -> np.ndarray: ...


@dataclass(frozen=True)
class _Crop:
    """A face and its aligned image, (S, S, 3) uint8, at the time of its frame."""

    time_s: float
    face: Face
    image_rgb: np.ndarray


@dataclass(frozen=True)
class _Stretch:
    """The windows of all faces at one time, without probabilities yet.

    Attributes:
        windows: One window per face.
        clips: Frames (3, S, S) by track, of the faces that enough frames show.
    """

    windows: list[Window]
    clips: dict[int, list[np.ndarray]]


class VideoReading:
    """One pass through a video. Iterate over it once, then call `finish` for the result.

    Args:
        model: Crops and classifies faces.
        video: Path, address or camera number.
        window_s: Length of a window in seconds.
        stride_s: Seconds from the start of one window to the next.
        faces: `all` or `largest`.
        keep_paths: Keep the place of each face in each frame.
        part: Part of the video to read.
        embed: Windows get embeddings instead of probabilities.
    """

    def __init__(
        self,
        model: _Model,
        video: Source,
        window_s: float,
        stride_s: float,
        faces: str = "all",
        keep_paths: bool = False,
        part: Part = WHOLE,
        embed: bool = False,
    ) -> None:
        self._model = model
        self._video, self._part = video, part
        self._embed = embed
        self._window_s, self._stride_s = window_s, stride_s
        self._only_largest = faces == "largest"
        self._paths: dict[int, list[SeenFace]] | None = {} if keep_paths else None
        self._times_s: deque[float] = deque()
        self._crops: dict[int, deque[_Crop]] = {}
        self._numbers: dict[int, int] = {}
        self._windows = KeptWindows(stride_s)
        self._waiting: list[_Stretch] = []
        self._next = 0
        self._size = (0, 0)
        self._first_s: float | None = None
        self._steps_s = 0.0
        self._num_frames = self._num_with_face = 0
        self.position_s = 0.0
        """Time of the frame that was read last."""
        self._extent = Extent()
        self._end_s: float | None = None  # of the last frame, once all were read
        self.on_frame: Callable[[float], object] = lambda time_s: None
        """Called with the time of each frame; may raise, which ends the reading."""

    def __iter__(self) -> Iterator[Window]:
        """Yield each window of each face as it ends.

        Raises:
            VideoError: The video cannot be read.
        """
        frames = read_frames(self._video, SEARCH_FPS, self._extent, self._part)
        last: SeenFrame | None = None
        with self._model.searching(self._video) as detector:
            for last in follow_faces(frames, detector, CARRY_S, full_s=FULL_S):
                yield from self._end_windows(last.frame.time_s)
                self._take(last)
        if last is not None:
            self._end_s = max(min(self._extent.end_s, self._part.end_s), last.frame.time_s)
            self._keep_places(last, self._end_s)
        yield from self._end_video()

    def finish(self) -> VideoPrediction:
        """Return the predictions of everything that was read so far."""
        return VideoPrediction(
            video=str(self._video),
            class_names=self._model.class_names,
            calibrated=self._model.calibrated,
            size=self._size,
            duration_s=self._duration_s,
            num_frames=self._num_frames,
            coverage=self._num_with_face / max(1, self._num_frames),
            windows=tuple(self._windows),
            paths={
                self._numbers[track]: tuple(path)
                for track, path in (self._paths or {}).items()
                if track in self._numbers
            },
            model=self._model.describe(),
            part=self._part,
            brief_paths=tuple(
                tuple(path)
                for track, path in (self._paths or {}).items()
                if track not in self._numbers
            ),
        )

    @property
    def num_read(self) -> int:
        """Number of frames that were decoded."""
        return self._extent.num_frames

    @property
    def _duration_s(self) -> float:
        """Time from the first frame to the end of the last; 0 for an image.

        If the reading ended early, the last frame gets the mean duration.
        """
        if self._end_s is not None and self._first_s is not None:
            return self._end_s - self._first_s
        if self._first_s is None or self._num_frames < 2:
            return 0.0
        return self.position_s - self._first_s + self._steps_s / (self._num_frames - 1)

    def _take(self, seen: SeenFrame) -> None:
        """Crop the faces of a frame."""
        frame = seen.frame
        if self._first_s is None:
            self._first_s = self.position_s = frame.time_s
            self._size = (frame.image_rgb.shape[1], frame.image_rgb.shape[0])
        self._steps_s += min(frame.time_s - self.position_s, MAX_STEP_S)
        self.position_s = frame.time_s
        self.on_frame(frame.time_s)
        self._num_frames += 1
        self._num_with_face += bool(seen.faces)
        self._times_s.append(frame.time_s)
        for track, face in seen.faces.items():
            image_rgb = crop_face(frame.image_rgb, face.landmarks_xy, self._model.crop_size)
            crops = self._crops.setdefault(track, deque())
            crops.append(_Crop(frame.time_s, face, image_rgb))
        self._keep_places(seen, frame.time_s)

    def _keep_places(self, seen: SeenFrame, time_s: float) -> None:
        """Keep the places of the faces in a frame."""
        if self._paths is None:
            return
        for track, face in seen.faces.items():
            path = self._paths.setdefault(track, [])
            if not path or path[-1].time_s < time_s:
                path.append(SeenFace(time_s, face.box_xyxy.astype(np.float32)))

    def _end_windows(self, now_s: float) -> Iterator[Window]:
        """Yield the windows that end before a moment."""
        while self._first_s is not None and self._start_s(self._next) + self._window_s <= now_s:
            start_s = self._start_s(self._next)
            self._end_stretch(start_s, start_s + self._window_s)
            at_once = is_live(self._video) or not len(self._windows)
            yield from self._name_waiting(enough=1 if at_once else BATCH)
            self._next += 1
            self._forget(self._start_s(self._next))
            if not self._times_s:  # a jump in time: none of the windows in it shows anything
                ended = (now_s - self._first_s - self._window_s) / self._stride_s
                self._next = max(self._next, math.floor(ended) + 1)

    def _end_video(self) -> Iterator[Window]:
        """Yield the last windows, which may end after the video."""
        duration_s = self._duration_s
        end_s = self._start_s(0) + duration_s
        for index in range(self._next, count_windows(duration_s, self._window_s, self._stride_s)):
            start_s = self._start_s(index)
            self._forget(start_s)
            self._end_stretch(start_s, start_s + self._window_s, end_s)
        yield from self._name_waiting(enough=0)

    def _start_s(self, index: int) -> float:
        """Return the start of a window; the first window starts with the first frame."""
        return (self._first_s or 0.0) + index * self._stride_s

    def _forget(self, before_s: float) -> None:
        """Drop the frames and crops before a time."""
        while self._times_s and self._times_s[0] < before_s:
            self._times_s.popleft()
        for track, crops in list(self._crops.items()):
            while crops and crops[0].time_s < before_s:
                crops.popleft()
            if not crops:
                del self._crops[track]

    def _end_stretch(self, start_s: float, end_s: float, last_s: float = math.inf) -> None:
        """Add the windows of faces that enough frames show in this or an earlier window."""
        num_frames = sum(start_s <= time_s < end_s for time_s in self._times_s)
        within = {
            track: [crop for crop in crops if start_s <= crop.time_s < end_s]
            for track, crops in self._crops.items()
        }
        within = {track: crops for track, crops in within.items() if crops}
        enough = [t for t, crops in within.items() if len(crops) >= MIN_COVERAGE * num_frames]
        if self._only_largest and enough:
            enough = [max(enough, key=lambda t: sum(crop.face.area for crop in within[t]))]
            within = {track: within[track] for track in enough}
        for track in enough:
            self._numbers.setdefault(track, len(self._numbers) + 1)
        windows = [
            _make_window(self._numbers[track], crops, start_s, min(end_s, last_s), num_frames)
            for track, crops in within.items()
            if track in self._numbers
        ]
        size = self._model.image_size
        clips = {
            self._numbers[track]: [fit_frame(crop.image_rgb, size) for crop in within[track]]
            for track in enough
        }
        self._waiting.append(_Stretch(sorted(windows, key=lambda window: window.track), clips))

    def _name_waiting(self, enough: int) -> Iterator[Window]:
        """Predict the waiting clips if there are enough of them, and yield their windows."""
        clips = [clip for stretch in self._waiting for clip in stretch.clips.values()]
        if clips and len(clips) < enough:
            return
        compute = self._model.embed_clips if self._embed else self._model.name_expressions
        values = iter(compute(clips) if clips else ())
        for stretch in self._waiting:
            value_of = dict(zip(stretch.clips, values, strict=False))
            windows = [self._complete(w, value_of.get(w.track)) for w in stretch.windows]
            self._windows.add(windows, self._start_s(0))
            yield from windows
        self._waiting.clear()

    def _complete(self, window: Window, value: np.ndarray | None) -> Window:
        """Return a window with its probabilities or embedding, if any."""
        return replace(window, embedding=value) if self._embed else replace(window, probs=value)


def _make_window(
    number: int, crops: list[_Crop], start_s: float, end_s: float, num_frames: int
) -> Window:
    middle = crops[len(crops) // 2]
    return Window(
        track=number,
        start_s=start_s,
        end_s=end_s,
        coverage=len(crops) / num_frames,
        box_xyxy=middle.face.box_xyxy,
        probs=None,
        face_rgb=middle.image_rgb,
    )


def count_windows(duration_s: float, window_s: float, stride_s: float) -> int:
    """Return the number of windows of a video; the last window may end after the video."""
    shorter_s, longer_s = sorted((window_s, stride_s))
    uncovered_s = duration_s - longer_s - MIN_REST * shorter_s
    return 1 + max(0, math.ceil(uncovered_s / stride_s))
