"""A copy of a video with the box and expression of each face, and bars of probabilities."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np

from dfercli.errors import ConfigError
from dfercli.media.video import FALLBACK_FPS, Frame, Part, read_frames
from dfercli.media.video_writer import WrittenVideo, open_writer
from dfercli.predict.prediction import SeenFace, Stretch, VideoPrediction, Window, drawn_stretches
from dfercli.visualize.blur import FaceBlur
from dfercli.visualize.overlay import Overlay, ShownFace

LONGEST_GAP_S = 0.6
"""Longest gap between two detections of a face in which its box is interpolated (our choice)."""

HOLD_S = 0.085
"""Time that a box is shown before the first and after the last detection (our choice): half of the
longest time between two searched frames, at 25 or 30 frames per second."""

LARGER = 1.3
"""Factor by which a face must be larger to replace the main face (our choice: avoids flicker)."""

MEASURED_FRAMES = 60
"""Number of frames for measuring the frame rate (our choice)."""

STEADY_S = 0.002
"""Largest difference of frame intervals that is due to rounding to milliseconds."""

LONGEST_SHOWN_S = 10.0
"""Maximum duration of a frame (our choice: slides in a talk). Times in damaged files can jump by
hours, which copies of a frame would fill."""

OUT_OF_SYNC = f"the video has gaps of more than {LONGEST_SHOWN_S:g} s, so it would be out of sync"

MOST_FPS = 60.0
"""Maximum frame rate for a video with a variable rate (our choice: that of most screens)."""

LEAST_FPS = 1.0
"""Minimum frame rate (our choice); frames of slower videos are repeated."""

RATES = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0)
"""Frame rates to which a measured rate is rounded. Source: SMPTE ST 2036-1, table 1."""


def check_annotated(out: Path, video: Path) -> None:
    """Raise a ConfigError if `out` does not end in `.mp4` or is the video itself."""
    if out.suffix.lower() != ".mp4":
        raise ConfigError(f"cannot write a video to {out}: its name must end in .mp4")
    is_same = False
    with suppress(OSError, ValueError):  # one of them does not exist
        is_same = out.samefile(video)
    if is_same:
        raise ConfigError(f"{out} is the input video; choose another name for the annotated video")


def annotate_video(
    prediction: VideoPrediction,
    video: Path,
    out: Path,
    *,
    blur: str | None = None,
    on_frame: Callable[[float], object] | None = None,
) -> WrittenVideo:
    """Write a copy of a video with boxes, expressions and probabilities of its faces, with sound.

    It has the part of the video that was predicted.

    Boxes are interpolated between the positions in `prediction.paths`. The bars are those of the
    largest face that is classified at this time. The frame rate is constant, that of the video's
    first seconds; for a variable rate, frames are repeated or dropped to keep the sound in sync. No
    frame is shown for longer than `LONGEST_SHOWN_S`: longer gaps are shortened, and the sound is
    dropped.

    Args:
        prediction: Predictions of this video, with the paths of its faces.
        video: The video file or folder of frames; it is read again.
        out: An `.mp4` file.
        blur: Faces to blur: `others` than the largest one, or `all`; None for none.
        on_frame: Called with the time in seconds of each frame after it is drawn.

    Raises:
        ConfigError: `check_annotated` rejects `out`, or the prediction has no paths.
        VideoError: The video cannot be read or written.
    """
    check_annotated(out, video)
    if prediction.windows and not prediction.paths:
        raise ConfigError(f"cannot annotate {video}: predict it with keep_paths=True first")
    tracks = _Tracks(prediction)
    blurring = None if blur is None else FaceBlur(prediction, blur)
    overlay: Overlay | None = None
    fps = _measure_fps(video, prediction.part)
    with open_writer(out, fps, video, prediction.part) as writer:
        timer = _FrameTimer(fps, prediction.start_s)
        for frame, times in timer.schedule(read_frames(video, part=prediction.part)):
            if overlay is None:
                height, width = frame.image_rgb.shape[:2]
                overlay = Overlay((width, height), prediction.class_names, prediction.model)
            if times:
                faces = tracks.faces_at(frame.time_s)
                main = tracks.choose_main(faces)
                image_rgb = frame.image_rgb
                if blurring is not None:
                    image_rgb = blurring.draw(image_rgb, frame.time_s)
                writer.write(overlay.draw(image_rgb, faces, main), times)
            if on_frame is not None:
                on_frame(frame.time_s)
        writer.left_out = OUT_OF_SYNC if timer.skipped_s else None
    return WrittenVideo(out, writer.num_frames, writer.why_silent)


class _Tracks:
    """All faces of a video at any time, and the main face, whose bars are shown."""

    def __init__(self, prediction: VideoPrediction) -> None:
        windows: dict[int, list[Window]] = {}
        for window in prediction.windows:
            windows.setdefault(window.track, []).append(window)
        self._is_uncertain = prediction.is_uncertain
        self._tracks = {
            track: _Track(path, drawn_stretches(prediction, windows.get(track, [])))
            for track, path in sorted(prediction.paths.items())
            if path
        }
        self._main: int | None = None

    def faces_at(self, time_s: float) -> list[ShownFace]:
        faces = []
        for number, track in self._tracks.items():
            box_xyxy, window = track.box_at(time_s), track.window_at(time_s)
            if box_xyxy is not None:
                uncertain = window is not None and bool(self._is_uncertain(window))
                faces.append(ShownFace(number, box_xyxy, window, uncertain))
        return faces

    def choose_main(self, faces: Sequence[ShownFace]) -> ShownFace | None:
        """Return the largest face of the highest rank, or the last one if none is much larger."""
        rank = max((face.rank for face in faces), default=0)
        faces = [face for face in faces if face.rank == rank]
        largest = max(faces, key=lambda face: face.area, default=None)
        previous = next((face for face in faces if face.track == self._main), None)
        if largest is not None and previous is not None and largest.area < LARGER * previous.area:
            largest = previous
        self._main = largest.track if largest is not None else None
        return largest


class _Track:
    """One face: its box and its window at any time."""

    def __init__(self, path: Sequence[SeenFace], stretches: Sequence[Stretch]) -> None:
        self._times_s = np.array([seen.time_s for seen in path])
        self._boxes = np.array([seen.box_xyxy for seen in path], dtype=float)
        self._stretches = stretches
        self._starts_s = np.array([stretch.start_s for stretch in stretches])

    def box_at(self, time_s: float) -> np.ndarray | None:
        """Return the interpolated box (4,); None if the face is not visible."""
        after = int(np.searchsorted(self._times_s, time_s, side="right"))
        before = after - 1
        if 0 < after < len(self._times_s):
            gap_s = self._times_s[after] - self._times_s[before]
            if gap_s <= LONGEST_GAP_S:
                share = (time_s - self._times_s[before]) / gap_s
                return (1 - share) * self._boxes[before] + share * self._boxes[after]
        if before >= 0 and time_s - self._times_s[before] <= HOLD_S:
            return self._boxes[before]
        if after < len(self._times_s) and self._times_s[after] - time_s <= HOLD_S:
            return self._boxes[after]
        return None

    def window_at(self, time_s: float) -> Window | None:
        index = int(np.searchsorted(self._starts_s, time_s, side="right")) - 1
        if index < 0 or time_s > self._stretches[index].end_s:
            return None
        return self._stretches[index].window


def _measure_fps(video: Path, part: Part) -> float:
    """Return the frame rate at the start of a part; if it varies, that of the fast parts."""
    frames = islice(read_frames(video, part=part), MEASURED_FRAMES + 1)
    times_s = [frame.time_s for frame in frames]
    if len(times_s) < 2:
        return FALLBACK_FPS
    steps_s = np.diff(times_s)
    if np.ptp(steps_s) <= STEADY_S:
        fps = float(1 / steps_s.mean())
    else:
        fps = min(MOST_FPS, float(1 / np.quantile(steps_s, 0.25)))
    fps = max(LEAST_FPS, fps)
    nearest = min(RATES, key=lambda rate: abs(rate - fps))
    return nearest if abs(nearest - fps) < 0.002 * fps else fps


class _FrameTimer:
    """Repeats and drops frames so that they appear at their times at a constant rate.

    Attributes:
        skipped_s: Total time cut from gaps longer than `LONGEST_SHOWN_S`.
    """

    def __init__(self, fps: float, start_s: float = 0.0) -> None:
        self._fps, self._start_s = fps, start_s
        self._written = 0
        self.skipped_s = 0.0

    def schedule(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, int]]:
        """Yield each frame with the number of times that it is written."""
        frame, since_s = None, self._start_s
        for following in frames:
            if frame is not None:
                yield frame, self._count(since_s, following.time_s)
                since_s = following.time_s
            frame = following
        if frame is not None:
            yield frame, self._count(since_s, frame.time_s + 1 / self._fps) or 1

    def _count(self, since_s: float, until_s: float) -> int:
        self.skipped_s += max(0.0, until_s - since_s - LONGEST_SHOWN_S)
        shown_s = until_s - self._start_s - self.skipped_s
        times = max(0, int(shown_s * self._fps + 0.5) - self._written)
        self._written += times
        return times
