"""One face through a video: linked from frame to frame by overlap, never chosen frame by frame."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dfercli.faces.align import crop_face
from dfercli.faces.base import Detector, Face, box_iou
from dfercli.video import Frame, read_frames

MIN_IOU = 0.3
"""Overlap from which two boxes in neighbouring frames are one face (our choice)."""

MAX_GAP_S = 1.0
"""Longest time without a detection after which a track goes on (our choice)."""

MIN_REJOINED = 3
"""Faces that a track must have to take over from another (our choice)."""


@dataclass
class Track:
    """One face over time.

    Attributes:
        faces: The face by index of its frame.
        last_time_s: When it was last seen.
    """

    faces: dict[int, Face] = field(default_factory=dict)
    last_time_s: float = 0.0

    @property
    def last_face(self) -> Face:
        """The face where it was last seen."""
        return next(reversed(self.faces.values()))

    @property
    def start(self) -> int:
        """Index of the first frame that shows it."""
        return next(iter(self.faces))

    @property
    def end(self) -> int:
        """Index of the last frame that shows it."""
        return next(reversed(self.faces))

    @property
    def presence(self) -> float:
        """Area summed over frames: large for a face that is near and stays."""
        return sum(face.area for face in self.faces.values())


@dataclass(frozen=True)
class FollowedFace:
    """The main face of a video, and how much of the video shows it.

    Attributes:
        faces: The face by index of its frame; empty when there is none.
        times_s: Times of the frames that were searched.
    """

    faces: dict[int, Face]
    times_s: tuple[float, ...]

    @property
    def num_frames(self) -> int:
        """Frames that were searched."""
        return len(self.times_s)

    @property
    def duration_s(self) -> float:
        """Time from the first searched frame to the end of the last."""
        if self.num_frames < 2:
            return 0.0
        shown_s = self.times_s[-1] - self.times_s[0]
        return shown_s * self.num_frames / (self.num_frames - 1)

    @property
    def coverage(self) -> float:
        """Share of the searched frames in which the face was found."""
        return len(self.faces) / self.num_frames if self.num_frames else 0.0


@dataclass(frozen=True)
class FaceCrop:
    """An aligned face.

    Attributes:
        frame_index: The frame it comes from.
        time_s: Time of that frame.
        image_rgb: (size, size, 3) uint8.
    """

    frame_index: int
    time_s: float
    image_rgb: np.ndarray


def follow_main_face(
    path: Path, detector: Detector, max_fps: float | None = None, rejoin: bool = False
) -> FollowedFace:
    """Search a video for the one face that is largest and longest in it.

    Frames are not kept, so that memory does not grow with the video.

    Args:
        path: A video file.
        detector: Finds faces in single frames.
        max_fps: Frames searched a second; None searches all.
        rejoin: Where the face is lost, as at a cut, take up the largest of the others, so that
            each moment has its main face. It may be another person's.

    Raises:
        VideoError: The video cannot be read.
    """
    tracks: list[Track] = []
    times_s = []
    for frame in read_frames(path, max_fps):
        link_faces(tracks, frame, detector.detect(frame.image_rgb))
        times_s.append(frame.time_s)
    ranked = sorted(tracks, key=lambda track: -track.presence)
    faces = join_tracks(ranked) if rejoin else dict(ranked[0].faces if ranked else {})
    return FollowedFace(faces, tuple(times_s))


def join_tracks(ranked: Iterable[Track]) -> dict[int, Face]:
    """Join tracks that are never in view together into one face at a time, the first first.

    Tracks of under `MIN_REJOINED` faces are left out: they are often no faces at all.
    """
    joined: list[Track] = []
    for track in ranked:
        apart = all(track.end < other.start or track.start > other.end for other in joined)
        if not joined or (apart and len(track.faces) >= MIN_REJOINED):
            joined.append(track)
    joined.sort(key=lambda track: track.start)
    return {index: face for track in joined for index, face in track.faces.items()}


def link_faces(tracks: list[Track], frame: Frame, faces: Iterable[Face]) -> None:
    """Add a frame's faces to the tracks they overlap most, and begin tracks with the others."""
    free = [track for track in tracks if frame.time_s - track.last_time_s <= MAX_GAP_S]
    for face in sorted(faces, key=lambda face: -face.score):
        overlaps = [box_iou(track.last_face.box_xyxy, face.box_xyxy) for track in free]
        if overlaps and max(overlaps) >= MIN_IOU:
            track = free.pop(int(np.argmax(overlaps)))
        else:
            track = Track()
            tracks.append(track)
        track.faces[frame.index] = face
        track.last_time_s = frame.time_s


def crop_followed_face(
    path: Path, followed: FollowedFace, size: int, max_fps: float | None = None
) -> Iterator[FaceCrop]:
    """Read a video again and cut out the face that was followed, in the frames that show it.

    Args:
        path: The video that was searched.
        followed: What `follow_main_face` gave, with the same `max_fps`.
        size: Side of the crops in pixels.
        max_fps: Frames read a second; None reads all.
    """
    for frame in read_frames(path, max_fps):
        face = followed.faces.get(frame.index)
        if face is not None:
            crop = crop_face(frame.image_rgb, face.landmarks_xy, size)
            yield FaceCrop(frame.index, frame.time_s, crop)
