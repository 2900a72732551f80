"""The main face of a video: the one that training crops show."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dfercli.faces.align import TEMPLATE, crop_face, similarity_transform
from dfercli.faces.tracking import follow_faces, measure_nearness
from dfercli.faces.types import Detector, Face, blend_faces
from dfercli.media.video import read_frames


@dataclass
class Track:
    """One face in one camera view.

    Attributes:
        view: Number of the view.
        faces: The face by index of its frame, in order.
        carried: Indices of the frames where it is interpolated between detections.
    """

    view: int
    faces: dict[int, Face] = field(default_factory=dict)
    carried: set[int] = field(default_factory=set)

    @property
    def start(self) -> int:
        """Index of the first frame that shows it."""
        return next(iter(self.faces))

    @property
    def end(self) -> int:
        """Index of the last frame that shows it."""
        return next(reversed(self.faces))

    @property
    def detections(self) -> dict[int, Face]:
        """The faces that were detected."""
        return {i: face for i, face in self.faces.items() if i not in self.carried}

    @property
    def presence(self) -> float:
        """Area summed over frames: large for a face that is near and stays."""
        return sum(face.area for face in self.faces.values())

    def extend(self, other: "Track") -> None:
        """Append a later track."""
        self.faces |= other.faces
        self.carried |= other.carried


@dataclass(frozen=True)
class FollowedFace:
    """The main face of a video, and how much of the video shows it.

    Attributes:
        faces: The face by index of its frame, detected or interpolated; empty without one.
        times_s: Times of all frames.
        num_searched: Frames that the detector has seen.
        interpolated: Frames that were searched without success, where the face is interpolated.
        score: Median score of the detections; 0 without any.
        jitter: How restless the landmarks are, see `measure_jitter`.
        rival: Presence of the largest other track between the main face's first and last frame, as
            a share of the main face's; near 1 where it is hardly clear whom the video shows.
    """

    faces: dict[int, Face]
    times_s: tuple[float, ...]
    num_searched: int = 0
    interpolated: int = 0
    score: float = 0.0
    jitter: float = 0.0
    rival: float = 0.0

    @property
    def num_frames(self) -> int:
        """All frames, searched or not."""
        return len(self.times_s)

    @property
    def skipped(self) -> int:
        """Frames without the face."""
        return self.num_frames - len(self.faces)

    @property
    def coverage(self) -> float:
        """Share of the frames that have the face."""
        return len(self.faces) / self.num_frames if self.num_frames else 0.0


def follow_main_face(path: Path, detector: Detector, carry_s: float = 0.0) -> FollowedFace:
    """Return the face of a video that is largest and longest in it.

    Faces are followed as in prediction (`follow_faces`), so that no track crosses a cut. Tracks of
    one camera view whose face is at the same place are one person: the one before and after a
    cutaway, or a second out of sight. Other shots are left out, even if they show the same person
    from elsewhere: nobody is recognised, and half a clip of the right person serves training
    better than a whole one of two.

    Frames are not kept; memory grows with the video by its landmarks only.

    Args:
        path: A video file, or a folder of frames.
        detector: Finds faces in single frames.
        carry_s: Longest time between key frames, see `search_frames`; 0 searches every frame.

    Raises:
        VideoError: The video cannot be read.
    """
    tracks: dict[int, Track] = {}
    times_s: dict[int, float] = {}
    searched: list[int] = []
    for seen in follow_faces(read_frames(path), detector, carry_s, largest_only=True):
        index = seen.frame.index
        times_s[index] = seen.frame.time_s
        if seen.is_searched:
            searched.append(index)
        for number, face in seen.faces.items():
            track = tracks.setdefault(number, Track(seen.view))
            track.faces[index] = face
            if number in seen.carried:
                track.carried.add(index)
    ranked = sorted(join_tracks(tracks.values()), key=lambda track: -track.presence)
    if not ranked:
        return FollowedFace({}, tuple(times_s.values()), len(searched))
    main = ranked[0]
    return FollowedFace(
        faces=main.faces,
        times_s=tuple(times_s.values()),
        num_searched=len(searched),
        interpolated=len(main.carried.intersection(searched)),
        score=float(np.median([face.score for face in main.detections.values()])),
        jitter=measure_jitter(main.detections, searched, times_s),
        rival=_measure_rival(ranked),
    )


def join_tracks(tracks: Iterable[Track]) -> list[Track]:
    """Join tracks of one camera view whose face is at the same place; the first of them grow."""
    joined: list[Track] = []
    for track in sorted(tracks, key=lambda track: track.start):
        nearest, most = None, 0.0
        for other in joined:
            if other.view == track.view and other.end < track.start:
                last, first = other.faces[other.end], track.faces[track.start]
                nearness = measure_nearness(last, first, after_gap=True)
                if nearness > most:
                    nearest, most = other, nearness
        if nearest is None:
            joined.append(track)
        else:
            nearest.extend(track)
    return joined


def measure_jitter(
    detections: Mapping[int, Face], searched: Sequence[int], times_s: Mapping[int, float]
) -> float:
    """Return how restless detections are, in shares of the crop's side; motion counts a little too.

    A detection counts if the frames searched before and after it have one as well: by the mean
    distance of its landmarks from the straight line, in time, between theirs. The result is their
    median; 0 without any. Our choice.
    """
    distances = []
    for before, here, after in zip(searched, searched[1:], searched[2:], strict=False):
        if before in detections and here in detections and after in detections:
            share = (times_s[here] - times_s[before]) / (times_s[after] - times_s[before])
            landmarks_xy = detections[here].landmarks_xy
            line_xy = blend_faces(detections[before], detections[after], share).landmarks_xy
            scale = np.hypot(*similarity_transform(landmarks_xy, TEMPLATE)[:, 0])
            distances.append(scale * np.linalg.norm(landmarks_xy - line_xy, axis=1).mean())
    return float(np.median(distances)) if distances else 0.0


def _measure_rival(ranked: Sequence[Track]) -> float:
    """Return the presence of the second track in view with the first, as a share of the first's."""
    main, *others = ranked
    rivals = (other.presence for other in others if _overlap(other, main))
    return max(rivals, default=0.0) / main.presence if main.presence else 0.0


def _overlap(one: Track, other: Track) -> bool:
    return one.start <= other.end and one.end >= other.start


def read_crops(path: Path, followed: FollowedFace, size: int) -> Iterator[np.ndarray]:
    """Read a video again and yield the crops (size, size, 3) uint8 of its main face, in order.

    Args:
        path: The video that was searched.
        followed: Its main face.
        size: Side of the crops in pixels.
    """
    for frame in read_frames(path):
        face = followed.faces.get(frame.index)
        if face is not None:
            yield crop_face(frame.image_rgb, face.landmarks_xy, size)
