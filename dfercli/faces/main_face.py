"""The main face of a video: the one that training crops show."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from dfercli.faces.align import TEMPLATE, crop_face, similarity_transform
from dfercli.faces.tracking import SeenFrame, follow_faces, measure_nearness
from dfercli.faces.types import Detector, Face, blend_faces
from dfercli.media.video import read_frames

PORTRAIT_PX = 64
"""Side of the aligned crops that are compared across a cut (our choice)."""

MIN_SHARED = 0.25
"""Share of a crop's pixels that must lie inside both pictures (our choice)."""

MIN_CORRELATION = 0.95
MAX_DIFFERENCE = 10.0
"""Correlation of two crops, and mean difference in levels (of 255), from which they show one face
(our choice). Measured on real footage that is enlarged by 1.3 to 1.7 from one frame to the next:
at least 0.978 and at most 6.8 in 97 cuts. In 2,303 pairs of different people (drawn, and of LFW)
the correlation is at most 0.944, and the difference at least 14.3."""

MAX_COMPARED = 4
"""Largest faces of a frame that are compared across a cut (our choice)."""


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


@dataclass(frozen=True)
class FollowedFace:
    """The main face of a video, and how much of the video shows it.

    Attributes:
        faces: The face by index of its frame, detected or interpolated; empty without one.
        times_s: Times of all frames.
        num_searched: Frames that the detector has seen.
        interpolated: Frames that were searched without success, where the face is interpolated.
        score: Median score of the detections; 0 without any.
        jitter: Jitter of the landmarks, see `measure_jitter`.
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
    """Return the face of a video, or of a folder of frames, that is largest and longest in it.

    Faces are followed as in prediction (`follow_faces`), so that no track crosses a cut. Tracks of
    one camera view whose face is at the same place are one person: the one before and after a
    cutaway, or a second out of sight. So are two tracks on either side of a cut that only enlarges
    or moves the picture. Other shots are left out, even if they show the same person from
    elsewhere: nobody is recognised, and half a clip of the right person serves training better
    than a whole one of two. `carry_s` is that of `search_frames`. Frames are not kept in memory.

    Raises:
        VideoError: The video cannot be read.
    """
    tracks: dict[int, Track] = {}
    times_s: dict[int, float] = {}
    searched: list[int] = []
    predecessors: dict[int, int] = {}
    before: SeenFrame | None = None
    for seen in follow_faces(read_frames(path), detector, carry_s, largest_only=True):
        if before is not None:
            predecessors |= find_predecessors(before, seen)
        before = seen
        index = seen.frame.index
        times_s[index] = seen.frame.time_s
        if seen.is_searched:
            searched.append(index)
        for number, face in seen.faces.items():
            track = tracks.setdefault(number, Track(seen.view))
            track.faces[index] = face
            if number in seen.carried:
                track.carried.add(index)
    ranked = sorted(join_tracks(tracks, predecessors), key=lambda track: -track.presence)
    if not ranked:
        return FollowedFace({}, tuple(times_s.values()), len(searched))
    main, *others = ranked
    rivals = [t.presence for t in others if t.start <= main.end and t.end >= main.start]
    return FollowedFace(
        faces=main.faces,
        times_s=tuple(times_s.values()),
        num_searched=len(searched),
        interpolated=len(main.carried.intersection(searched)),
        score=float(np.median([face.score for face in main.detections.values()])),
        jitter=measure_jitter(main.detections, searched, times_s),
        rival=max(rivals, default=0.0) / main.presence if main.presence else 0.0,
    )


def find_predecessors(before: SeenFrame, after: SeenFrame) -> dict[int, int]:
    """Return, for tracks that begin after a cut, the number of the track that they continue.

    Two consecutive frames are compared. Two faces are the same if their pixels are, once aligned:
    for example where a cut enlarges the picture. The most similar pairs are matched first.
    """
    ended, begun = (
        sorted(one.faces.keys() - other.faces.keys(), key=lambda n: -one.faces[n].area)
        for one, other in ((before, after), (after, before))
    )
    similar = []
    for old, new in product(ended[:MAX_COMPARED], begun[:MAX_COMPARED]):
        correlation, difference = compare_faces(
            before.frame.image_rgb, before.faces[old], after.frame.image_rgb, after.faces[new]
        )
        if correlation >= MIN_CORRELATION and difference <= MAX_DIFFERENCE:
            similar.append((correlation, old, new))
    predecessors: dict[int, int] = {}
    for _, old, new in sorted(similar, reverse=True):
        if new not in predecessors and old not in predecessors.values():
            predecessors[new] = old
    return predecessors


def compare_faces(
    first_rgb: np.ndarray, first: Face, second_rgb: np.ndarray, second: Face
) -> tuple[float, float]:
    """Return how similar the aligned crops of two faces are, where both lie inside their images.

    Returns:
        Correlation of the pixels in [-1, 1], and their mean difference in levels (of 255); 0 and
        infinity if they cannot be compared.
    """
    (first_crop, first_inside), (second_crop, second_inside) = (
        _cut_portrait(first_rgb, first),
        _cut_portrait(second_rgb, second),
    )
    first_grey, second_grey = (
        cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
        for crop in (first_crop, second_crop)
    )
    start = np.eye(2, 3, dtype=np.float32)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-4)
    try:  # landmarks near the edge of an image are inexact
        _, warp = cv2.findTransformECC(
            first_grey, second_grey, start, cv2.MOTION_AFFINE, criteria, second_inside, 5
        )
    except cv2.error:  # flat or entirely different
        return 0.0, np.inf
    second_crop, second_inside = (
        cv2.warpAffine(
            image, warp, (PORTRAIT_PX, PORTRAIT_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        for image in (second_crop, second_inside)
    )
    shared = (first_inside == 255) & (second_inside == 255)
    if shared.mean() < MIN_SHARED:
        return 0.0, np.inf
    a, b = first_crop[shared].astype(float), second_crop[shared].astype(float)
    difference = float(np.abs(a - b).mean())
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    energy = np.sqrt((a * a).sum() * (b * b).sum())
    return (float((a * b).sum() / energy) if energy else 0.0), difference


def _cut_portrait(image_rgb: np.ndarray, face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Return a small crop of a face, and 255 in the pixels that lie inside the image."""
    matrix = similarity_transform(face.landmarks_xy, TEMPLATE * PORTRAIT_PX)
    image = np.full(image_rgb.shape[:2], 255, np.uint8)
    inside = cv2.warpAffine(image, matrix, (PORTRAIT_PX, PORTRAIT_PX))
    return crop_face(image_rgb, face.landmarks_xy, PORTRAIT_PX), inside


def join_tracks(tracks: Mapping[int, Track], predecessors: Mapping[int, int]) -> list[Track]:
    """Join the tracks of one person, given the result of `find_predecessors` for all frames.

    A track continues an earlier one in the same camera view and place, or else its predecessor.
    """
    persons: list[list[int]] = []  # numbers of tracks, in order of time
    for number, track in sorted(tracks.items(), key=lambda item: item[1].start):
        nearest, most = None, 0.0
        for person in persons:
            places = [n for n in person if tracks[n].view == track.view]
            if not places or tracks[person[-1]].end >= track.start:
                continue
            last = tracks[places[-1]]
            nearness = measure_nearness(
                last.faces[last.end], track.faces[track.start], after_gap=True
            )
            if nearness > most:
                nearest, most = person, nearness
        if nearest is None:
            old = predecessors.get(number)
            nearest = next((person for person in persons if person[-1] == old), None)
        if nearest is None:
            persons.append([number])
        else:
            nearest.append(number)
    return [_merge([tracks[number] for number in person]) for person in persons]


def _merge(tracks: Sequence[Track]) -> Track:
    merged = Track(tracks[0].view)
    for track in tracks:
        merged.faces |= track.faces
        merged.carried |= track.carried
    return merged


def measure_jitter(
    detections: Mapping[int, Face], searched: Sequence[int], times_s: Mapping[int, float]
) -> float:
    """Return the jitter of detections, in shares of the crop's side; motion adds a little to it.

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


def read_crops(path: Path, followed: FollowedFace, size: int) -> Iterator[np.ndarray]:
    """Read a video again and yield the crops (size, size, 3) uint8 of its main face, in order."""
    for frame in read_frames(path):
        face = followed.faces.get(frame.index)
        if face is not None:
            yield crop_face(frame.image_rgb, face.landmarks_xy, size)
