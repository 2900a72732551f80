"""One face through a video: linked from frame to frame by overlap, never chosen frame by frame."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from dfercli.faces.align import TEMPLATE, crop_face, similarity_transform
from dfercli.faces.search import KEY_STEP_S, ROUNDING_S, search_frames
from dfercli.faces.types import Detector, Face, blend_faces, box_iou, find_least_track_score
from dfercli.media.video import Frame, read_frames

MIN_IOU = 0.3
"""Overlap from which two boxes in neighbouring frames are one face (our choice)."""

MAX_GAP_S = 1.0
"""Longest time without a detection after which a track goes on (our choice)."""

SHORT_GAP_S = 2 * KEY_STEP_S
"""Longest time between two detections that is filled, where faces are carried (our choice: a face
may be missed in one key frame)."""


@dataclass
class Track:
    """One face over time.

    Attributes:
        faces: The face by index of its frame, where it was detected.
        last_time_s: When it was last seen.
        carried: The face by index of its frame, where it is interpolated between detections.
    """

    faces: dict[int, Face] = field(default_factory=dict)
    last_time_s: float = 0.0
    carried: dict[int, Face] = field(default_factory=dict)

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
    def best_score(self) -> float:
        """The greatest score of a detection."""
        return max(face.score for face in self.faces.values())

    @property
    def presence(self) -> float:
        """Area summed over frames: large for a face that is near and stays."""
        return sum(face.area for face in (*self.faces.values(), *self.carried.values()))


@dataclass(frozen=True)
class FollowedFace:
    """The main face of a video, and how much of the video shows it.

    Attributes:
        faces: The face by index of its frame, detected or carried; empty when there is none.
        times_s: Times of all frames.
        num_searched: Frames that the detector has seen.
        interpolated: Frames searched without success in a short gap, where the face is carried.
        score: Median score of the detections; 0 without any.
        jitter: How restless the landmarks are, see `measure_jitter`.
        rival: Presence of the largest other track in view at the same time, as a share of the main
            face's; 0 without one, near 1 where it is hardly clear whom the video shows.
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


@dataclass(frozen=True)
class FaceCrop:
    """An aligned face.

    Attributes:
        time_s: Time of the frame that it comes from.
        image_rgb: (size, size, 3) uint8.
    """

    time_s: float
    image_rgb: np.ndarray


def follow_main_face(path: Path, detector: Detector, carry_s: float = 0.0) -> FollowedFace:
    """Search a video for the one face that is largest and longest in it.

    What the detector is never sure of is no face, see `find_least_track_score`. Frames are not
    kept, so that memory does not grow with the video but by landmarks.

    Args:
        path: A video file, or a folder of frames.
        detector: Finds faces in single frames.
        carry_s: Longest time between key frames, up to `SHORT_GAP_S`. Between them frames are
            searched only where the face changes; elsewhere it is carried, and so it is over short
            gaps. 0 searches every frame and carries nothing.

    Raises:
        VideoError: The video cannot be read.
    """
    tracks: list[Track] = []
    times_s: dict[int, float] = {}
    searched = []
    for frame, faces in search_frames(read_frames(path), detector, carry_s):
        times_s[frame.index] = frame.time_s
        if faces is not None:
            searched.append(frame.index)
            link_faces(tracks, frame, faces)
    least_score = find_least_track_score(detector)
    tracks = [track for track in tracks if track.best_score >= least_score]
    if carry_s:
        found = [track.faces.keys() for track in tracks]
        for track in tracks:
            track.carried = fill_gaps(track.faces, times_s, found)
    ranked = sorted(tracks, key=lambda track: -track.presence)
    return _sum_up(ranked, searched, times_s)


def _sum_up(
    ranked: Sequence[Track], searched: Sequence[int], times_s: Mapping[int, float]
) -> FollowedFace:
    """Describe the first of the tracks."""
    main = ranked[0] if ranked else Track()
    return FollowedFace(
        faces=dict(sorted({**main.carried, **main.faces}.items())),
        times_s=tuple(times_s.values()),
        num_searched=len(searched),
        interpolated=len(main.carried.keys() & set(searched)),
        score=float(np.median([face.score for face in main.faces.values()])) if ranked else 0.0,
        jitter=measure_jitter(main.faces, searched, times_s),
        rival=_measure_rival(ranked),
    )


def fill_gaps(
    faces: Mapping[int, Face],
    times_s: Mapping[int, float],
    found: Sequence[Collection[int]] = (),
) -> dict[int, Face]:
    """Interpolate one face, linearly in time, between detections `SHORT_GAP_S` apart at most.

    A gap in which another face comes and goes is a cutaway, and stays empty.

    Args:
        faces: The detections by index of their frame, in order.
        times_s: Times of all frames by index.
        found: Frames in which each of all faces was found.

    Returns:
        The faces of the frames between; longer gaps stay empty.
    """
    filled = {}
    for (start, first), (end, last) in pairwise(faces.items()):
        gap_s = times_s[end] - times_s[start]
        if gap_s > SHORT_GAP_S + ROUNDING_S or _is_cutaway(start, end, found):
            continue
        for index in range(start + 1, end):
            if index in times_s:
                share = (times_s[index] - times_s[start]) / gap_s
                filled[index] = blend_faces(first, last, share)
    return filled


def _is_cutaway(start: int, end: int, found: Sequence[Collection[int]]) -> bool:
    """Whether a face is between two frames that is in neither of them."""
    strangers = (frames for frames in found if start not in frames and end not in frames)
    return any(index in frames for frames in strangers for index in range(start + 1, end))


def measure_jitter(
    found: Mapping[int, Face], searched: Sequence[int], times_s: Mapping[int, float]
) -> float:
    """Give how restless detections are, in shares of the crop's side; motion counts a little too.

    A detection counts if the frames searched before and after it have one as well: by the mean
    distance of its landmarks from the straight line, in time, between theirs. Of these the median,
    0 without any. Our choice.
    """
    distances = []
    for before, here, after in zip(searched, searched[1:], searched[2:], strict=False):
        if before in found and here in found and after in found:
            share = (times_s[here] - times_s[before]) / (times_s[after] - times_s[before])
            landmarks_xy = found[here].landmarks_xy
            line_xy = blend_faces(found[before], found[after], share).landmarks_xy
            scale = np.hypot(*similarity_transform(landmarks_xy, TEMPLATE)[:, 0])
            distances.append(scale * np.linalg.norm(landmarks_xy - line_xy, axis=1).mean())
    return float(np.median(distances)) if distances else 0.0


def _measure_rival(ranked: Sequence[Track]) -> float:
    """Give the presence of the second track in view with the first, as a share of the first's."""
    if not ranked or not ranked[0].presence:
        return 0.0
    main, *others = ranked
    shared = (other for other in others if other.start <= main.end and other.end >= main.start)
    return max((other.presence for other in shared), default=0.0) / main.presence


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


def crop_followed_face(path: Path, followed: FollowedFace, size: int) -> Iterator[FaceCrop]:
    """Read a video again and cut out the face that was followed, in the frames that show it.

    Args:
        path: The video that was searched.
        followed: What `follow_main_face` gave.
        size: Side of the crops in pixels.
    """
    for frame in read_frames(path):
        face = followed.faces.get(frame.index)
        if face is not None:
            crop = crop_face(frame.image_rgb, face.landmarks_xy, size)
            yield FaceCrop(frame.time_s, crop)
