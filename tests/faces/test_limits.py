"""What mtcnn finds and what it does not: small faces, turned ones, and how sure it is of them."""

import cv2
import numpy as np
import pytest
from skimage import data

from dfercli.faces import describe_search, find_smallest_face_px, load_detector
from dfercli.faces.detectors.mtcnn import MIN_TRACK_SCORE
from dfercli.faces.types import find_least_track_score


@pytest.mark.parametrize("lines", [360, 720])
def test_mtcnn_finds_faces_down_to_the_size_that_is_told(lines):
    """Where the face is in the frame hardly matters: three places."""
    mtcnn = load_detector("mtcnn", "cpu")
    smallest_px = find_smallest_face_px("mtcnn", (lines * 4 // 3, lines))
    assert smallest_px == round(0.08 * lines)
    for height_px, found in ((smallest_px, True), (0.6 * smallest_px, False)):
        factor = height_px / 112  # of the astronaut's face
        portrait = cv2.resize(data.astronaut(), None, fx=factor, fy=factor, interpolation=3)
        for left in (20, 33, 61):
            frame = np.full((lines, lines * 4 // 3, 3), 128, np.uint8)
            frame[left : left + len(portrait), left : left + len(portrait)] = portrait
            assert bool(mtcnn.detect(frame)) == found


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        (
            "mtcnn",
            (1920, 1080),
            "for faces at least 87 pixels high, upright and towards the camera",
        ),
        ("mtcnn", (64, 48), "for faces at least 16 pixels high, upright and towards the camera"),
        ("mtcnn", None, "for faces upright and towards the camera"),
        ("mtcnn", (0, 0), "for faces upright and towards the camera"),
        ("face-alignment", (64, 48), "for faces upright and towards the camera"),
    ],
)
def test_what_is_searched_for_is_told(name, size, said):
    assert describe_search(name, size) == said


@pytest.mark.parametrize(("turned_deg", "sure"), [(0, True), (30, True), (50, True), (75, False)])
def test_mtcnn_is_sure_of_faces_up_to_half_way_to_the_side(turned_deg, sure):
    """`MIN_TRACK_SCORE` keeps what it is sure of."""
    portrait = data.astronaut()
    turn = cv2.getRotationMatrix2D((224, 110), turned_deg, 1.0)
    turn[:, 2] += (32, 146)  # the face into the middle
    turned = cv2.warpAffine(portrait, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    mtcnn = load_detector("mtcnn", "cpu")
    assert any(face.score >= MIN_TRACK_SCORE for face in mtcnn.detect(turned)) == sure
    assert find_least_track_score(mtcnn) == MIN_TRACK_SCORE
