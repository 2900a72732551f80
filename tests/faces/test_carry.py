"""Faces carried between key frames and over short gaps, and what a search says about a video."""

import os
from pathlib import Path

import numpy as np
import pytest

from dfercli.faces import load_detector
from dfercli.faces.align import TEMPLATE, similarity_transform
from dfercli.faces.search import KEY_STEP_S
from dfercli.faces.track import fill_gaps, follow_main_face, measure_jitter
from dfercli.faces.types import Face
from dfercli.media.video import Frame

FOOTAGE = sorted(Path(os.environ.get("DFER_TEST_VIDEOS", "none")).glob("*.mp4"))


def _face(x, y=0.0, side=100.0, score=0.9):
    """A square face with its top left corner at x, y."""
    corner = np.array([x, y])
    return Face(np.concatenate([corner, corner + side]), corner + TEMPLATE * side, score)


def test_a_gap_is_filled_linearly_in_time():
    times_s = {4: 1.0, 5: 1.1, 6: 1.3, 7: 1.4}
    filled = fill_gaps({4: _face(0, 80, score=0.5), 7: _face(40, 0, score=0.9)}, times_s)
    assert list(filled) == [5, 6]  # a quarter and three quarters of the way
    assert filled[5].box_xyxy == pytest.approx([10, 60, 110, 160])
    assert filled[6].box_xyxy == pytest.approx([30, 20, 130, 120])
    assert filled[5].landmarks_xy == pytest.approx(TEMPLATE * 100 + (10, 60))
    assert filled[6].landmarks_xy == pytest.approx(TEMPLATE * 100 + (30, 20))
    assert (filled[5].score, filled[6].score) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize("fps", [25, 24, 24000 / 1001])
@pytest.mark.parametrize(("missed", "is_filled"), [(0, True), (1, True), (9, True), (10, False)])
def test_a_gap_of_two_key_steps_is_filled_and_no_longer_one(fps, missed, is_filled):
    times_s = {index: index / fps for index in range(30)}
    filled = fill_gaps({2: _face(0), 3 + missed: _face(10)}, times_s)
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
    times_s = {index: index / 25 for index in range(10)}
    filled = fill_gaps({2: _face(0), 6: _face(4)}, times_s, [[2, 6], other])
    assert list(filled) == [3, 4, 5] * is_filled


def test_only_frames_that_were_taken_are_filled():
    assert list(fill_gaps({0: _face(0), 6: _face(6)}, {0: 0.0, 3: 0.1, 6: 0.2})) == [3]
    assert fill_gaps({}, {}) == fill_gaps({3: _face(0)}, {3: 0.0}) == {}


class _Plan:
    """A detector that knows each frame by its level, and notes which it was shown."""

    def __init__(self, plan):
        self.searched, self._plan = [], plan

    def detect(self, image_rgb):
        index = int(image_rgb[0, 0, 0])
        self.searched.append(index)
        return self._plan(index)


@pytest.fixture
def follow(monkeypatch):
    """Follow, with faces carried, through frames of these times; without a file."""

    def follow(plan, times_s):
        frames = (Frame(i, t, np.full((1, 1, 3), i, np.uint8)) for i, t in enumerate(times_s))
        monkeypatch.setattr("dfercli.faces.track.read_frames", lambda path: frames)
        detector = _Plan(plan)
        followed = follow_main_face("video", detector, carry_s=KEY_STEP_S)
        assert followed.num_searched == len(detector.searched)
        assert followed.times_s == tuple(times_s)
        return followed, detector.searched

    return follow


def _at(num_frames, fps=25):
    return [index / fps for index in range(num_frames)]


def _lefts(followed):
    return {index: float(face.box_xyxy[0]) for index, face in followed.faces.items()}


def test_a_face_in_steady_motion_is_carried_to_where_it_is(follow):
    followed, searched = follow(lambda i: [_face(2 * i)], _at(23))
    assert searched == [0, 5, 10, 15, 20, 22]
    assert list(followed.faces) == list(range(23))
    assert _lefts(followed) == pytest.approx({i: 2.0 * i for i in range(23)})
    for index, face in followed.faces.items():
        assert face.landmarks_xy == pytest.approx(TEMPLATE * 100 + (2 * index, 0))
    assert (followed.coverage, followed.interpolated, followed.skipped) == (1.0, 0, 0)


def test_carrying_follows_time_and_not_the_count_of_frames(follow):
    times_s = [0.0, 0.02, 0.04, 0.16, 0.18, 0.2, 0.5]
    followed, searched = follow(lambda i: [_face(60 * times_s[i])], times_s)
    assert searched == [0, 5, 6]
    assert _lefts(followed) == pytest.approx({i: 60 * t for i, t in enumerate(times_s)})


def test_a_flash_in_a_key_frame_is_bridged(follow):
    followed, searched = follow(lambda i: [] if i == 10 else [_face(i)], _at(21))
    assert searched == [0, 5, 10, 6, 7, 8, 9, 15, 11, 12, 13, 14, 20]
    assert _lefts(followed) == pytest.approx({i: float(i) for i in range(21)})
    assert (followed.interpolated, followed.skipped) == (1, 0)


@pytest.mark.parametrize("away", [range(8, 13), [*range(8, 13), *range(18, 23)]])
def test_a_cutaway_is_not_filled_with_the_face_that_is_away(follow, away):
    followed, _ = follow(lambda i: [_face(400 if i in away else i)], _at(36))
    assert _lefts(followed) == pytest.approx({i: float(i) for i in range(36) if i not in away})
    assert (followed.interpolated, followed.skipped) == (0, len(away))


def test_a_face_that_stays_beside_is_no_cutaway(follow):
    def plan(index):
        return [_face(400, side=80), *[_face(index)] * (index not in range(8, 13))]

    followed, _ = follow(plan, _at(21))
    assert _lefts(followed) == pytest.approx({i: float(i) for i in range(21)})
    assert followed.interpolated == 5


@pytest.mark.parametrize("fps", [24, 24000 / 1001])
def test_a_face_missed_in_one_key_frame_of_a_film_is_carried_over_it(follow, fps):
    def plan(index):  # beside a larger one that leaves early, so that nothing more is searched
        return [_face(400, side=120)] * (index <= 20) + [_face(index)] * (index != 10)

    followed, searched = follow(plan, _at(61, fps))
    assert searched[:5] == [0, 5, 10, 15, 20]
    assert _lefts(followed) == pytest.approx({i: float(i) for i in range(61)})


def test_a_long_absence_is_skipped_and_counted(follow):
    gone = range(8, 24)
    followed, searched = follow(lambda i: [] if i in gone else [_face(0)], _at(36))
    assert list(followed.faces) == [i for i in range(36) if i not in gone]
    assert (followed.interpolated, followed.skipped) == (0, len(gone))
    assert followed.coverage == 20 / 36
    assert searched == [0, 5, 10, 6, 7, 8, 9, 15, 20, 25, 21, 22, 23, 24, 30, 35]


@pytest.mark.parametrize("cut", [6, 7, 8, 9, 10])
def test_a_cut_between_key_frames_is_found_to_the_frame(follow, cut):
    def plan(index):
        return [_face(0)] if index < cut else [_face(400, side=90)]

    assert _lefts(follow(plan, _at(16))[0]) == (
        dict.fromkeys(range(cut), 0.0) if cut > 7 else dict.fromkeys(range(cut, 16), 400.0)
    )


@pytest.mark.parametrize("num_frames", [12, 13, 14, 15, 16])
def test_nothing_is_lost_at_the_end(follow, num_frames):
    followed, _ = follow(lambda i: [_face(i)], _at(num_frames))
    assert list(followed.faces) == list(range(num_frames))
    late, _ = follow(lambda i: [_face(0)] if i >= num_frames - 2 else [], _at(num_frames))
    assert list(late.faces) == [num_frames - 2, num_frames - 1]
    early, _ = follow(lambda i: [_face(0)] if i < num_frames - 1 else [], _at(num_frames))
    assert list(early.faces) == list(range(num_frames - 1))


@pytest.mark.parametrize("found", [0, 1])
def test_a_video_of_one_frame(follow, found):
    followed, searched = follow(lambda i: [_face(3)] * found, [0.0])
    assert searched == [0]
    assert list(followed.faces) == [0] * found
    assert (followed.coverage, followed.skipped) == (found, 1 - found)
    assert (followed.jitter, followed.rival) == (0.0, 0.0)


def test_what_the_detector_is_never_sure_of_is_no_face(follow, monkeypatch):
    """It neither is the main face, however large, nor ends a gap as a cutaway would."""
    monkeypatch.setattr("dfercli.faces.track.find_least_track_score", lambda detector: 0.9)
    plan = lambda i: [_face(0, score=0.95), _face(300, side=200, score=0.89)]  # noqa: E731
    followed, _ = follow(plan, _at(16))
    assert set(_lefts(followed).values()) == {0.0}
    assert followed.rival == 0.0
    nobody, _ = follow(lambda i: [_face(0, score=0.89)], _at(16))
    assert (nobody.faces, nobody.num_frames) == ({}, 16)


def test_an_empty_room_is_looked_at_in_key_frames_only(follow):
    followed, searched = follow(lambda i: [], _at(16))
    assert searched == [0, 5, 10, 15]
    assert (followed.faces, followed.skipped, followed.score) == ({}, 16, 0.0)


def test_two_faces_are_carried_apart_and_one_is_the_other_s_rival(follow):
    def plan(index):
        pair = [_face(0 + index), _face(300 - index, side=80)]
        return pair[::-1] if index % 10 else pair

    followed, searched = follow(plan, _at(21))
    assert searched == [0, 5, 10, 15, 20]
    assert _lefts(followed) == pytest.approx({i: float(i) for i in range(21)})
    assert followed.rival == pytest.approx(0.64)  # areas of 80 and 100 pixels' side


def test_a_stretch_that_was_searched_weighs_no_more_than_one_that_was_carried(follow):
    # 40 frames of 100 x 100 pixels, of which 9 are searched, against 15 of 150 x 150, all searched.
    def plan(index):
        return [_face(0)] if index < 40 else [_face(500 + 20 * index, side=150)]

    followed, searched = follow(plan, _at(55))
    assert set(range(40, 55)) <= set(searched)
    assert len(searched) < 30
    assert _lefts(followed) == dict.fromkeys(range(40), 0.0)


def test_who_is_seen_before_or_after_is_no_rival(follow):
    followed, _ = follow(lambda i: [_face(0)] if i < 20 else [_face(500, side=90)], _at(40))
    assert followed.rival == 0.0
    assert len(followed.faces) == 20


def test_the_score_is_the_median_of_detections(follow):
    scores = {0: 0.5, 5: 0.9, 10: 0.6, 15: 0.7, 16: 1.0}
    followed, searched = follow(lambda i: [_face(0, score=scores[i])], _at(17))
    assert searched == list(scores)
    assert followed.score == 0.7


def test_jitter_is_the_distance_from_the_neighbours_line():
    # Every second frame the face is 3 pixels lower: 3 from the line, and crops are 100 pixels wide.
    found = {index: _face(7 * index, 3 * (index % 2)) for index in range(9)}
    times_s = {index: index / 25 for index in range(9)}
    assert measure_jitter(found, range(9), times_s) == pytest.approx(0.03)
    halved = {index: _face(7 * index, 3 * (index % 2), side=200) for index in range(9)}
    assert measure_jitter(halved, range(9), times_s) == pytest.approx(0.015)


def test_steady_motion_is_no_jitter():
    times_s = {0: 0.0, 2: 0.1, 5: 0.4, 6: 0.45, 9: 0.6}
    found = {index: _face(80 * t, 30 * t) for index, t in times_s.items()}
    assert measure_jitter(found, list(times_s), times_s) == pytest.approx(0.0, abs=1e-12)


def test_jitter_needs_three_frames_in_a_row():
    times_s = {index: index / 25 for index in range(5)}
    found = {0: _face(0), 1: _face(9), 3: _face(0), 4: _face(9)}
    assert measure_jitter(found, range(5), times_s) == 0.0
    assert measure_jitter(found, [0, 1, 3, 4], times_s) > 0.0
    assert measure_jitter({}, [], {}) == 0.0


@pytest.mark.realvideo
@pytest.mark.parametrize("video", FOOTAGE, ids=lambda path: path.name)
def test_in_real_footage_a_carried_face_is_where_it_would_be_found(video):
    detector = load_detector("mtcnn")
    every = follow_main_face(video, detector)
    keys = follow_main_face(video, detector, carry_s=KEY_STEP_S)
    assert keys.num_searched < every.num_searched / 2
    assert set(keys.faces) >= set(every.faces)
    distances_px = []
    for index, face in every.faces.items():
        carried_xy = keys.faces[index].landmarks_xy
        scale = np.hypot(*similarity_transform(carried_xy, TEMPLATE * 224)[:, 0])
        distances_px.extend(scale * np.linalg.norm(carried_xy - face.landmarks_xy, axis=1))
    assert np.median(distances_px) < 2
