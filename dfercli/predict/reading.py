"""One pass through a video: faces are followed, and windows predicted as they end."""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dfercli.data.transforms import fit_frame
from dfercli.faces.align import crop_face
from dfercli.faces.tracking import SeenFrame, follow_faces
from dfercli.faces.types import Face
from dfercli.media.video import Extent, Source, is_live, read_frames
from dfercli.predict.prediction import SeenFace, VideoPrediction, Window
from dfercli.predict.settings import SEARCH_FPS

MAX_KEPT = 40
"""Windows of a video whose face is kept to be shown (our choice): 6 MB at 224 px."""


class KeptWindows:
    """Windows in order of time; faces are kept for few of them, evenly spread over the video.

    Args:
        stride_s: Seconds from the start of one window to that of the next.
    """

    def __init__(self, stride_s: float) -> None:
        self._stride_s = stride_s
        self._windows: list[Window] = []
        self._keep_every, self._num_shown = 1, 0

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows)

    def __len__(self) -> int:
        return len(self._windows)

    def add(self, windows: Sequence[Window], first_s: float) -> None:
        """Add windows.

        Args:
            windows: Of one stretch of the video.
            first_s: Start of the video's first window.
        """
        thinned = [self._thin(window, first_s) for window in windows]
        self._windows += thinned
        self._num_shown += sum(window.face_rgb is not None for window in thinned)
        if self._num_shown > MAX_KEPT:
            self._keep_every *= 2
            self._windows = [self._thin(window, first_s) for window in self._windows]
            self._num_shown = sum(window.face_rgb is not None for window in self._windows)

    def _thin(self, window: Window, first_s: float) -> Window:
        """Return a window without its face, unless it is one of those that keep it."""
        index = round((window.start_s - first_s) / self._stride_s)
        return window if index % self._keep_every == 0 else replace(window, face_rgb=None)


if TYPE_CHECKING:
    from dfercli.predict.predictor import Predictor

CARRY_S = 0.3
"""Longest time between frames that are searched, where no face moves away (our choice): every
second one that is taken."""

MIN_COVERAGE = 0.25
"""Share of a window's frames that must show a face for it to be named (our choice)."""

MIN_REST = 0.25
"""Share of the stride, or of a window that is shorter, that must be left of a video for one more
window (our choice)."""

MAX_STEP_S = 1.0
"""Longest time that a frame counts as shown where its end is not known (our choice): times of
damaged files jump by hours."""

BATCH = 4
"""Clips that wait to be read together (our choice): a quarter less time than one by one. The first
of a video, and those of a stream, wait for none."""


@dataclass(frozen=True)
class _Crop:
    """A face, cut out.

    Attributes:
        time_s: Time of its frame.
        face: Where it is in it.
        image_rgb: (crop size, crop size, 3) uint8.
    """

    time_s: float
    face: Face
    image_rgb: np.ndarray


@dataclass(frozen=True)
class _Stretch:
    """A stretch of the video that has ended.

    Attributes:
        windows: Of each face in it, not named yet.
        clips: Frames (3, S, S) that show a face, by its number, where they are enough.
    """

    windows: list[Window]
    clips: dict[int, list[np.ndarray]]


class VideoReading:
    """One pass through a video. Iterate over it once, then call `finish` for the result.

    Args:
        reader: Predictor that crops and classifies faces.
        video: Path, address or camera number.
        window_s: Length of a window in seconds.
        stride_s: Seconds from the start of one window to the next.
        faces: `all` or `largest`.
        keep_paths: Keep the place of each face in each frame.
    """

    def __init__(
        self,
        reader: "Predictor",
        video: Source,
        window_s: float,
        stride_s: float,
        faces: str = "all",
        keep_paths: bool = False,
    ) -> None:
        self._reader = reader
        self._video = video
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
        """Is told the time of each frame that is read; may raise, which ends the reading."""

    def __iter__(self) -> Iterator[Window]:
        """Yield each window of each face as it ends.

        Raises:
            VideoError: The video cannot be read.
        """
        frames = read_frames(self._video, SEARCH_FPS, self._extent)
        last: SeenFrame | None = None
        with self._reader.searching(self._video) as detector:
            for last in follow_faces(frames, detector, CARRY_S):
                yield from self._end_windows(last.frame.time_s)
                self._take(last)
        if last is not None:
            self._end_s = max(self._extent.end_s, last.frame.time_s)
            self._keep_places(last, self._end_s)
        yield from self._end_video()

    def finish(self) -> VideoPrediction:
        """Return the predictions of everything that was read so far."""
        told = {number: tuple(path) for number, path in self._told_paths()}
        return VideoPrediction(
            video=str(self._video),
            class_names=self._reader.class_names,
            calibrated=self._reader.calibrated,
            size=self._size,
            duration_s=self._duration_s,
            num_frames=self._num_frames,
            coverage=self._num_with_face / max(1, self._num_frames),
            windows=tuple(self._windows),
            paths=told,
            model=self._reader.describe(),
        )

    @property
    def num_read(self) -> int:
        """Frames that were decoded."""
        return self._extent.num_frames

    @property
    def _duration_s(self) -> float:
        """Time from the first frame to the end of the last; 0 for an image.

        Where the reading was ended early, the last frame counts as long as the mean one.
        """
        if self._end_s is not None and self._first_s is not None:
            return self._end_s - self._first_s
        if self._first_s is None or self._num_frames < 2:
            return 0.0
        return self.position_s - self._first_s + self._steps_s / (self._num_frames - 1)

    def _told_paths(self) -> Iterable[tuple[int, list[SeenFace]]]:
        paths = self._paths or {}
        return ((self._numbers[t], path) for t, path in paths.items() if t in self._numbers)

    def _take(self, seen: SeenFrame) -> None:
        """Cut the faces out of a frame, and let it go."""
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
            image_rgb = crop_face(frame.image_rgb, face.landmarks_xy, self._reader.crop_size)
            crops = self._crops.setdefault(track, deque())
            crops.append(_Crop(frame.time_s, face, image_rgb))
        self._keep_places(seen, frame.time_s)

    def _keep_places(self, seen: SeenFrame, time_s: float) -> None:
        """Keep where the faces of a frame are; those of the last one stay to the video's end."""
        if self._paths is None:
            return
        for track, face in seen.faces.items():
            path = self._paths.setdefault(track, [])
            if not path or path[-1].time_s < time_s:
                path.append(SeenFace(time_s, face.box_xyxy.astype(np.float32)))

    def _end_windows(self, now_s: float) -> Iterator[Window]:
        """Name the windows that end before a moment."""
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
        """Name the windows that the end of the video cuts off."""
        duration_s = self._duration_s
        end_s = self._start_s(0) + duration_s
        for index in range(self._next, count_windows(duration_s, self._window_s, self._stride_s)):
            start_s = self._start_s(index)
            self._forget(start_s)
            self._end_stretch(start_s, start_s + self._window_s, end_s)
        yield from self._name_waiting(enough=0)

    def _start_s(self, index: int) -> float:
        """Give the start of a window; the first begins with the first frame."""
        return (self._first_s or 0.0) + index * self._stride_s

    def _forget(self, before_s: float) -> None:
        """Let go of what no window needs any more."""
        while self._times_s and self._times_s[0] < before_s:
            self._times_s.popleft()
        for track, crops in list(self._crops.items()):
            while crops and crops[0].time_s < before_s:
                crops.popleft()
            if not crops:
                del self._crops[track]

    def _end_stretch(self, start_s: float, end_s: float, last_s: float = math.inf) -> None:
        """Let the windows of one stretch wait: of each face that is, or was, told of."""
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
        size = self._reader.image_size
        clips = {
            self._numbers[track]: [fit_frame(crop.image_rgb, size) for crop in within[track]]
            for track in enough
        }
        self._waiting.append(_Stretch(sorted(windows, key=lambda window: window.track), clips))

    def _name_waiting(self, enough: int) -> Iterator[Window]:
        """Name what waits, if that is enough clips, and keep it; without a clip nothing waits."""
        clips = [clip for stretch in self._waiting for clip in stretch.clips.values()]
        if clips and len(clips) < enough:
            return
        probs = iter(self._reader.name_expressions(clips) if clips else ())
        for stretch in self._waiting:
            named = dict(zip(stretch.clips, probs, strict=False))
            windows = [replace(w, probs=named.get(w.track)) for w in stretch.windows]
            self._windows.add(windows, self._start_s(0))
            yield from windows
        self._waiting.clear()


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
    """Give how many windows a video has; the last one may end after it.

    Args:
        duration_s: Of the video.
        window_s: Length of a window.
        stride_s: From start to start.
    """
    shorter_s, longer_s = sorted((window_s, stride_s))
    uncovered_s = duration_s - longer_s - MIN_REST * shorter_s
    return 1 + max(0, math.ceil(uncovered_s / stride_s))
