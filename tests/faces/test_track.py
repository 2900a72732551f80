"""One face through a video: links, gaps, the choice of the main face, and its crops."""

import numpy as np
import pytest

from dfercli.errors import VideoError
from dfercli.faces.align import TEMPLATE
from dfercli.faces.track import crop_followed_face, follow_main_face, link_faces
from dfercli.faces.types import Face
from dfercli.media.video import Frame
from dfercli.media.video_writer import write_video

FPS = 10.0
NO_IMAGE = np.zeros((1, 1, 3), dtype=np.uint8)


def _face(x, y=0.0, side=100.0, score=0.9):
    """A square face with its top left corner at x, y."""
    corner = np.array([x, y])
    return Face(np.concatenate([corner, corner + side]), corner + TEMPLATE * side, score)


def _link(*faces_by_frame, fps=FPS):
    tracks = []
    for index, faces in enumerate(faces_by_frame):
        link_faces(tracks, Frame(index, index / fps, NO_IMAGE), faces)
    return tracks


def _xs(track):
    """Left edge of the track's boxes by frame."""
    return {index: float(face.box_xyxy[0]) for index, face in track.faces.items()}


def test_no_faces_make_no_tracks():
    assert _link([], [], []) == []


def test_a_moving_face_is_one_track():
    (track,) = _link(*([_face(20 * index)] for index in range(30)))
    assert _xs(track) == {index: 20.0 * index for index in range(30)}
    assert track.last_face.box_xyxy[0] == 580
    assert track.presence == 30 * 100 * 100


def test_two_faces_that_cross_keep_their_tracks():
    # One goes right, the other left, 60 pixels lower: they overlap, and never by more than with
    # themselves one frame before.
    frames = [[_face(15 * i, 0), _face(300 - 15 * i, 60)] for i in range(21)]
    right, left = _link(*frames)
    assert _xs(right) == {i: 15.0 * i for i in range(21)}
    assert _xs(left) == {i: 300.0 - 15 * i for i in range(21)}


def test_the_order_of_detections_does_not_matter():
    frames = [[_face(0), _face(200)][:: -1 if i % 2 else 1] for i in range(6)]
    left, right = _link(*frames)
    assert _xs(left) == dict.fromkeys(range(6), 0.0)
    assert _xs(right) == dict.fromkeys(range(6), 200.0)


def test_a_face_goes_to_the_track_that_it_overlaps_most():
    far, near = _link([_face(0), _face(40)], [_face(35)])
    assert _xs(far) == {0: 0.0}
    assert _xs(near) == {0: 40.0, 1: 35.0}


def test_two_faces_of_a_frame_never_share_a_track():
    tracks = _link([_face(0)], [_face(2, score=0.8), _face(0, score=0.99)])
    assert [_xs(track) for track in tracks] == [{0: 0.0, 1: 0.0}, {1: 2.0}]


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
    assert tracks[-1].faces[missed + 1].box_xyxy[0] == 5


def test_a_gap_is_measured_in_time_and_not_in_frames():
    assert len(_link([_face(0)], *([[]] * 30), [_face(0)], fps=60)) == 1
    assert len(_link([_face(0)], [], [_face(0)], fps=1)) == 2


class _Script:
    """A detector that says what it was told to say, frame by frame."""

    def __init__(self, faces_by_frame):
        self._answers = iter(faces_by_frame)

    def detect(self, image_rgb):
        assert image_rgb.shape == (120, 160, 3)
        return next(self._answers)


@pytest.fixture
def video(tmp_path):
    """20 frames at 10 a second, brighter from frame to frame."""
    path = tmp_path / "video.mp4"
    frames = (np.full((120, 160, 3), 10 * i, dtype=np.uint8) for i in range(20))
    write_video(path, frames, FPS)
    return path


@pytest.mark.parametrize(
    ("faces_by_frame", "main_x"),
    [
        ([[_face(0, side=40), _face(80, side=60)]] * 20, 80),  # both stay: the larger
        ([[_face(0, side=50)]] * 15 + [[_face(80, side=60)]] * 5, 0),  # the longer: 15 * 2500
        ([[_face(0, side=20)]] * 15 + [[_face(80, side=60)]] * 5, 80),  # near for a while
    ],
)
def test_the_main_face_is_the_largest_over_time(faces_by_frame, main_x, video):
    followed = follow_main_face(video, _Script(faces_by_frame))
    assert followed.num_frames == 20
    assert {float(face.box_xyxy[0]) for face in followed.faces.values()} == {main_x}


def test_one_large_mistake_does_not_win(video):
    faces = [[_face(0, side=50)] for _ in range(20)]
    faces[7].append(_face(60, side=100))
    assert len(follow_main_face(video, _Script(faces)).faces) == 20


def test_coverage_is_the_share_of_frames_with_the_face(video):
    faces = [[] if i % 4 == 3 else [_face(10, side=50)] for i in range(20)]
    followed = follow_main_face(video, _Script(faces))
    assert followed.coverage == 15 / 20
    assert sorted(followed.faces) == [i for i in range(20) if i % 4 != 3]


def test_a_video_without_a_face(video):
    followed = follow_main_face(video, _Script([[]] * 20))
    assert followed.faces == {}
    assert followed.num_frames == 20
    assert followed.coverage == 0.0
    assert list(crop_followed_face(video, followed, size=64)) == []


def test_crops_come_from_the_frames_that_show_the_face(video):
    faces = [[_face(10, side=50)] if i in (2, 3, 7) else [] for i in range(20)]
    crops = list(crop_followed_face(video, follow_main_face(video, _Script(faces)), size=64))
    assert [crop.time_s for crop in crops] == pytest.approx([0.2, 0.3, 0.7])
    for crop, index in zip(crops, (2, 3, 7), strict=True):
        assert crop.image_rgb.shape == (64, 64, 3)
        assert np.abs(crop.image_rgb.astype(int) - 10 * index).max() <= 6


def test_a_video_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match="cannot read"):
        follow_main_face(tmp_path / "bad.mp4", _Script([]))


def test_without_carrying_every_frame_is_searched_and_nothing_interpolated(video):
    faces = [[] if i == 5 else [_face(10, side=50, score=0.8)] for i in range(20)]
    followed = follow_main_face(video, _Script(faces))
    assert sorted(followed.faces) == [i for i in range(20) if i != 5]
    assert (followed.num_searched, followed.interpolated, followed.skipped) == (20, 0, 1)
    assert followed.score == 0.8
