"""Search around known faces: when the whole frame is searched instead, and where the faces are."""

import numpy as np
import pytest
from skimage import data

from dfercli.faces import load_detector
from dfercli.faces.align import TEMPLATE
from dfercli.faces.detectors.mtcnn import MAX_NEAR
from dfercli.faces.main_face import follow_main_face
from dfercli.faces.search import FULL_S, search_frames
from dfercli.faces.tracking import follow_faces
from dfercli.faces.types import Face, NearDetector
from dfercli.media.video import Frame

CARRY_S = 0.3
SIDE = 100.0


def _face(left, side=SIDE):
    box = np.array([left, 0.0, left + side, side])
    return Face(box, TEMPLATE * side + [left, 0.0], 0.95)


class _Near:
    """Answers by the frame's level; known faces are found near if they moved by less than 50."""

    def __init__(self, plan):
        self._plan, self.whole, self.near = plan, [], []

    def detect(self, image_rgb):
        self.whole.append(int(image_rgb[0, 0, 0]))
        return self._plan(self.whole[-1])

    def detect_near(self, image_rgb, known):
        self.near.append(int(image_rgb[0, 0, 0]))
        faces = self._plan(self.near[-1])
        found = [
            next((f for f in faces if abs(f.box_xyxy[0] - k.box_xyxy[0]) < 50), None) for k in known
        ]
        return None if None in found else found


def _frames(count, cut=None):
    """Eight frames per second; a cut changes the whole picture."""
    for index in range(count):
        image = np.full((18, 32, 3), 90 if cut is None or index < cut else 20, np.uint8)
        if cut is not None and index >= cut:
            image[:, ::2] = 220
        image[0, 0] = index
        yield Frame(index, index / 8, image)


def _search(plan, count=25, full_s=1.0):
    detector = _Near(plan)
    assert isinstance(detector, NearDetector)
    faces = {
        frame.index: None if found is None else [float(f.box_xyxy[0]) for f in found]
        for frame, found in search_frames(_frames(count), detector, CARRY_S, True, full_s)
    }
    assert list(faces) == list(range(count))
    return detector, faces


def test_the_whole_frame_is_searched_once_a_second():
    detector, faces = _search(lambda index: [_face(index)])
    assert detector.whole == [0, 8, 16, 24]
    assert detector.near == [2, 4, 6, 10, 12, 14, 18, 20, 22]
    assert {i: f for i, f in faces.items() if f is not None} == {
        i: [float(i)] for i in range(0, 25, 2)
    }


def test_the_whole_frame_is_searched_where_a_face_is_lost():
    detector, faces = _search(lambda index: [_face(0)] + [_face(300)] * (index < 11))
    assert detector.whole == [0, 8, 12, 11, 16, 24]  # 11 lies between keys that differ
    assert faces[10] == [0.0, 300.0]
    assert faces[11] == faces[12] == [0.0]


def test_a_new_face_beside_a_known_one_is_found_within_the_documented_time():
    _, faces = _search(lambda index: [_face(0)] + [_face(300)] * (index >= 9), full_s=FULL_S)
    first = min(index for index, found in faces.items() if found and 300.0 in found)
    assert 9 / 8 < first / 8 <= 9 / 8 + FULL_S


def test_without_a_known_face_each_key_frame_is_searched_as_a_whole():
    detector, _ = _search(lambda index: [])
    assert detector.whole == list(range(0, 25, 2))
    assert detector.near == []


def test_by_default_no_frame_is_searched_near_known_faces():
    detector, _ = _search(lambda index: [_face(0)], full_s=0.0)
    assert detector.whole == list(range(0, 25, 2))
    assert detector.near == []


def test_a_face_that_moves_is_searched_for_in_every_frame():
    detector, faces = _search(lambda index: [_face(24 * index)], count=17)
    assert detector.whole == [0, 8, 16]
    assert all(found == [24.0 * index] for index, found in faces.items())


def test_a_new_shot_begins_with_a_search_of_the_whole_frame():
    detector = _Near(lambda index: [_face(0)] + [_face(300)] * (index >= 11))
    seen = list(follow_faces(_frames(16, cut=11), detector, CARRY_S, full_s=1.0))
    assert [s.view for s in seen] == [0] * 11 + [1] * 5
    assert 11 in detector.whole
    assert len(seen[11].faces) == 2


def test_training_crops_search_whole_frames(tmp_path, monkeypatch):
    monkeypatch.setattr("dfercli.faces.main_face.read_frames", lambda path: _frames(24))
    detector = _Near(lambda index: [_face(0)])
    assert len(follow_main_face(tmp_path, detector, CARRY_S).faces) == 24
    assert detector.near == []


def _shifted(by, scale=1):
    """The astronaut, moved to the right by some pixels, and enlarged."""
    image = np.roll(data.astronaut(), by, axis=1)
    return np.ascontiguousarray(image.repeat(scale, axis=0).repeat(scale, axis=1))


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("by", [0, 12, -30])
def test_mtcnn_finds_a_known_face_where_the_whole_search_does(by, scale):
    detector = load_detector("mtcnn")
    assert isinstance(detector, NearDetector)
    known = detector.detect(_shifted(0, scale))
    (near,) = detector.detect_near(_shifted(by, scale), known)
    (whole,) = detector.detect(_shifted(by, scale))
    eyes = np.linalg.norm(whole.landmarks_xy[0] - whole.landmarks_xy[1])
    assert np.linalg.norm(near.landmarks_xy - whole.landmarks_xy, axis=1).mean() < 0.06 * eyes
    assert near.score > 0.9


def test_mtcnn_does_not_find_a_face_that_is_gone():
    detector = load_detector("mtcnn")
    known = detector.detect(_shifted(0))
    assert detector.detect_near(_shifted(200), known) is None
    assert detector.detect_near(np.full((512, 512, 3), 90, np.uint8), known) is None
    outside = Face(known[0].box_xyxy - 1000, known[0].landmarks_xy - 1000, 0.9)
    assert detector.detect_near(_shifted(0), [outside]) is None


def test_mtcnn_does_not_find_one_face_twice():
    detector = load_detector("mtcnn")
    known = detector.detect(_shifted(0))
    assert detector.detect_near(_shifted(0), known * 2) is None


def test_many_faces_are_left_to_the_search_of_the_whole_frame():
    detector = load_detector("mtcnn")
    faces = detector.detect(_shifted(0)) * (MAX_NEAR + 1)
    assert detector.detect_near(_shifted(0), faces) is None
