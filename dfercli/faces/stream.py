"""All faces through a video as it comes: linked from frame to frame, carried over short gaps."""

from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, groupby
from math import inf
from operator import itemgetter

import numpy as np
from scipy.optimize import linear_sum_assignment

from dfercli.faces.search import ROUNDING_S, search_frames
from dfercli.faces.shots import number_shots
from dfercli.faces.track import MAX_GAP_S, MIN_IOU, SHORT_GAP_S
from dfercli.faces.types import Detector, Face, blend_faces, box_iou, find_least_track_score
from dfercli.media.video import Frame

MAX_SHIFT = 0.5
"""Mean distance of the landmarks, in sides of the box, up to which two faces whose boxes hardly
overlap are one that moved (our choice)."""

MAX_GROWTH = 2.0
"""Ratio of the boxes' areas up to which they can be (our choice)."""


MIN_IOU_AFTER_GAP = 0.5
"""Overlap from which a face is the one that was lost for longer than `SHORT_GAP_S` (our choice): a
wrong link is worse than a new number."""


@dataclass(frozen=True)
class SeenFrame:
    """A frame and all faces in it.

    Attributes:
        frame: The frame.
        faces: Each face by the number of its track; those not detected are interpolated.
    """

    frame: Frame
    faces: dict[int, Face] = field(default_factory=dict)


@dataclass
class _Trail:
    """A face that may still be there.

    Attributes:
        number: Of its track.
        face: Where it was detected last.
        time_s: When.
        first_s: When it was detected first.
        best_score: The greatest score of its detections.
    """

    number: int
    face: Face
    time_s: float
    first_s: float
    best_score: float = 0.0


def follow_faces(
    frames: Iterable[Frame], detector: Detector, carry_s: float
) -> Iterator[SeenFrame]:
    """Give each frame with the faces in it, each under the number of its track.

    A track is one face for as long as it is followed: over frames by the overlap of boxes and the
    distance of landmarks, over at most `MAX_GAP_S` without it, never over a cut. Numbers count
    from 0 and are not used again. Frames are held for at most `SHORT_GAP_S` and the time between
    two key frames, so that memory does not grow.

    A track counts from the moment on when the detector was sure of it (`find_least_track_score`),
    and for up to `SHORT_GAP_S` before.

    Args:
        frames: In order of time.
        detector: Finds faces in single frames.
        carry_s: Longest time between two frames that are searched; between them a face is searched
            only where it, or another, has moved away, and carried elsewhere.
    """
    numbers, least_score = count(), find_least_track_score(detector)
    for _, shot in groupby(number_shots(frames), key=itemgetter(0)):
        searched = search_frames((frame for _, frame in shot), detector, carry_s, everyone=True)
        yield from _follow_shot(searched, numbers, least_score)


def _follow_shot(
    searched: Iterable[tuple[Frame, list[Face] | None]], numbers: Iterator[int], least_score: float
) -> Iterator[SeenFrame]:
    """Follow the faces of one shot."""
    trails: list[_Trail] = []
    held: deque[SeenFrame] = deque()
    doubted: set[int] = set()  # numbers of tracks that the detector was not sure of yet
    before_s = -inf  # when a frame was searched last: in slow videos long ago
    for frame, faces in searched:
        held.append(SeenFrame(frame))
        if faces is None:
            continue
        now_s = frame.time_s
        since_s = min(before_s, now_s - MAX_GAP_S - ROUNDING_S)
        before_s = now_s
        trails = [trail for trail in trails if trail.time_s >= since_s]
        for trail, face in pair_faces(trails, faces, now_s):
            if trail is None:
                trail = _Trail(next(numbers), face, now_s, first_s=now_s)
                trails.append(trail)
            elif now_s - trail.time_s <= SHORT_GAP_S + ROUNDING_S:
                _carry(trail, face, now_s, held)
            trail.face, trail.time_s = face, now_s
            trail.best_score = max(trail.best_score, face.score)
            if trail.best_score < least_score:
                doubted.add(trail.number)
            else:
                doubted.discard(trail.number)
            held[-1].faces[trail.number] = face
        settled_s = _find_settled_s(trails, doubted, now_s)
        while held and held[0].frame.time_s <= settled_s:
            yield _without(held.popleft(), doubted)
        if doubted:
            doubted &= {trail.number for trail in trails}.union(*(seen.faces for seen in held))
    while held:
        yield _without(held.popleft(), doubted)


def _find_settled_s(trails: Iterable[_Trail], doubted: Container[int], now_s: float) -> float:
    """Return the time up to which nothing that follows changes what is in the frames."""
    settled_s = now_s
    for trail in trails:
        if now_s - SHORT_GAP_S <= trail.time_s < now_s:  # missed now; it may be carried
            settled_s = min(settled_s, trail.time_s)
        if trail.number in doubted and now_s - SHORT_GAP_S <= trail.first_s:
            settled_s = min(settled_s, trail.first_s - ROUNDING_S)
    return settled_s


def _without(seen: SeenFrame, doubted: Container[int]) -> SeenFrame:
    """Return a frame without the faces that the detector was not sure of."""
    faces = {number: face for number, face in seen.faces.items() if number not in doubted}
    return SeenFrame(seen.frame, faces)


def _carry(trail: _Trail, face: Face, now_s: float, held: Iterable[SeenFrame]) -> None:
    """Interpolate a face in the held frames between its last detection and this one."""
    for seen in held:
        if trail.time_s < seen.frame.time_s < now_s:
            share = (seen.frame.time_s - trail.time_s) / (now_s - trail.time_s)
            seen.faces[trail.number] = blend_faces(trail.face, face, share)


def pair_faces(
    trails: Sequence[_Trail], faces: Sequence[Face], now_s: float
) -> list[tuple[_Trail | None, Face]]:
    """Give each face with the trail that it goes on, None for a new one: the best pairs of all."""
    if not trails or not faces:
        return [(None, face) for face in faces]
    lost = [now_s - trail.time_s > SHORT_GAP_S + ROUNDING_S for trail in trails]
    nearness = np.array(
        [
            [measure_nearness(trail.face, face, after_gap) for face in faces]
            for trail, after_gap in zip(trails, lost, strict=True)
        ]
    )
    pairs = zip(*linear_sum_assignment(nearness, maximize=True), strict=True)
    found = {column: trails[row] for row, column in pairs if nearness[row, column] > 0}
    return [(found.get(column), face) for column, face in enumerate(faces)]


def measure_nearness(before: Face, after: Face, after_gap: bool = False) -> float:
    """Give how likely two faces are one that moved: from 0, not at all, to 2, at the same place.

    Args:
        before: Where it was.
        after: Where one is now.
        after_gap: Whether it was lost for longer than `SHORT_GAP_S`: anybody may stand there now.
    """
    overlap = box_iou(before.box_xyxy, after.box_xyxy)
    small, large = sorted((before.area, after.area))
    if not small:
        return 0.0
    distances = np.linalg.norm(after.landmarks_xy - before.landmarks_xy, axis=1)
    shift = float(distances.mean() / np.sqrt(large))
    moved = shift <= MAX_SHIFT and large <= MAX_GROWTH * small
    linked = overlap >= MIN_IOU_AFTER_GAP if after_gap else overlap >= MIN_IOU or moved
    return overlap + max(0.0, 1 - shift) if linked else 0.0
