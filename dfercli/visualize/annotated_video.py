"""A video with what was seen in it: the box of each face, its expression, and bars over time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np

from dfercli.errors import ConfigError
from dfercli.media.video import FALLBACK_FPS, Frame, read_frames
from dfercli.media.video_writer import WrittenVideo, open_writer
from dfercli.predict.prediction import SeenFace, VideoPrediction, Window
from dfercli.predict.segments import Stretch, drawn_stretches
from dfercli.visualize.overlay import Overlay, ShownFace

LONGEST_GAP_S = 0.6
"""A face that is not seen for longer has no box meanwhile (our choice: a cut, or it is gone)."""

HOLD_S = 0.085
"""Time that a box stays before a face's first place and after its last (our choice): half of the
longest time between two frames that are searched, at 25 or 30 frames per second."""

LARGER = 1.3
"""Times that a face must be larger to take the bars from another (our choice: no flicker)."""

MEASURED_FRAMES = 60
"""Frames that a video's rate is taken from (our choice)."""

STEADY_S = 0.002
"""Times from frame to frame that differ by less are one, rounded to milliseconds."""

LONGEST_SHOWN_S = 10.0
"""Longest time that one frame is shown (our choice: a slide that somebody talks about). Times of
damaged files jump by hours, which would be written frame by frame."""

OUT_OF_STEP = f"its times jump by more than {LONGEST_SHOWN_S:g} s, so it would not agree"

MOST_FPS = 60.0
"""For a video whose rate varies (our choice: what screens show)."""

LEAST_FPS = 1.0
"""For a video whose frames come seldom (our choice): they are repeated."""

RATES = (24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60000 / 1001, 60.0)
"""Frames a second that a measured rate is rounded to. Source: SMPTE ST 2036-1, table 1."""


def check_annotated(out: Path, video: Path) -> None:
    """Refuse a name for an annotated video before time is spent on it.

    Raises:
        ConfigError: It does not end in `.mp4`, or it is the video itself.
    """
    if out.suffix.lower() != ".mp4":
        raise ConfigError(f"cannot write a video to {out}; name it with .mp4")
    is_same = False
    with suppress(OSError, ValueError):  # one of them is not there
        is_same = out.samefile(video)
    if is_same:
        raise ConfigError(f"{out} is the video itself; give the annotated one another name")


def annotate_video(
    prediction: VideoPrediction,
    video: Path,
    out: Path,
    *,
    on_frame: Callable[[float], object] | None = None,
) -> WrittenVideo:
    """Write a video with its faces' boxes, expressions and probabilities, and its own sound.

    Boxes move evenly between the places in `prediction.paths`. The bars are those of the largest
    face among those that are read at that moment. The rate is constant, that of the video's first
    seconds; where its own varies, each frame is repeated or left out so that it stands at its time,
    and the sound agrees. But no frame is shown for longer than `LONGEST_SHOWN_S`: where times jump
    by more, all that follows comes earlier, and the sound is left out.

    Args:
        prediction: Of this video, with the paths of its faces.
        video: The file, or the folder of frames, that it is of; it is read again.
        out: An `.mp4` file.
        on_frame: Called with the time of each frame, in seconds, once it is drawn.

    Raises:
        ConfigError: The name is refused by `check_annotated`, or the paths were not asked for.
        VideoError: The video cannot be read, or not be written.
    """
    check_annotated(out, video)
    if prediction.windows and not prediction.paths:
        raise ConfigError(f"cannot annotate {video}: the places of its faces were not kept")
    cast = _Cast(prediction)
    overlay: Overlay | None = None
    fps = _measure_fps(video)
    with open_writer(out, fps, sound_of=video) as writer:
        pace = _Pace(fps)
        for frame, times in pace.show(read_frames(video)):
            if overlay is None:
                height, width = frame.image_rgb.shape[:2]
                overlay = Overlay((width, height), prediction.class_names, prediction.model)
            if times:
                faces = cast.faces_at(frame.time_s)
                writer.write(overlay.draw(frame.image_rgb, faces, cast.choose(faces)), times)
            if on_frame is not None:
                on_frame(frame.time_s)
        writer.left_out = OUT_OF_STEP if pace.left_out_s else None
    return WrittenVideo(out, writer.num_frames, writer.why_silent)


class _Cast:
    """All faces of a video: who is where, and whose bars are shown."""

    def __init__(self, prediction: VideoPrediction) -> None:
        windows: dict[int, list[Window]] = {}
        for window in prediction.windows:
            windows.setdefault(window.track, []).append(window)
        self._is_uncertain = prediction.is_uncertain
        self._roles = {
            track: _Role(path, drawn_stretches(prediction, windows.get(track, [])))
            for track, path in sorted(prediction.paths.items())
            if path
        }
        self._main: int | None = None

    def faces_at(self, time_s: float) -> list[ShownFace]:
        faces = []
        for track, role in self._roles.items():
            box_xyxy, window = role.box_at(time_s), role.window_at(time_s)
            if box_xyxy is not None:
                uncertain = window is not None and bool(self._is_uncertain(window))
                faces.append(ShownFace(track, box_xyxy, window, uncertain))
        return faces

    def choose(self, faces: Sequence[ShownFace]) -> ShownFace | None:
        """Give the largest face, but the one chosen before while none is much larger.

        Faces that are named at this moment go before those that are not.
        """
        most_told = max((face.told for face in faces), default=0)
        faces = [face for face in faces if face.told == most_told]
        largest = max(faces, key=lambda face: face.area, default=None)
        before = next((face for face in faces if face.track == self._main), None)
        if largest is not None and before is not None and largest.area < LARGER * before.area:
            largest = before
        self._main = largest.track if largest is not None else None
        return largest


class _Role:
    """One face: where it is, and which window speaks of it, at any time."""

    def __init__(self, path: Sequence[SeenFace], stretches: Sequence[Stretch]) -> None:
        self._times_s = np.array([seen.time_s for seen in path])
        self._boxes = np.array([seen.box_xyxy for seen in path], dtype=float)
        self._stretches = stretches
        self._starts_s = np.array([stretch.start_s for stretch in self._stretches])

    def box_at(self, time_s: float) -> np.ndarray | None:
        """Give the box (4,); None where the face is not seen."""
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
        at = int(np.searchsorted(self._starts_s, time_s, side="right")) - 1
        if at < 0 or time_s > self._stretches[at].end_s:
            return None
        return self._stretches[at].window


def _measure_fps(video: Path) -> float:
    """Give the frames a second of a video's begin, where they vary those of its quick parts."""
    times_s = [frame.time_s for frame in islice(read_frames(video), MEASURED_FRAMES + 1)]
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


class _Pace:
    """Has frames stand at their times at a constant rate.

    Attributes:
        left_out_s: Seconds by which frames come earlier, since times jumped.
    """

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._shown = 0
        self.left_out_s = 0.0

    def show(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, int]]:
        """Give each frame, and how often it is shown."""
        frame, since_s = None, 0.0
        for following in frames:
            if frame is not None:
                yield frame, self._repeat(since_s, following.time_s)
                since_s = following.time_s
            frame = following
        if frame is not None:
            yield frame, self._repeat(since_s, frame.time_s + 1 / self._fps) or 1

    def _repeat(self, since_s: float, until_s: float) -> int:
        self.left_out_s += max(0.0, until_s - since_s - LONGEST_SHOWN_S)
        times = max(0, int((until_s - self.left_out_s) * self._fps + 0.5) - self._shown)
        self._shown += times
        return times
