"""Detection in threads, ahead of what follows: the same faces, few frames drawn, a clean end."""

import threading
import time
from itertools import count

import cv2
import numpy as np
import pytest

from dfercli.errors import VideoError
from dfercli.faces import load_detector
from dfercli.faces.align import TEMPLATE
from dfercli.faces.search import (
    KEY_FRAMES,
    KEY_STEP_S,
    MAX_THREADS,
    CopyableDetector,
    DetectorPool,
    count_threads,
    look_ahead,
    search_frames,
    searching_ahead,
)
from dfercli.faces.tracking import follow_faces
from dfercli.faces.types import Face
from dfercli.media.video import Frame

CARRY_S = 0.3
THREADS = 3


class _Plan:
    """Answers by the frame's level, sooner or later; a detector that two threads never share."""

    def __init__(self, plan, made=None):
        self._plan, self._busy = plan, threading.Lock()
        self.made = [] if made is None else made
        self.made.append(self)
        self.searched = []

    def copy(self):
        return _Plan(self._plan, self.made)

    def detect(self, image_rgb):
        assert self._busy.acquire(blocking=False), "two threads share a detector"
        index = int(image_rgb[0, 0, 0])
        time.sleep(0.003 * (index * 7 % 3))
        self.searched.append(index)
        self._busy.release()
        return self._plan(index)


def _film(num_frames, size=(4, 4), drawn=None):
    for index in range(num_frames):
        if drawn is not None:
            drawn.append(index)
        yield Frame(index, index / 8, np.full((*size, 3), index, np.uint8))


def _face(left, side=100.0):
    box = np.array([left, 0.0, left + side, side])
    return Face(box, TEMPLATE * side + [left, 0.0], 0.9)


def _restless(index):
    """One face walks and another comes and goes, so that frames between keys are searched, too."""
    return [_face(3.0 * index)] + [_face(300.0)] * (index % 5 > 2)


def _values(searched):
    return [
        (frame.index, faces and [(f.box_xyxy.tobytes(), f.score) for f in faces])
        for frame, faces in searched
    ]


def _search(detector, threads, num_frames=60, carry_s=CARRY_S):
    with searching_ahead(detector, threads) as pool:
        return _values(search_frames(_film(num_frames), pool, carry_s, everyone=True))


@pytest.mark.parametrize("plan", [_restless, lambda index: [_face(0)], lambda index: []])
@pytest.mark.parametrize("carry_s", [CARRY_S, KEY_STEP_S, 0.0])
def test_threads_find_what_one_finds(plan, carry_s):
    alone, several = _Plan(plan), _Plan(plan)
    expected = _search(alone, 1, carry_s=carry_s)
    assert _search(several, THREADS, carry_s=carry_s) == expected
    assert len(alone.made) == 1
    assert len(several.made) <= THREADS
    searched = [index for detector in several.made for index in detector.searched]
    assert sorted(searched) == sorted(alone.searched)  # not one more


def test_threads_search_at_the_same_time():
    meeting = threading.Barrier(THREADS, timeout=10)

    def meet(index):
        meeting.wait()  # fails, and with it the test, where fewer search at a time
        return [_face(0)]

    assert len(_search(_Plan(meet), THREADS, num_frames=2 * THREADS, carry_s=0.0)) == 2 * THREADS


def test_mtcnn_gives_the_same_bits_in_threads():
    from dfercli.demo.drawing import make_person
    from dfercli.demo.videos import draw_video

    images = list(draw_video(make_person(1, 2), "surprise", np.random.default_rng(3)))[:12]
    frames = [Frame(index, index / 8, image) for index, image in enumerate(images)]

    def follow(threads):
        detector = load_detector("mtcnn")
        assert isinstance(detector, CopyableDetector)
        with searching_ahead(detector, threads) as pool:
            seen = list(follow_faces(iter(frames), pool, CARRY_S))
        return [
            (number, face.box_xyxy.tobytes(), face.landmarks_xy.tobytes(), face.score)
            for each in seen
            for number, face in each.faces.items()
        ]

    expected = follow(1)
    assert len(expected) >= 10
    assert follow(THREADS) == expected


def test_frames_are_drawn_ahead_of_what_is_asked_but_not_many():
    drawn, most = [], 0
    with searching_ahead(_Plan(_restless), THREADS) as pool:
        for frame, _ in search_frames(_film(200, drawn=drawn), pool, CARRY_S):
            most = max(most, drawn[-1] - frame.index)
    assert THREADS < most <= (THREADS + 1) * KEY_FRAMES + THREADS


def test_one_thread_draws_nothing_ahead():
    detector, drawn = _Plan(_restless), []
    with searching_ahead(detector, 1) as same:
        assert same is detector
        for frame, _ in search_frames(_film(9, drawn=drawn), same, 0.0):
            assert (drawn[-1], detector.searched[-1]) == (frame.index, frame.index)


def test_a_detector_that_cannot_be_copied_searches_alone():
    class Alone:
        def detect(self, image_rgb):
            return []

    alone = Alone()
    with searching_ahead(alone, THREADS) as same:
        assert same is alone


@pytest.mark.parametrize("threads", [1, THREADS])
def test_what_came_before_an_error_of_the_detector_is_given_first(threads):
    def plan(index):
        if index == 8:
            raise cv2.error("OpenCV: too large")
        return [_face(0)]

    seen = []
    with pytest.raises(cv2.error, match="too large"), searching_ahead(_Plan(plan), threads) as pool:
        for frame, _ in search_frames(_film(20), pool, 0.0):
            seen.append(frame.index)
    assert seen == list(range(8))


@pytest.mark.parametrize("threads", [1, THREADS])
def test_what_came_before_an_error_of_the_video_is_given_first(threads):
    def broken():
        yield from _film(11)
        raise VideoError("damaged")

    seen = []
    with pytest.raises(VideoError), searching_ahead(_Plan(_restless), threads) as pool:
        for frame, _ in search_frames(broken(), pool, 0.0):
            seen.append(frame.index)
    assert seen == list(range(11))


@pytest.mark.parametrize("stop", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_nothing_goes_on_after_an_end_in_the_middle(stop):
    before, detector = set(threading.enumerate()), _Plan(_restless)
    opencv_threads = cv2.getNumThreads()
    with pytest.raises(stop), searching_ahead(detector, THREADS) as pool:
        assert cv2.getNumThreads() == 1
        for frame, _ in search_frames(_film(10_000), pool, 0.0):
            if frame.index == 5:
                raise stop
    assert cv2.getNumThreads() == opencv_threads
    assert {thread for thread in threading.enumerate() if thread not in before} == set()
    assert sum(len(each.searched) for each in detector.made) <= 5 + 3 * (THREADS + 1)


def test_items_keep_their_order_and_their_number():
    assert list(look_ahead(range(5), 2)) == list(range(5))
    assert list(look_ahead([], 2)) == []
    for ahead in (0, 1, 3):
        drawn = count()
        items = look_ahead(drawn, ahead)
        assert next(items) == 0
        assert next(drawn) == ahead + 1


@pytest.mark.parametrize(
    ("kind", "cores", "threads"),
    [("cpu", 16, 1), ("cuda", 1, 1), ("cuda", 4, 4), ("cuda", 128, MAX_THREADS), ("mps", 2, 2)],
)
def test_cores_search_beside_a_gpu(kind, cores, threads):
    assert count_threads(kind, cores) == threads


def test_a_pool_is_a_detector_too():
    pool = DetectorPool(_Plan(_restless), 2)
    assert len(pool.detect(np.full((4, 4, 3), 3, np.uint8))) == 2
    pool.close()
