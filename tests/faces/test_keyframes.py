"""Which frames are searched: key frames, and between them those where the face changes."""

import numpy as np
import pytest

from dfercli.faces.search import KEY_FRAMES, KEY_STEP_S, part_at_keys, search_frames
from dfercli.faces.types import Face
from dfercli.media.video import Frame


def _film(times_s):
    """Frames that tell their index by their level."""
    return [Frame(i, t, np.full((1, 1, 3), i, np.uint8)) for i, t in enumerate(times_s)]


def _box(x, side=100.0):
    return Face(np.array([x, 0, x + side, side]), np.zeros((5, 2)), 0.9)


class _Plan:
    """A detector that answers by the frame's level, and notes which it was shown."""

    def __init__(self, plan):
        self.searched, self._plan = [], plan

    def detect(self, image_rgb):
        index = int(image_rgb[0, 0, 0])
        self.searched.append(index)
        return self._plan(index)


def _search(plan, num_frames=16, carry_s=KEY_STEP_S):
    """Give the indices that were searched, in the order of frames."""
    detector = _Plan(plan)
    frames = _film([index / 25 for index in range(num_frames)])
    answers = list(search_frames(frames, detector, carry_s))
    assert [frame.index for frame, _ in answers] == list(range(num_frames))
    searched = [frame.index for frame, faces in answers if faces is not None]
    assert sorted(detector.searched) == searched
    for frame, faces in answers:
        assert faces is None or _sides(faces) == _sides(plan(frame.index))
    return searched


def _sides(faces):
    return [face.box_xyxy.tolist() for face in faces]


@pytest.mark.parametrize(
    ("fps", "num_frames", "keys"),
    [
        (25, 12, [0, 5, 10, 11]),
        (24000 / 1001, 12, [0, 5, 10, 11]),
        (30, 16, [0, 5, 10, 15]),
        (60, 13, [0, 5, 10, 12]),
        (20, 10, [0, 4, 8, 9]),
        (12.5, 6, [0, 2, 4, 5]),
        (10, 5, [0, 2, 4]),
        (4, 3, [0, 1, 2]),
        (25, 1, [0]),
        (25, 2, [0, 1]),
        (25, 0, []),
    ],
)
def test_key_frames_are_five_frames_or_a_fifth_of_a_second_apart(fps, num_frames, keys):
    frames = _film([index / fps for index in range(num_frames)])
    stretches = list(part_at_keys(frames, KEY_STEP_S))
    assert [stretch[-1].index for stretch in stretches] == keys
    assert [frame for stretch in stretches for frame in stretch] == frames


def test_key_frames_follow_times_that_vary():
    frames = _film([0.0, 0.04, 0.08, 0.5, 0.54, 0.9, 1.11, 1.12])
    stretches = list(part_at_keys(frames, KEY_STEP_S))
    assert [[frame.index for frame in stretch] for stretch in stretches] == [
        [0],
        [1, 2],  # the next is too far away
        [3],
        [4],
        [5],
        [6],
        [7],
    ]


def test_without_carrying_every_frame_is_a_key_frame():
    frames = _film([0.0, 0.001, 0.04, 3.0])
    assert list(part_at_keys(frames, 0.0)) == [[frame] for frame in frames]
    assert _search(lambda i: [_box(0)], carry_s=0.0) == list(range(16))


def test_a_video_is_held_in_memory_by_a_few_frames_only():
    given = []

    def frames():
        for frame in _film([index / 60 for index in range(50)]):
            given.append(frame.index)
            yield frame

    for frame, _ in search_frames(frames(), _Plan(lambda i: []), KEY_STEP_S):
        assert given[-1] - frame.index < KEY_FRAMES


@pytest.mark.parametrize(("shift", "is_same"), [(17, True), (18, False)])
def test_one_face_overlaps_itself_by_seven_tenths(shift, is_same):
    searched = _search(lambda i: [_box(shift if i >= 8 else 0)])  # 83 / 117 and 82 / 118
    assert searched == ([0, 5, 10, 15] if is_same else [0, 5, 6, 7, 8, 9, 10, 15])


def test_frames_are_searched_on_both_sides_of_a_key_frame_without_the_face():
    assert _search(lambda i: [_box(0)] if i != 10 else [], 21) == [0, *range(5, 16), 20]


def test_an_empty_room_is_searched_in_key_frames():
    assert _search(lambda i: []) == [0, 5, 10, 15]


def test_a_small_face_that_comes_and_goes_costs_no_search():
    searched = _search(lambda i: [_box(0), *([_box(400, side=30)] if i == 5 else [])])
    assert searched == [0, 5, 10, 15]


def test_a_larger_face_that_comes_is_searched_for():
    searched = _search(lambda i: [_box(0), *([_box(400, side=130)] if i >= 8 else [])])
    assert searched == [0, 5, 6, 7, 8, 9, 10, 15]


def test_two_faces_that_take_turns_at_being_the_largest_cost_no_search():
    searched = _search(lambda i: [_box(0, 100 + i % 2), _box(300, 101 - i % 2)])
    assert searched == [0, 5, 10, 15]
