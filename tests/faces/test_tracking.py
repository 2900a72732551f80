"""Faces followed as frames come: who is who, what is carried, and what is held."""

from collections import defaultdict

import numpy as np
import pytest

from dfercli.faces.align import TEMPLATE
from dfercli.faces.search import DetectorPool
from dfercli.faces.tracking import follow_faces, measure_nearness
from dfercli.faces.types import Face, find_least_track_score
from dfercli.media.video import Frame

STEP_S = 1 / 8
SIDE = 100.0
BLANK = np.full((180, 320, 3), 90, np.uint8)


def _face(left, top=0.0, side=SIDE, score=0.9):
    box = np.array([left, top, left + side, top + side])
    return Face(box, TEMPLATE * side + [left, top], score)


class _Plan:
    """Answers by the frame's index, which is written into its first pixel."""

    def __init__(self, plan):
        self._plan, self.asked = plan, []

    def detect(self, image_rgb):
        index = int(image_rgb[0, 0, 0])
        self.asked.append(index)
        return self._plan(index)


def _frames(count, images=lambda index: BLANK, fps=1 / STEP_S):
    for index in range(count):
        image = images(index).copy()
        image[0, 0] = index
        yield Frame(index, index / fps, image)


def _follow(plan, count=16, carry_s=0.0, **images):
    detector = _Plan(plan)
    seen = list(follow_faces(_frames(count, **images), detector, carry_s))
    assert [seen_frame.frame.index for seen_frame in seen] == list(range(count))
    return [seen_frame.faces for seen_frame in seen], detector


def _link(*faces_by_frame, fps=10.0):
    """Return the left edges of the detections of each track, by frame."""
    frames = (Frame(i, i / fps, BLANK) for i in range(len(faces_by_frame)))
    answers = iter(faces_by_frame)
    detector = _Plan(lambda index: next(answers))
    tracks = defaultdict(dict)
    for seen in follow_faces(frames, detector, 0.0):
        for number in seen.faces.keys() - seen.carried:
            tracks[number][seen.frame.index] = float(seen.faces[number].box_xyxy[0])
    return [track for _, track in sorted(tracks.items())]


def test_no_faces_make_no_tracks():
    assert _link([], [], []) == []


def test_a_moving_face_is_one_track():
    (track,) = _link(*([_face(20 * index)] for index in range(30)))
    assert track == {index: 20.0 * index for index in range(30)}


def test_two_faces_that_cross_keep_their_tracks():
    # One goes right, the other left, 60 pixels lower: they overlap, and never by more than with
    # themselves one frame before.
    frames = [[_face(15 * i, 0), _face(300 - 15 * i, 60)] for i in range(21)]
    right, left = _link(*frames)
    assert right == {i: 15.0 * i for i in range(21)}
    assert left == {i: 300.0 - 15 * i for i in range(21)}


def test_the_order_of_detections_does_not_matter():
    frames = [[_face(0), _face(200)][:: -1 if i % 2 else 1] for i in range(6)]
    left, right = _link(*frames)
    assert left == dict.fromkeys(range(6), 0.0)
    assert right == dict.fromkeys(range(6), 200.0)


def test_a_face_goes_to_the_track_that_it_overlaps_most():
    far, near = _link([_face(0), _face(40)], [_face(35)])
    assert far == {0: 0.0}
    assert near == {0: 40.0, 1: 35.0}


def test_two_faces_of_a_frame_never_share_a_track():
    tracks = _link([_face(0)], [_face(2, score=0.8), _face(0, score=0.99)])
    assert tracks == [{0: 0.0, 1: 0.0}, {1: 2.0}]


@pytest.mark.parametrize(
    ("shift", "num_tracks"),
    [(53, 1), (55, 2)],  # overlap 47 / 153 = 0.307, and 45 / 155 = 0.290
)
def test_a_jump_begins_a_new_track(shift, num_tracks):
    assert len(_link([_face(0)], [_face(shift)])) == num_tracks


@pytest.mark.parametrize(("missed", "num_tracks"), [(0, 1), (5, 1), (9, 1), (10, 2), (30, 2)])
def test_a_gap_of_a_second_is_bridged_and_no_longer_one(missed, num_tracks):
    tracks = _link([_face(0)], *([[]] * missed), [_face(5)])
    assert len(tracks) == num_tracks
    assert tracks[-1][missed + 1] == 5


def test_a_gap_is_measured_in_time_and_not_in_frames():
    assert len(_link([_face(0)], *([[]] * 30), [_face(0)], fps=60)) == 1
    assert len(_link([_face(0)], [], [_face(0)], fps=1)) == 2


def _fill(faces_by_frame, times_s):
    """Return the faces that are interpolated in the first track, by index of the frame."""
    frames = (Frame(index, time_s, BLANK) for index, time_s in times_s.items())
    answers = (faces_by_frame.get(index, []) for index in times_s)
    detector = _Plan(lambda index: next(answers))
    seen_frames = list(follow_faces(frames, detector, 0.0))
    return {seen.frame.index: seen.faces[0] for seen in seen_frames if 0 in seen.carried}


def test_a_gap_is_filled_linearly_in_time():
    times_s = {4: 1.0, 5: 1.1, 6: 1.3, 7: 1.4}
    filled = _fill({4: [_face(0, 20, score=0.5)], 7: [_face(40, 0, score=0.9)]}, times_s)
    assert list(filled) == [5, 6]  # a quarter and three quarters of the way
    assert filled[5].box_xyxy == pytest.approx([10, 15, 110, 115])
    assert filled[6].box_xyxy == pytest.approx([30, 5, 130, 105])
    assert filled[5].landmarks_xy == pytest.approx(TEMPLATE * 100 + (10, 15))
    assert filled[6].landmarks_xy == pytest.approx(TEMPLATE * 100 + (30, 5))
    assert (filled[5].score, filled[6].score) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize("fps", [25, 24, 24000 / 1001])
@pytest.mark.parametrize(("missed", "is_filled"), [(0, True), (1, True), (9, True), (10, False)])
def test_a_gap_of_two_key_steps_is_filled_and_no_longer_one(fps, missed, is_filled):
    times_s = {index: index / fps for index in range(30)}
    filled = _fill({2: [_face(0)], 3 + missed: [_face(10)]}, times_s)
    assert list(filled) == (list(range(3, 3 + missed)) if is_filled else [])


@pytest.mark.parametrize(
    ("other", "is_filled"),
    [
        ([3, 4, 5], False),
        ([4], False),
        ([0, 1, 3, 4, 5, 7, 8], False),
        ([2, 3, 4, 5], True),
        ([3, 4, 5, 6], True),
        (range(10), True),
        ([0, 1, 7, 8], True),
    ],
)
def test_a_gap_in_which_another_face_comes_and_goes_stays_empty(other, is_filled):
    detected, filled = set(), set()
    plan = lambda i: [_face(i)] * (i in (2, 6)) + [_face(400)] * (i in other)  # noqa: E731
    for seen in follow_faces(_frames(10, fps=25), _Plan(plan), 0.0):
        for number, face in seen.faces.items():
            if face.box_xyxy[0] < 100:
                (filled if number in seen.carried else detected).add(seen.frame.index)
    assert detected == {2, 6}
    assert filled == ({3, 4, 5} if is_filled else set())


def test_only_frames_that_were_taken_are_filled():
    assert list(_fill({0: [_face(0)], 6: [_face(6)]}, {0: 0.0, 3: 0.1, 6: 0.2})) == [3]
    assert _fill({}, {}) == _fill({3: [_face(0)]}, {3: 0.0}) == {}


def test_two_faces_keep_their_numbers_whatever_order_they_are_found_in():
    def plan(index):
        pair = [_face(index), _face(200 - index)]
        return pair[:: 1 if index % 2 else -1]

    faces, _ = _follow(plan)
    number = next(k for k, face in faces[0].items() if face.box_xyxy[0] == 0)
    for index, in_frame in enumerate(faces):
        assert sorted(in_frame) == [0, 1]
        assert in_frame[number].box_xyxy[0] == index
        assert in_frame[1 - number].box_xyxy[0] == 200 - index


def test_the_best_pairs_of_all_are_linked_not_the_first_that_fits():
    # The first face has moved to where it overlaps the second one's old place a little more.
    before, after = [_face(0), _face(60)], [_face(40), _face(100)]
    faces, _ = _follow(lambda index: before if index == 0 else after, count=2)
    moved = {number: face.box_xyxy[0] for number, face in faces[1].items()}
    was = {number: face.box_xyxy[0] for number, face in faces[0].items()}
    assert {was[number]: moved[number] for number in was} == {0: 40, 60: 100}


def test_a_fast_move_is_followed_by_the_landmarks():
    step = 60.0  # boxes overlap by a quarter: too little alone
    assert 0 < measure_nearness(_face(0), _face(48)) < 1
    faces, _ = _follow(lambda index: [_face(48.0 * index)], count=5)
    assert [list(in_frame) for in_frame in faces] == [[0]] * 5
    jumps, _ = _follow(lambda index: [_face(step * index)], count=3)
    assert [list(in_frame) for in_frame in jumps] == [[0], [1], [2]]


def test_a_face_of_another_size_is_another_face():
    assert measure_nearness(_face(0), _face(20, 20, side=40)) == 0.0
    assert measure_nearness(_face(0), _face(5, 5, side=90)) > 1.0
    assert measure_nearness(_face(0, side=0.0), _face(0, side=0.0)) == 0.0


@pytest.mark.parametrize(
    ("missed", "numbers", "carried"),
    [
        (range(6, 8), {0}, True),
        (range(6, 9), {0}, False),  # half a second: the same face, but nobody knows where
        (range(6, 13), {0}, False),
        (range(6, 14), {0, 1}, False),  # over a second: nobody knows whose
    ],
)
def test_gaps(missed, numbers, carried):
    faces, _ = _follow(lambda i: [] if i in missed else [_face(2.0 * i)], count=20)
    assert {number for in_frame in faces for number in in_frame} == numbers
    assert [0 in faces[index] for index in missed] == [carried] * len(missed)
    if carried:
        assert [faces[i][0].box_xyxy[0] for i in missed] == pytest.approx([2.0 * i for i in missed])


def test_after_a_long_gap_only_a_face_at_the_same_place_is_the_same():
    def plan(shift):
        return lambda index: [_face(0)] if index < 4 else [_face(shift)] if index > 9 else []

    for shift, numbers in ((0, {0}), (20, {0}), (45, {0, 1})):
        faces, _ = _follow(plan(shift))
        assert {number for in_frame in faces for number in in_frame} == numbers
    faces, _ = _follow(lambda index: [_face(45.0 * index)], count=4)  # without a gap
    assert {number for in_frame in faces for number in in_frame} == {0}


def test_a_face_in_each_frame_of_a_slow_video_is_one():
    frames = [Frame(index, 1.5 * index, BLANK) for index in range(6)]
    detector = _Plan(lambda index: [_face(0)])
    seen = list(follow_faces(frames, detector, 0.3))
    assert [list(seen_frame.faces) for seen_frame in seen] == [[0]] * 6


def test_every_second_frame_is_searched_and_between_all_faces_are_carried():
    plan = lambda index: [_face(2.0 * index), _face(200 - 2.0 * index)]  # noqa: E731
    faces, detector = _follow(plan, carry_s=0.3)
    assert detector.asked == [0, 2, 4, 6, 8, 10, 12, 14, 15]
    for index, in_frame in enumerate(faces):
        assert sorted(f.box_xyxy[0] for f in in_frame.values()) == [2.0 * index, 200 - 2.0 * index]


def test_where_a_smaller_face_comes_every_frame_is_searched():
    def plan(index):
        return [_face(0)] + [_face(200, side=40)] * (index >= 7)

    faces, detector = _follow(plan, carry_s=0.3)
    assert detector.asked == [0, 2, 4, 6, 8, 7, 10, 12, 14, 15]
    assert [len(in_frame) for in_frame in faces] == [1] * 7 + [2] * 9


def test_a_cut_ends_all_tracks_and_nothing_is_carried_over_it():
    other = np.where(np.indices(BLANK.shape).sum(axis=0) % 160 < 80, 220, 10).astype(np.uint8)
    images = {"images": lambda index: BLANK if index < 9 else other}
    faces, detector = _follow(lambda index: [_face(0)], carry_s=0.3, **images)
    assert [list(in_frame) for in_frame in faces] == [[0]] * 9 + [[1]] * 7
    assert {8, 9} <= set(detector.asked)


def test_frames_are_held_no_longer_than_a_short_gap_and_a_step():
    last_read, longest = 0, 0

    def frames():
        nonlocal last_read
        for frame in _frames(200):
            last_read = frame.index
            yield frame

    def plan(index):
        return [_face(0)] if index % 9 < 4 else []  # lost every second

    for seen in follow_faces(frames(), _Plan(plan), 0.3):
        longest = max(longest, last_read - seen.frame.index)
    assert longest <= 6


class _Sure(_Plan):
    """A detector that is sure of a face from a score of 0.9 on."""

    least_track_score = 0.9


def _follow_scores(scores, carry_s=0.0, detector=_Sure):
    """Follow one face of these scores, where any; give the frames that show it."""

    def plan(index):
        return [] if scores[index] is None else [_face(2.0 * index, score=scores[index])]

    seen = list(follow_faces(_frames(len(scores)), detector(plan), carry_s))
    assert [seen_frame.frame.index for seen_frame in seen] == list(range(len(scores)))
    return [index for index, seen_frame in enumerate(seen) if seen_frame.faces]


@pytest.mark.parametrize("carry_s", [0.0, 0.3])
def test_what_the_detector_is_never_sure_of_is_no_face(carry_s):
    assert _follow_scores([0.89] * 30, carry_s) == []
    assert _follow_scores([0.89], carry_s) == []
    assert _follow_scores([0.9], carry_s) == [0]
    assert _follow_scores([0.5] * 30, carry_s, detector=_Plan) == list(range(30))


@pytest.mark.parametrize(
    ("sure_at", "first"),
    [
        (0, 0),
        (1, 0),
        (4, 0),
        (5, 5),
        (9, 9),
    ],  # held back for 0.42 s; 1/8 s per frame
)
def test_a_face_counts_from_shortly_before_the_detector_is_sure_of_it(sure_at, first):
    scores = [0.95 if index == sure_at else 0.7 for index in range(20)]
    assert _follow_scores(scores) == list(range(first, 20))


def test_a_face_that_is_missed_and_doubted_is_carried_once_it_is_sure():
    assert _follow_scores([0.7, None, 0.95, 0.7, None, 0.7]) == list(range(6))


def test_a_doubtful_face_beside_a_sure_one_costs_it_nothing():
    plan = lambda index: [_face(index), _face(200, score=0.8)]  # noqa: E731
    seen = list(follow_faces(_frames(16), _Sure(plan), 0.0))
    assert [[face.box_xyxy[0] for face in seen_frame.faces.values()] for seen_frame in seen] == [
        [float(index)] for index in range(16)
    ]


def test_doubt_holds_back_no_more_than_half_a_second():
    """Of a stream, what is not shown yet; and nothing piles up."""
    behind = []
    frames = []

    def read():
        for frame in _frames(200):
            frames.append(frame.index)
            yield frame

    for seen in follow_faces(read(), _Sure(lambda index: [_face(0, score=0.8)]), 0.0):
        behind.append(frames[-1] - seen.frame.index)
    assert max(behind) <= 4
    assert behind[10:190] == [0] * 180


def test_threads_are_as_sure_as_their_detector():
    pool = DetectorPool(_Sure(lambda index: []), 2)
    assert find_least_track_score(pool) == 0.9
    pool.close()
