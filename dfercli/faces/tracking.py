"""Cuts and camera views, and tracks that link the faces of a video from frame to frame."""

from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from itertools import count, groupby, product
from math import inf
from operator import itemgetter

import cv2
import numpy as np

from dfercli.faces.search import KEY_STEP_S, ROUNDING_S, search_frames
from dfercli.faces.types import Detector, Face, blend_faces, box_iou, find_least_track_score
from dfercli.media.video import Frame

THUMBNAIL = (32, 18)
"""Width and height of the compared thumbnails (our choice): so small that a face's motion hardly
shows."""

MAX_PAN = (8, 3)
"""Largest shift between two frames of one shot, in thumbnail pixels to the side and up or down (our
choice): a moving camera shifts the picture by up to a quarter of its width."""

CHANGED_LEVELS = 20
"""Difference in levels (of 255) from which a pixel counts as changed (our choice)."""

MIN_CHANGED = 0.5
"""Share of pixels that must change at a cut, at the best shift (our choice)."""

MAX_VIEWS = 8
"""Earlier views that a new shot is compared with (our choice)."""


_Picture = tuple[tuple[int, ...], np.ndarray]
"""Shape of a frame, and its thumbnail: (18, 32, 3) int16, minus its mean."""


def number_views(frames: Iterable[Frame]) -> Iterator[tuple[int, Frame]]:
    """Yield frames with the number of their camera view, counted from 0.

    The number changes at every cut: where most of the picture changes from one frame to the next,
    and neither a pan nor a change of brightness explains it. A slow dissolve is not a cut. A shot
    that shows the picture of an earlier one again, such as the one after a cutaway or a flash, has
    the earlier number.
    """
    ends: dict[int, _Picture] = {}  # the last picture of each view, the latest view last
    view, num_views = 0, 1
    before: _Picture | None = None
    for frame in frames:
        thumbnail = cv2.resize(frame.image_rgb, THUMBNAIL, interpolation=cv2.INTER_AREA)
        picture = (frame.image_rgb.shape, thumbnail.astype(np.int16) - int(thumbnail.mean()))
        if before is not None and not _is_same(before, picture):
            ends.pop(view, None)
            known = [number for number, end in ends.items() if _is_same(end, picture)]
            ends[view] = before
            if len(ends) > MAX_VIEWS:
                del ends[next(iter(ends))]
            view = known[-1] if known else num_views
            num_views = max(num_views, view + 1)
        before = picture
        yield view, frame


def _is_same(before: _Picture, after: _Picture) -> bool:
    return before[0] == after[0] and measure_change(before[1], after[1]) < MIN_CHANGED


def measure_change(before: np.ndarray, after: np.ndarray) -> float:
    """Return the share of pixels of two (H, W, 3) int16 thumbnails that differ visibly.

    The thumbnails are minus their means and compared at the shift where the fewest pixels differ.
    """
    changed = _compare(before, after)
    if changed < MIN_CHANGED:
        return changed
    height, width = before.shape[:2]
    most_x, most_y = MAX_PAN
    shifts = product(range(-most_x, most_x + 1), range(-most_y, most_y + 1))
    return min(
        _compare(
            before[max(0, y) : height + min(0, y), max(0, x) : width + min(0, x)],
            after[max(0, -y) : height + min(0, -y), max(0, -x) : width + min(0, -x)],
        )
        for x, y in shifts
    )


def _compare(before: np.ndarray, after: np.ndarray) -> float:
    return float((np.abs(after - before).max(axis=2) > CHANGED_LEVELS).mean())


MIN_IOU = 0.3
"""Overlap from which two boxes in consecutive searched frames are the same face (our choice)."""

MAX_SHIFT = 0.5
"""Mean distance of the landmarks, in sides of the box, up to which two faces whose boxes hardly
overlap are one face that moved (our choice)."""

MAX_GROWTH = 2.0
"""Ratio of the boxes' areas up to which they can be (our choice)."""

MAX_GAP_S = 1.0
"""Longest time without a detection after which a track continues (our choice)."""

SHORT_GAP_S = 2 * KEY_STEP_S
"""Longest time between two detections over which a face is interpolated (our choice: a face may be
missed in one key frame)."""

MIN_IOU_AFTER_GAP = 0.5
"""Overlap from which a face is the one that was lost for longer than `SHORT_GAP_S` (our choice): a
wrong link is worse than a new track."""


@dataclass(frozen=True)
class SeenFrame:
    """A frame and the faces in it.

    Attributes:
        frame: The frame.
        view: Number of its camera view; it changes at every cut.
        is_searched: Whether the detector has seen the frame.
        faces: Each face by the number of its track.
        carried: Tracks whose face was not detected here but interpolated.
    """

    frame: Frame
    view: int
    is_searched: bool
    faces: dict[int, Face] = field(default_factory=dict)
    carried: set[int] = field(default_factory=set)


@dataclass
class _Trail:
    """The current end of a track.

    Attributes:
        number: Number of the track.
        face: Its last detection.
        time_s: Time of the last detection.
        first_s: Time of the first detection.
        best_score: Highest score of its detections.
        beside: Tracks that were detected in the frame of the last detection, this one too.
    """

    number: int
    face: Face
    time_s: float
    first_s: float
    best_score: float = 0.0
    beside: frozenset[int] = frozenset()


def follow_faces(
    frames: Iterable[Frame],
    detector: Detector,
    carry_s: float,
    largest_only: bool = False,
    full_s: float = 0.0,
) -> Iterator[SeenFrame]:
    """Yield frames, in order of time, with their faces, each under the number of its track.

    A track is one face for as long as it can be followed: from frame to frame by the overlap of
    boxes and the distance of landmarks, over at most `MAX_GAP_S` without a detection, never across
    a cut. Between detections up to `SHORT_GAP_S` apart the face is interpolated, unless another
    face comes and goes in between. Numbers count from 0 and are not reused. Frames are held back
    for at most `SHORT_GAP_S` plus one key step, so that memory does not grow.

    A track starts when the detector is sure of its face (`find_least_track_score`), and up to
    `SHORT_GAP_S` earlier. `carry_s` and `full_s` are those of `search_frames`; with
    `largest_only`, only changes of the largest face are searched for between key frames.
    """
    numbers, least_score = count(), find_least_track_score(detector)
    for view, shot in groupby(number_views(frames), key=itemgetter(0)):
        images = (frame for _, frame in shot)
        searched = search_frames(images, detector, carry_s, not largest_only, full_s)
        yield from _follow_shot(searched, view, numbers, least_score)


def _follow_shot(
    searched: Iterable[tuple[Frame, list[Face] | None]],
    view: int,
    numbers: Iterator[int],
    least_score: float,
) -> Iterator[SeenFrame]:
    """Follow the faces of one shot."""
    trails: dict[int, _Trail] = {}
    held: deque[SeenFrame] = deque()
    doubted: set[int] = set()  # tracks that the detector is not sure of yet
    before_s = -inf  # time of the last searched frame: long ago in slow videos
    for frame, faces in searched:
        held.append(SeenFrame(frame, view, faces is not None))
        if faces is None:
            continue
        now_s = frame.time_s
        since_s = min(before_s, now_s - MAX_GAP_S - ROUNDING_S)
        before_s = now_s
        matches = _match(trails, faces, now_s, since_s, numbers)
        held[-1].faces.update({trail.number: face for trail, face in matches})
        doubted = {n for n, trail in trails.items() if trail.best_score < least_score}
        for trail, face in matches:
            if now_s - trail.time_s <= SHORT_GAP_S + ROUNDING_S:
                _carry(trail, face, held, doubted)
            trail.face, trail.time_s, trail.beside = face, now_s, frozenset(held[-1].faces)
        trails = {n: trail for n, trail in trails.items() if trail.time_s >= since_s}
        settled_s = _find_settled_s(trails.values(), doubted, now_s)
        while held and held[0].frame.time_s <= settled_s:
            yield _remove_doubted(held.popleft(), doubted)
    for seen in held:
        yield _remove_doubted(seen, doubted)


def _match(
    trails: dict[int, _Trail],
    faces: Sequence[Face],
    now_s: float,
    since_s: float,
    numbers: Iterator[int],
) -> list[tuple[_Trail, Face]]:
    """Pair each face with the trail that it continues; add new trails for the others."""
    live = [trail for trail in trails.values() if trail.time_s >= since_s]
    matches = []
    for known, face in pair_faces(live, faces, now_s):
        trail = known or _Trail(next(numbers), face, now_s, first_s=now_s)
        trail.best_score = max(trail.best_score, face.score)
        trails[trail.number] = trail
        matches.append((trail, face))
    return matches


def _find_settled_s(trails: Iterable[_Trail], doubted: Container[int], now_s: float) -> float:
    """Return the time up to which later frames cannot change the faces any more."""
    settled_s = now_s
    for trail in trails:
        if now_s - SHORT_GAP_S <= trail.time_s < now_s:  # missed now, perhaps interpolated later
            settled_s = min(settled_s, trail.time_s)
        if trail.number in doubted and now_s - SHORT_GAP_S <= trail.first_s:
            settled_s = min(settled_s, trail.first_s - ROUNDING_S)
    return settled_s


def _remove_doubted(seen: SeenFrame, doubted: Container[int]) -> SeenFrame:
    """Return a frame without the faces that the detector is not sure of."""
    faces = {number: face for number, face in seen.faces.items() if number not in doubted}
    return replace(seen, faces=faces)


def _carry(trail: _Trail, face: Face, held: Sequence[SeenFrame], doubted: Set[int]) -> None:
    """Interpolate a face between its last detection and the last held frame, unless cut away."""
    now_s = held[-1].frame.time_s
    gap = [seen for seen in held if trail.time_s < seen.frame.time_s < now_s]
    known = trail.beside | held[-1].faces.keys() | doubted
    if any(seen.faces.keys() - seen.carried - known for seen in gap):
        return  # another face comes and goes in the gap
    for seen in gap:
        share = (seen.frame.time_s - trail.time_s) / (now_s - trail.time_s)
        seen.faces[trail.number] = blend_faces(trail.face, face, share)
        seen.carried.add(trail.number)


def pair_faces(
    trails: Sequence[_Trail], faces: Sequence[Face], now_s: float
) -> list[tuple[_Trail | None, Face]]:
    """Return each face with the trail that it continues, or None if it is new.

    The pairs are those that are nearest in total (Hungarian method).
    """
    if not trails or not faces:
        return [(None, face) for face in faces]
    from scipy.optimize import linear_sum_assignment  # 0.3 s to import

    lost = [now_s - trail.time_s > SHORT_GAP_S + ROUNDING_S for trail in trails]
    nearness = np.array(
        [
            [measure_nearness(trail.face, face, after_gap) for face in faces]
            for trail, after_gap in zip(trails, lost, strict=True)
        ]
    )
    pairs = zip(*linear_sum_assignment(nearness, maximize=True), strict=True)
    continued = {column: trails[row] for row, column in pairs if nearness[row, column] > 0}
    return [(continued.get(column), face) for column, face in enumerate(faces)]


def measure_nearness(before: Face, after: Face, after_gap: bool = False) -> float:
    """Return how likely two faces are the same one: from 0, impossible, to 2, at the same place.

    `after_gap` is whether the face was lost for longer than `SHORT_GAP_S`, so that somebody else
    may be there now.
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
